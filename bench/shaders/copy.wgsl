// The most bytes that an adapter moves in a kernel: out = x, in vec4s. An invocation copies EACH of them, a workgroup's are neighbours.
//#include "lib/grid.wgsl"

const EACH: u32 = 1u;

struct Params { n: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>;

@compute @workgroup_size(GROUP)
fn copy(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let first = (group.y * groups.x + group.x) * GROUP * EACH + local.x;
  for (var k = 0u; k < EACH; k++) {
    let i = first + k * GROUP;
    if (i < params.n) { out[i] = x[i]; }
  }
}
