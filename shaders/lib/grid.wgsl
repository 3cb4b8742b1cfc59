// The flat index of an invocation in a grid that spills from x into y when it is longer than 65,535 workgroups.
const GROUP: u32 = 64u;

fn flatIndex(group: vec3u, local: vec3u, groups: vec3u) -> u32 {
  return (group.y * groups.x + group.x) * GROUP + local.x;
}
