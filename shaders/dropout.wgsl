// out = x/(1 − p) where a random number is at least p, else 0. The mask is never stored: backward draws it again from
// (seed, step, draw, index). One draw is four numbers, so the index counts fours.
//#include "lib/walk.wgsl"
//#include "lib/random.wgsl"

// What four values are stored in.
alias Elem = vec4f;
alias Vec = vec4f;

struct Params { n: u32, draw: u32, p: f32 }
@group(0) @binding(0) var<uniform> params: Params;
// step[0] counts steps, step[1] is the seed.
@group(0) @binding(1) var<storage, read> step: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<Elem>;
@group(0) @binding(3) var<storage, read_write> out: array<Elem>;

@compute @workgroup_size(GROUP)
fn apply(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let walk = walked(group, local, groups, params.n);
  for (var i = walk.first; i < walk.end; i += GROUP) {
    let words = pcg4d(vec4u(step[1], step[0], params.draw, i));
    let u = vec4f(uniform01(words.x), uniform01(words.y), uniform01(words.z), uniform01(words.w));
    out[i] = Elem(select(Vec(), Vec(x[i]) / (1.0 - params.p), u >= Vec(params.p)));
  }
}
