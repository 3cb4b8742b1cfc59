// How invocations share the sums down the columns of x[M, C]: each walks one chunk of rows of one column alone. For drivers that
// run a workgroup as one vector, where a barrier costs more than it saves.
const LANES: u32 = 1u;

fn place(group: vec3u, local: vec3u, groups: vec3u, columns: u32, chunks: u32) -> Place {
  let i = flatIndex(group, local, groups);
  return Place(i % columns, i / columns, 0u, i < columns * chunks);
}

fn together(own: Sum, local: u32) -> Sum { return own; }
