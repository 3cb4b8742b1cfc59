// How far values are from those wanted: each invocation takes every `stride`-th element and leaves the largest difference and the
// sum of the wanted values' squares, which the host adds up. Values are f32, or pairs of half precision, bound as words: a kernel that
// makes infinities or NaN is then told from one that is right whatever the compiler assumes of them.
//#include "lib/grid.wgsl"
const HALVES: bool = false;
const FAR: f32 = 1e30;

struct Params { size: u32, stride: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> got: array<u32>;
@group(0) @binding(2) var<storage, read> want: array<u32>;
@group(0) @binding(3) var<storage, read_write> found: array<vec2f>;

fn value(word: u32, index: u32) -> f32 {
  if (HALVES) { return unpack2x16float(word)[index & 1u]; }
  return bitcast<f32>(word);
}

fn finite(word: u32, index: u32) -> bool {
  if (HALVES) { return ((word >> (16u * (index & 1u))) & 0x7c00u) != 0x7c00u; }
  return (word & 0x7f800000u) != 0x7f800000u;
}

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let first = flatIndex(group, local, groups);
  if (first >= params.stride) { return; }
  var worst = 0.0;
  var squares = 0.0;
  for (var i = first; i < params.size; i += params.stride) {
    let at = select(i, i / 2u, HALVES);
    let wanted = value(want[at], i);
    var difference = FAR;
    if (finite(got[at], i)) { difference = min(abs(value(got[at], i) - wanted), FAR); }
    worst = max(worst, difference);
    squares += wanted * wanted;
  }
  found[first] = vec2f(worst, squares);
}
