// Batch normalisation over the rows of x[M, C] (an image batch with its pixels as rows), optionally followed by ReLU:
//   x̂ = (x − μ)·r,  r = 1/√(σ² + ε),  y = γ·x̂ + β,  then max(y, 0) when RELU
//   dβ = Σ g,  dγ = Σ g·x̂,  dx = γ·r·(g − dβ/M − x̂·dγ/M),  g = dy, zeroed where RELU cut
//
// Statistics: an invocation owns one channel of ROWS neighbouring rows; it sums deviations from its first row, which keeps the
// squares small whatever the mean is, and writes (mean, M2). A second dispatch merges those in fixed order by the formula of
// Chan, Golub and LeVeque (1979). Neighbouring invocations own neighbouring channels, so loads are contiguous.
//
// Everything is done on Elem, four neighbouring channels where their number allows it (`c` then counts fours), else one.
//#include "lib/grid.wgsl"

alias Elem = vec4f;

const RELU: bool = false;
// Statistics of the batch (training) or the running ones (evaluation).
const TRAINING: bool = true;
// The gradient of the input overwrites that of the result, in `out`.
const IN_PLACE: bool = false;

struct Params { m: u32, c: u32, rows: u32, chunks: u32, eps: f32, momentum: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Elem>;
@group(0) @binding(2) var<storage, read> y: array<Elem>;
@group(0) @binding(3) var<storage, read> dy: array<Elem>;
@group(0) @binding(4) var<storage, read> gamma: array<Elem>;
@group(0) @binding(5) var<storage, read> beta: array<Elem>;
// Per channel: mean μ, then r.
@group(0) @binding(6) var<storage, read> stats: array<Elem>;
@group(0) @binding(7) var<storage, read> sums: array<Elem>;
@group(0) @binding(8) var<storage, read_write> out: array<Elem>;
@group(0) @binding(9) var<storage, read_write> out2: array<Elem>;
@group(0) @binding(10) var<storage, read_write> running_mean: array<Elem>;
@group(0) @binding(11) var<storage, read_write> running_var: array<Elem>;

// out[chunk, channel] = (mean, M2) of the chunk's rows.
@compute @workgroup_size(GROUP)
fn moments(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = rank(group, local, groups);
  if (i >= params.chunks * params.c) { return; }
  let channel = i % params.c;
  let first = (i / params.c) * params.rows;
  let last = min(first + params.rows, params.m);
  var at = first * params.c + channel;
  let pivot = x[at];
  var s = Elem();
  var q = Elem();
  for (var row = first; row < last; row++) {
    let d = x[at] - pivot;
    s += d;
    q += d * d;
    at += params.c;
  }
  let n = f32(last - first);
  out[2u * i] = pivot + s / n;
  out[2u * i + 1u] = max(q - s * s / n, Elem());
}

// Merges the chunks: out[channel] = μ, out[C + channel] = r; updates the running statistics (the variance unbiased).
@compute @workgroup_size(GROUP)
fn merge(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let channel = rank(group, local, groups);
  if (channel >= params.c) { return; }
  var mean = Elem();
  var m2 = Elem();
  var n = 0.0;
  for (var chunk = 0u; chunk < params.chunks; chunk++) {
    let at = 2u * (chunk * params.c + channel);
    let k = f32(min(params.rows, params.m - chunk * params.rows));
    let delta = sums[at] - mean;
    let total = n + k;
    mean += delta * (k / total);
    m2 += sums[at + 1u] + delta * delta * (n * k / total);
    n = total;
  }
  out[channel] = mean;
  out[params.c + channel] = inverseSqrt(m2 / n + Elem(params.eps));
  let unbiased = m2 / max(n - 1.0, 1.0);
  running_mean[channel] += params.momentum * (mean - running_mean[channel]);
  running_var[channel] += params.momentum * (unbiased - running_var[channel]);
}

// Evaluation: out[channel] = running mean, out[C + channel] = r.
@compute @workgroup_size(GROUP)
fn running(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let channel = rank(group, local, groups);
  if (channel >= params.c) { return; }
  out[channel] = running_mean[channel];
  out[params.c + channel] = inverseSqrt(running_var[channel] + Elem(params.eps));
}

@compute @workgroup_size(GROUP)
fn apply(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = rank(group, local, groups);
  if (i >= params.m * params.c) { return; }
  let channel = i % params.c;
  let v = (x[i] - stats[channel]) * stats[params.c + channel] * gamma[channel] + beta[channel];
  if (RELU) {
    out[i] = select(v, Elem(), v < Elem()); // a NaN stays one
  } else {
    out[i] = v;
  }
}

// The gradient that reaches the normalisation: nothing where ReLU cut.
fn incoming(i: u32) -> Elem {
  var g = Elem();
  if (IN_PLACE) { g = out[i]; } else { g = dy[i]; }
  if (RELU) { return select(Elem(), g, y[i] > Elem()); }
  return g;
}

// out[chunk, channel] = (Σ g, Σ g·x̂) over the chunk's rows.
@compute @workgroup_size(GROUP)
fn gradient_sums(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = rank(group, local, groups);
  if (i >= params.chunks * params.c) { return; }
  let channel = i % params.c;
  let first = (i / params.c) * params.rows;
  let last = min(first + params.rows, params.m);
  let mean = stats[channel];
  let r = stats[params.c + channel];
  var at = first * params.c + channel;
  var s = Elem();
  var t = Elem();
  for (var row = first; row < last; row++) {
    let g = incoming(at);
    s += g;
    t += g * ((x[at] - mean) * r);
    at += params.c;
  }
  out[2u * i] = s;
  out[2u * i + 1u] = t;
}

// out[channel] = dγ, out2[channel] = dβ.
@compute @workgroup_size(GROUP)
fn gradient_merge(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let channel = rank(group, local, groups);
  if (channel >= params.c) { return; }
  var s = Elem();
  var t = Elem();
  for (var chunk = 0u; chunk < params.chunks; chunk++) {
    let at = 2u * (chunk * params.c + channel);
    s += sums[at];
    t += sums[at + 1u];
  }
  out[channel] = t;
  out2[channel] = s;
}

// dx from g, with `sums` = dγ and `beta` = dβ of this call alone.
@compute @workgroup_size(GROUP)
fn gradient_input(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = rank(group, local, groups);
  if (i >= params.m * params.c) { return; }
  let channel = i % params.c;
  let r = stats[params.c + channel];
  var g = incoming(i);
  if (TRAINING) {
    let normal = (x[i] - stats[channel]) * r;
    g -= (beta[channel] + normal * sums[channel]) / f32(params.m);
  }
  out[i] = g * gamma[channel] * r;
}
