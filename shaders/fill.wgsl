// out[i] = the value whose bits are given, as Word.
//#include "lib/walk.wgsl"

alias Elem = vec4f;
alias Vec = vec4f;
alias Word = f32;

struct Params { n: u32, bits: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> out: array<Elem>;

@compute @workgroup_size(GROUP)
fn fill(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let walk = walked(group, local, groups, params.n);
  for (var i = walk.first; i < walk.end; i += GROUP) { out[i] = Elem(Vec(bitcast<Word>(params.bits))); }
}
