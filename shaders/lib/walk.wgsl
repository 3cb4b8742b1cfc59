// What an invocation of an elementwise kernel works on: EACH elements, GROUP apart, so that at each step a workgroup reads
// neighbours:
//   let walk = walked(group, local, groups, params.n);
//   for (var i = walk.first; i < walk.end; i += GROUP) { … }
//#include "lib/grid.wgsl"

const EACH: u32 = 1u;

struct Walk { first: u32, end: u32 }

fn walked(group: vec3u, local: vec3u, groups: vec3u, n: u32) -> Walk {
  let first = (group.y * groups.x + group.x) * GROUP * EACH;
  return Walk(first + local.x, min(first + GROUP * EACH, n));
}
