// The sum of term(0) … term(n − 1) in fixed order, by one invocation or one workgroup: in blocks, whose sums are added then, so that
// one-signed terms by the thousand lose no digits. Complete in the invocations of `own.lane` 0.
//
// An including shader defines `fn term(i: u32) -> Sum`, and what lib/columns.wgsl asks for.
//#include "lib/columns.wgsl"

fn total(own: Place, local: u32, n: u32, block: u32) -> Sum {
  let end = select(0u, n, own.inside);
  var all = Sum();
  for (var start = own.lane; start < end; start += block * LANES) {
    var part = Sum();
    let last = min(start + block * LANES, end);
    for (var i = start; i < last; i += LANES) { part = combine(part, term(i)); }
    all = combine(all, part);
  }
  return together(all, local);
}
