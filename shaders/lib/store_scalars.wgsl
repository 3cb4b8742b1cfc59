// Results one by one, for kernels that take either this or lib/store_vectors.wgsl: for rows of any length.
alias OutScalar = f32;

@group(0) @binding(4) var<storage, read_write> out: array<OutScalar>;

// Four elements from `at` on, or `count` where there are fewer left in the row.
fn putFour(at: u32, count: u32, v: vec4f) {
  for (var i = 0u; i < min(count, 4u); i++) {
    out[at + i] = OutScalar(v[i]);
  }
}

// Four elements that lie there.
fn takeFour(at: u32) -> vec4f {
  return vec4f(f32(out[at]), f32(out[at + 1u]), f32(out[at + 2u]), f32(out[at + 3u]));
}

// Eight, or `count`.
fn putEight(at: u32, count: u32, low: vec4f, high: vec4f) {
  putFour(at, count, low);
  for (var i = 4u; i < min(count, 8u); i++) {
    out[at + i] = OutScalar(high[i - 4u]);
  }
}
