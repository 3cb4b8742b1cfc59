// One stage of a reduction of x[outer, length, inner] over its middle: each invocation folds CHUNK neighbours of one
// (outer, inner) into one. Stages follow each other until one is left, so a sum of n terms is a tree: its error grows with
// log n, and the order is fixed. `scale` multiplies the results of a sum (1/n for a mean, in the last stage).
//
// Vec is four neighbours of `inner` where its extent allows it (`inner` then counts fours), else one; Elem and OutElem are what
// those are stored as. Folding is done in f32.
//#include "lib/grid.wgsl"
//#include "lib/nan.wgsl"

alias Elem = vec4f;
alias OutElem = vec4f;
alias Vec = vec4f;
alias Bits = vec4u;

const OP: u32 = SUM;
const SUM: u32 = 0u;
const MAX: u32 = 1u;
const MIN: u32 = 2u;
const CHUNK: u32 = 64u;

struct Params { n: u32, parts: u32, length: u32, inner: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Elem>;
@group(0) @binding(2) var<storage, read_write> out: array<OutElem>;

fn folded(result: Vec, v: Vec) -> Vec {
  if (OP == SUM) { return result + v; }
  let nan = magnitude(v) > INFINITE;
  if (OP == MAX) { return select(result, v, (v > result) | nan); }
  return select(result, v, (v < result) | nan);
}

// out[outer, part, inner]. Four are loaded at once, for a GPU would wait for each, and folded one by one.
@compute @workgroup_size(GROUP)
fn fold(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = flatIndex(group, local, groups);
  if (i >= params.n) { return; }
  let inner = i % params.inner;
  let part = (i / params.inner) % params.parts;
  let outer = i / params.inner / params.parts;
  let first = part * CHUNK;
  let last = min(first + CHUNK, params.length);
  var at = (outer * params.length + first) * params.inner + inner;
  var result = Vec(x[at]);
  var j = first + 1u;
  for (; j + 3u < last; j += 4u) {
    let v0 = Vec(x[at + params.inner]);
    let v1 = Vec(x[at + 2u * params.inner]);
    let v2 = Vec(x[at + 3u * params.inner]);
    let v3 = Vec(x[at + 4u * params.inner]);
    result = folded(folded(folded(folded(result, v0), v1), v2), v3);
    at += 4u * params.inner;
  }
  for (; j < last; j++) {
    at += params.inner;
    result = folded(result, Vec(x[at]));
  }
  if (OP == SUM) { result *= params.scale; }
  out[i] = OutElem(result);
}
