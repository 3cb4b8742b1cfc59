// Counter-based random numbers: the same (seed, step, draw, index) always gives the same four words. Hash: pcg4d of Jarzynski
// and Olano, "Hash Functions for GPU Rendering", JCGT 9(3), 2020. src/core/random.ts is its twin on the CPU.
fn pcg4d(key: vec4u) -> vec4u {
  var v = key * 1664525u + 1013904223u;
  v.x += v.y * v.w; v.y += v.z * v.x; v.z += v.x * v.y; v.w += v.y * v.z;
  v ^= v >> vec4u(16u);
  v.x += v.y * v.w; v.y += v.z * v.x; v.z += v.x * v.y; v.w += v.y * v.z;
  return v;
}

// Uniform in [0, 1): the upper 24 bits, all of which an f32 holds.
fn uniform01(word: u32) -> f32 { return f32(word >> 8u) * 0x1p-24f; }
