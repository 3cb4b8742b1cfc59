// Results by fours, for kernels that take either this or lib/store_scalars.wgsl: where rows are a multiple of what is put long.
alias OutVector = vec4f;

@group(0) @binding(4) var<storage, read_write> out: array<OutVector>;

// Four elements from `at` on, a multiple of 4; `count`, how many are left in the row, is 4 or more.
fn putFour(at: u32, count: u32, v: vec4f) {
  out[at / 4u] = OutVector(v);
}

// What lies there.
fn takeFour(at: u32) -> vec4f { return vec4f(out[at / 4u]); }

// Eight elements from `at` on, a multiple of 8; `count` is 8 or more.
fn putEight(at: u32, count: u32, low: vec4f, high: vec4f) {
  out[at / 8u * 2u] = OutVector(low);
  out[at / 8u * 2u + 1u] = OutVector(high);
}
