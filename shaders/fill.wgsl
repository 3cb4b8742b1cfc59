// out[i] = value.
//#include "lib/grid.wgsl"

alias Elem = f32;

struct Params { n: u32, value: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> out: array<Elem>;

@compute @workgroup_size(GROUP)
fn fill(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = rank(group, local, groups);
  if (i < params.n) { out[i] = Elem(params.value); }
}
