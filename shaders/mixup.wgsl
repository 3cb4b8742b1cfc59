// The labels of the images that those of a batch are mixed with, and the share that each keeps of itself.
//#include "lib/grid.wgsl"

struct Params { n: u32, at: u32 }
@group(0) @binding(0) var<uniform> params: Params;
// From `at` on: whom each is mixed with, as its place in the batch; then the shares as f32.
@group(0) @binding(1) var<storage, read> step: array<u32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read_write> others: array<u32>;
@group(0) @binding(4) var<storage, read_write> share: array<f32>;

@compute @workgroup_size(GROUP)
fn partners(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let n = flatIndex(group, local, groups);
  if (n >= params.n) { return; }
  others[n] = labels[step[params.at + n]];
  share[n] = bitcast<f32>(step[params.at + params.n + n]);
}
