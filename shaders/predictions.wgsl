// Keeps what a report needs of each image of a batch, without stopping the GPU: rows[at + n] = (loss, predicted class, probability of
// the prediction, label), read back many steps later. The loss is the cross-entropy, without label smoothing or class weights.
// With mixup that is the loss against both labels, while the prediction is held against the image's own.
// An image that is not one (label beyond C) leaves a label of −1.
//#include "lib/grid.wgsl"

const MIXED: bool = false;

struct Params { n: u32, c: u32, at: u32 }
@group(0) @binding(0) var<uniform> params: Params;
// step[at] is the first row.
@group(0) @binding(1) var<storage, read> step: array<u32>;
@group(0) @binding(2) var<storage, read> logits: array<f32>;
@group(0) @binding(3) var<storage, read> labels: array<u32>;
// The labels of what images were mixed with, and the share that each kept.
@group(0) @binding(4) var<storage, read> others: array<u32>;
@group(0) @binding(5) var<storage, read> share: array<f32>;
@group(0) @binding(6) var<storage, read_write> rows: array<vec4f>;

@compute @workgroup_size(GROUP)
fn record(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let n = flatIndex(group, local, groups);
  if (n >= params.n) { return; }
  let first = n * params.c;
  let label = labels[n];
  if (label >= params.c) {
    rows[step[params.at] + n] = vec4f(0.0, 0.0, 0.0, -1.0);
    return;
  }
  var best = 0u;
  for (var c = 1u; c < params.c; c++) {
    if (!(logits[first + c] <= logits[first + best])) { best = c; } // a NaN wins, and the loss below shows it
  }
  let m = logits[first + best];
  var s = 0.0;
  for (var c = 0u; c < params.c; c++) { s += exp(logits[first + c] - m); }
  let logS = log(s);
  var nll = logS + (m - logits[first + label]);
  if (MIXED) { nll = mix(logS + (m - logits[first + others[n]]), nll, share[n]); }
  rows[step[params.at] + n] = vec4f(nll, f32(best), 1.0 / s, f32(label));
}
