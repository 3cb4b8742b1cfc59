// Softmax, log-softmax and cross-entropy over the rows of x[N, C]; one invocation a row, for C is the number of classes. The
// maximum is taken off first, so nothing overflows.
//
// Cross-entropy of a row with label t, smoothing e and class weights w:
//   loss = −Σ_c a_c·log p_c,   a_c = (1 − e)·w_t·[c = t] + e/C·w_c,   ∂loss/∂x_c = p_c·Σa − a_c
// which is PyTorch's definition. A row's label beyond C (padding of a last batch) counts nothing.
//
// Sums over classes are made in blocks of CLASSES, whose sums are added then: thousands of one-signed terms would lose digits.
//
// The sum of the losses is made in the same dispatch: by one invocation or one workgroup (COLUMNS), since there are few rows.
//#include "lib/total.wgsl"

alias Vec = f32;

const LOG: bool = false;
const WEIGHTED: bool = false;
const CLASSES: u32 = 64u;

struct Params { n: u32, c: u32, smoothing: f32, block: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> y: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read> labels: array<u32>;
@group(0) @binding(5) var<storage, read> weight: array<f32>;
// What the sum of the losses is multiplied by.
@group(0) @binding(6) var<storage, read> factor: array<f32>;
@group(0) @binding(7) var<storage, read_write> out: array<f32>;
@group(0) @binding(8) var<storage, read_write> outFactor: array<f32>;

fn maximum(first: u32) -> f32 {
  var m = x[first];
  for (var c = 1u; c < params.c; c++) { m = max(m, x[first + c]); }
  return m;
}

fn expSum(first: u32, m: f32) -> f32 {
  var s = 0.0;
  for (var start = 0u; start < params.c; start += CLASSES) {
    var part = 0.0;
    let end = min(start + CLASSES, params.c);
    for (var c = start; c < end; c++) { part += exp(x[first + c] - m); }
    s += part;
  }
  return s;
}

fn classWeight(c: u32) -> f32 {
  if (WEIGHTED) { return weight[c]; }
  return 1.0;
}

fn weightSum() -> f32 {
  if (!WEIGHTED) { return f32(params.c); }
  var s = 0.0;
  for (var start = 0u; start < params.c; start += CLASSES) {
    var part = 0.0;
    let end = min(start + CLASSES, params.c);
    for (var c = start; c < end; c++) { part += weight[c]; }
    s += part;
  }
  return s;
}

@compute @workgroup_size(GROUP)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let row = flatIndex(group, local, groups);
  if (row >= params.n) { return; }
  let first = row * params.c;
  let m = maximum(first);
  let s = expSum(first, m);
  let logS = log(s);
  for (var c = 0u; c < params.c; c++) {
    let d = x[first + c] - m;
    out[first + c] = select(exp(d) / s, d - logS, LOG);
  }
}

// dx = y·(dy − Σ dy·y), or dy − softmax·Σ dy for log-softmax; y is the forward's result.
@compute @workgroup_size(GROUP)
fn backward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let row = flatIndex(group, local, groups);
  if (row >= params.n) { return; }
  let first = row * params.c;
  var s = 0.0;
  for (var start = 0u; start < params.c; start += CLASSES) {
    var part = 0.0;
    let end = min(start + CLASSES, params.c);
    for (var c = start; c < end; c++) { part += select(dy[first + c] * y[first + c], dy[first + c], LOG); }
    s += part;
  }
  for (var c = 0u; c < params.c; c++) {
    let i = first + c;
    out[i] = select(y[i] * (dy[i] - s), dy[i] - exp(y[i]) * s, LOG);
  }
}

fn combine(p: Sum, q: Sum) -> Sum { return Sum(p.n + q.n, p.a + q.a, p.b + q.b); }

// a = the row's loss, b = w_t.
fn term(row: u32) -> Sum {
  let label = labels[row];
  if (label >= params.c) { return Sum(); }
  let first = row * params.c;
  let m = maximum(first);
  let logS = log(expSum(first, m));
  var smoothLoss = 0.0;
  if (params.smoothing > 0.0) {
    for (var start = 0u; start < params.c; start += CLASSES) {
      var part = 0.0;
      let end = min(start + CLASSES, params.c);
      for (var c = start; c < end; c++) { part += classWeight(c) * (logS - (x[first + c] - m)); }
      smoothLoss += part;
    }
  }
  let w = classWeight(label);
  let nll = w * (logS - (x[first + label] - m));
  return Sum(1.0, (1.0 - params.smoothing) * nll + params.smoothing / f32(params.c) * smoothLoss, w);
}

// out[row] = the row's loss.
@compute @workgroup_size(GROUP)
fn crossEntropies(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let row = flatIndex(group, local, groups);
  if (row < params.n) { out[row] = term(row).a; }
}

// out = the sum of the losses times outFactor: 1, or for the mean one over the rows that count, each by its label's weight.
const MEAN: bool = false;
@compute @workgroup_size(GROUP)
fn crossEntropy(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let own = place(group, local, groups, 1u, 1u);
  let all = total(own, local.x, params.n, params.block);
  if (own.inside && own.lane == 0u) {
    var factor = 1.0;
    if (MEAN) {
      let count = select(all.n, all.b, WEIGHTED);
      factor = select(1.0 / count, 0.0, count == 0.0);
    }
    out[0] = all.a * factor;
    outFactor[0] = factor;
  }
}

// out = dx. `dy` holds one value, to which `factor` applies, or one a row.
const ROW_GRADIENT: bool = false;
@compute @workgroup_size(GROUP)
fn crossEntropyBackward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let row = flatIndex(group, local, groups);
  if (row >= params.n) { return; }
  let label = labels[row];
  let first = row * params.c;
  if (label >= params.c) {
    for (var c = 0u; c < params.c; c++) { out[first + c] = 0.0; }
    return;
  }
  var g = 0.0;
  if (ROW_GRADIENT) { g = dy[row]; } else { g = dy[0] * factor[0]; }
  let m = maximum(first);
  let s = expSum(first, m);
  let e = params.smoothing / f32(params.c);
  let onLabel = (1.0 - params.smoothing) * classWeight(label);
  var total = onLabel;
  if (params.smoothing > 0.0) { total += e * weightSum(); }
  for (var c = 0u; c < params.c; c++) {
    let a = select(0.0, onLabel, c == label) + e * classWeight(c);
    out[first + c] = g * (exp(x[first + c] - m) / s * total - a);
  }
}
