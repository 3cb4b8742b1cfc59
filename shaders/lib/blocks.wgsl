// What an invocation works on in a range of an arena, vec4s: EACH of them, one of each block that its workgroup walks over. Where a
// workgroup is one block wide, a block's numbers are the same for all lanes, and a driver loads them once.
//   let blocks = blocksOf(group, groups);
//   for (var base = blocks.x; base < blocks.y; base += GROUP / BLOCK) {
//     let own = owner(base, local.x, blocks.y);
//     if (own == FROZEN) { continue; }
//     let i = base * BLOCK + local.x;
//     …
//   }
// The shader has `params.n` and `params.firstBlock`, and `groupOf`, the parameter group of each block.
//#include "lib/grid.wgsl"

const EACH: u32 = 1u;
// Vec4s of a block of 256 bytes.
const BLOCK: u32 = 16u;
const FROZEN: u32 = 0xffffffffu;

fn blocksOf(group: vec3u, groups: vec3u) -> vec2u {
  let share = GROUP / BLOCK * EACH;
  let first = (group.y * groups.x + group.x) * share;
  return vec2u(first, min(first + share, params.n / BLOCK));
}

// The group of a lane's block; FROZEN also where there is none.
fn owner(base: u32, lane: u32, end: u32) -> u32 {
  let block = base + select(lane / BLOCK, 0u, GROUP == BLOCK);
  if (block >= end) { return FROZEN; }
  return groupOf[params.firstBlock + block];
}
