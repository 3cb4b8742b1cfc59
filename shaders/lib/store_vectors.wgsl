// Results as vec4, for kernels that take either this or lib/store_scalars.wgsl: where rows are a multiple of 8 long.
alias OutVector = vec4h;

@group(0) @binding(4) var<storage, read_write> out: array<OutVector>;

// Eight elements from `at` on, a multiple of 8; `count`, how many are left in the row, is 8 or more.
fn put(at: u32, count: u32, low: vec4f, high: vec4f) {
  out[at / 8u * 2u] = OutVector(low);
  out[at / 8u * 2u + 1u] = OutVector(high);
}
