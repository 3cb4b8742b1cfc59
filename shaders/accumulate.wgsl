// sum[i] = a[i] + b[i], into a new tensor or in place: how the tape adds gradients.
//#include "lib/walk.wgsl"

alias Elem = vec4f;
alias Vec = vec4f;

struct Params { n: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<Elem>;
@group(0) @binding(2) var<storage, read> b: array<Elem>;
@group(0) @binding(3) var<storage, read_write> sum: array<Elem>;

@compute @workgroup_size(GROUP)
fn add(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let walk = walked(group, local, groups, params.n);
  for (var i = walk.first; i < walk.end; i += GROUP) { sum[i] = Elem(Vec(a[i]) + Vec(b[i])); }
}

@compute @workgroup_size(GROUP)
fn addInto(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let walk = walked(group, local, groups, params.n);
  for (var i = walk.first; i < walk.end; i += GROUP) { sum[i] = Elem(Vec(sum[i]) + Vec(b[i])); }
}
