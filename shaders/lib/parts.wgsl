// The second stage of the sums of lib/columns.wgsl. An including shader has `fn partOf(chunk: u32, column: u32) -> Sum`, the partial
// sum of a chunk.

// The partial sums of a lane's chunks, combined in order.
fn partsOf(own: Place, chunks: u32) -> Sum {
  var all = Sum();
  var chunk = own.lane;
  if (FOURS) {
    for (; chunk + 3u * LANES < chunks; chunk += 4u * LANES) {
      let p0 = partOf(chunk, own.column);
      let p1 = partOf(chunk + LANES, own.column);
      let p2 = partOf(chunk + 2u * LANES, own.column);
      let p3 = partOf(chunk + 3u * LANES, own.column);
      all = combine(combine(combine(combine(all, p0), p1), p2), p3);
    }
  }
  for (; chunk < chunks; chunk += LANES) { all = combine(all, partOf(chunk, own.column)); }
  return all;
}
