// splits: y[i] = Σ over splits of part[split, i] (+ bias[i mod period]), in the order of the splits: the second stage of every
// kernel that splits its reduction, so that the sum is the same at every run.
//
// host: bindings params, part [splits, size], bias (or, with hasBias 0, part again), y [size]; size in elements.
//       entry `main` where size (and period) are multiples of 4, `ragged` for any.
//       invocations: size / 4 for `main`, size for `ragged`.
// Four parts are loaded at once, for a GPU would wait for each, and added one by one.
// Parts are f32; y may be f16.
//#include "lib/grid.wgsl"

alias YElem = vec4f;
alias YScalar = f32;

struct Params { size: u32, splits: u32, period: u32, hasBias: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> part: array<vec4f>;
@group(0) @binding(2) var<storage, read> bias: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<YElem>;
@group(0) @binding(1) var<storage, read> partScalar: array<f32>;
@group(0) @binding(2) var<storage, read> biasScalar: array<f32>;
@group(0) @binding(3) var<storage, read_write> yScalar: array<YScalar>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = flatIndex(group, local, groups);
  let size = params.size >> 2u;
  if (i >= size) {
    return;
  }
  var sum = vec4f();
  var at = i;
  let end = i + params.splits * size;
  for (; at + 3u * size < end; at += 4u * size) {
    let p0 = part[at];
    let p1 = part[at + size];
    let p2 = part[at + 2u * size];
    let p3 = part[at + 3u * size];
    sum = sum + p0 + p1 + p2 + p3;
  }
  for (; at < end; at += size) { sum += part[at]; }
  if (params.hasBias != 0u) {
    sum += bias[i % (params.period >> 2u)];
  }
  y[i] = YElem(sum);
}

@compute @workgroup_size(GROUP)
fn ragged(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = flatIndex(group, local, groups);
  if (i >= params.size) {
    return;
  }
  var sum = 0.0;
  var at = i;
  let end = i + params.splits * params.size;
  for (; at + 3u * params.size < end; at += 4u * params.size) {
    let p0 = partScalar[at];
    let p1 = partScalar[at + params.size];
    let p2 = partScalar[at + 2u * params.size];
    let p3 = partScalar[at + 3u * params.size];
    sum = sum + p0 + p1 + p2 + p3;
  }
  for (; at < end; at += params.size) { sum += partScalar[at]; }
  if (params.hasBias != 0u) {
    sum += biasScalar[i % params.period];
  }
  yScalar[i] = YScalar(sum);
}
