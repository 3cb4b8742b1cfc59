// Fills words with noise of either sign and a size of 0.125 to 0.5, f32 or pairs of halves: the exponent is one of two and the mantissa
// random, so that nothing is denormal, infinite or no number.
//#include "lib/grid.wgsl"
//#include "lib/random.wgsl"
const HALVES: bool = false;

struct Params { words: u32, seed: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = flatIndex(group, local, groups);
  if (i >= params.words) { return; }
  let bits = pcg4d(vec4u(params.seed, 0u, 0u, i)).x;
  // Sign and mantissa as they come; exponents 2⁻³ and 2⁻².
  if (HALVES) { out[i] = (bits & 0x87ff87ffu) | 0x30003000u; } else { out[i] = (bits & 0x80ffffffu) | 0x3e000000u; }
}
