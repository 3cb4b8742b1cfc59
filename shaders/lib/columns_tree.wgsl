// How invocations share the sums down the columns of x[M, C]: a workgroup has WIDE neighbouring columns and one chunk of rows,
// which its GROUP/WIDE lanes of a column walk side by side; a tree in workgroup memory makes one sum of theirs.
const WIDE: u32 = 16u;
const LANES: u32 = GROUP / WIDE;

fn place(group: vec3u, local: vec3u, groups: vec3u, columns: u32, chunks: u32) -> Place {
  let across = (columns + WIDE - 1u) / WIDE;
  let i = group.y * groups.x + group.x;
  let column = (i % across) * WIDE + local.x % WIDE;
  return Place(min(column, columns - 1u), i / across, local.x / WIDE, column < columns && i / across < chunks);
}

var<workgroup> counts: array<f32, GROUP>;
var<workgroup> firsts: array<Vec, GROUP>;
var<workgroup> seconds: array<Vec, GROUP>;

// The sum over the lanes of a column, the same in each of them. All invocations of the workgroup call it.
fn together(own: Sum, local: u32) -> Sum {
  var sum = own;
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    counts[local] = sum.n;
    firsts[local] = sum.a;
    seconds[local] = sum.b;
    workgroupBarrier();
    if (local < half * WIDE) {
      let other = local + half * WIDE;
      sum = combine(sum, Sum(counts[other], firsts[other], seconds[other]));
    }
  }
  workgroupBarrier();
  if (local < WIDE) {
    counts[local] = sum.n;
    firsts[local] = sum.a;
    seconds[local] = sum.b;
  }
  workgroupBarrier();
  let first = local % WIDE;
  return Sum(counts[first], firsts[first], seconds[first]);
}
