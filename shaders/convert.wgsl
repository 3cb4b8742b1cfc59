// y = x in another floating-point type, four elements at once where their number allows it, else one.
//#include "lib/grid.wgsl"

alias XElem = vec4f;
alias YElem = vec4f;

struct Params { n: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<XElem>;
@group(0) @binding(2) var<storage, read_write> y: array<YElem>;

@compute @workgroup_size(GROUP)
fn convert(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = flatIndex(group, local, groups);
  if (i < params.n) { y[i] = YElem(x[i]); }
}
