// out = x/(1 − p) where a random number is at least p, else 0. The mask is never stored: backward draws it again from
// (seed, step, draw, index).
//#include "lib/grid.wgsl"
//#include "lib/random.wgsl"

struct Params { n: u32, draw: u32, p: f32 }
@group(0) @binding(0) var<uniform> params: Params;
// step[0] counts steps, step[1] is the seed.
@group(0) @binding(1) var<storage, read> step: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(GROUP)
fn apply(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = rank(group, local, groups);
  if (i >= params.n) { return; }
  let u = uniform01(pcg4d(vec4u(step[1], step[0], params.draw, i)).x);
  out[i] = select(0.0, x[i] / (1.0 - params.p), u >= params.p);
}
