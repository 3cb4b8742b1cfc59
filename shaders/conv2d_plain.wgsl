// Convolution as its definition says, one invocation an output element: the readable twin of conv2d.wgsl, which the tests hold
// against it. x[N,H,W,C], w[K,R,S,C], y[N,P,Q,K]:
//   y[n,p,q,k]  = bias[k] + Σ_{r,s,c} x[n, p·stride+r−pad, q·stride+s−pad, c] · w[k,r,s,c]
//   dx[n,h,w,c] = Σ_{k,r,s} dy[n,p,q,k] · w[k,r,s,c]   with p·stride + r − pad = h, likewise q
//   dw[k,r,s,c] = Σ_{n,p,q} dy[n,p,q,k] · x[n, p·stride+r−pad, q·stride+s−pad, c]
//#include "lib/grid.wgsl"

const HAS_BIAS: bool = false;
const R: u32 = 3u;
const S: u32 = 3u;
const STRIDE_H: u32 = 1u;
const STRIDE_W: u32 = 1u;
const PAD_H: u32 = 1u;
const PAD_W: u32 = 1u;

// What the tensors are stored as, f32 or f16; all is computed in f32.
alias XElem = f32;
alias WElem = f32;
alias DyElem = f32;
alias OutElem = f32;

struct Params { N: u32, H: u32, W: u32, C: u32, K: u32, P: u32, Q: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<XElem>;
@group(0) @binding(2) var<storage, read> w: array<WElem>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<DyElem>;
@group(0) @binding(5) var<storage, read_write> out: array<OutElem>;

@compute @workgroup_size(GROUP)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = flatIndex(group, local, groups);
  if (i >= params.N * params.P * params.Q * params.K) { return; }
  let k = i % params.K;
  let q = (i / params.K) % params.Q;
  let p = (i / params.K / params.Q) % params.P;
  let n = i / params.K / params.Q / params.P;
  var sum = 0.0;
  for (var r = 0u; r < R; r++) {
    let h = p * STRIDE_H + r - PAD_H; // wraps to a huge number above the image
    if (h >= params.H) { continue; }
    for (var s = 0u; s < S; s++) {
      let column = q * STRIDE_W + s - PAD_W;
      if (column >= params.W) { continue; }
      let fromX = ((n * params.H + h) * params.W + column) * params.C;
      let fromW = ((k * R + r) * S + s) * params.C;
      for (var c = 0u; c < params.C; c++) { sum += f32(x[fromX + c]) * f32(w[fromW + c]); }
    }
  }
  if (HAS_BIAS) { sum += bias[k]; }
  out[i] = OutElem(sum);
}

@compute @workgroup_size(GROUP)
fn dgrad(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = flatIndex(group, local, groups);
  if (i >= params.N * params.H * params.W * params.C) { return; }
  let c = i % params.C;
  let column = (i / params.C) % params.W;
  let h = (i / params.C / params.W) % params.H;
  let n = i / params.C / params.W / params.H;
  var sum = 0.0;
  for (var r = 0u; r < R; r++) {
    let up = h + PAD_H - r;
    let p = up / STRIDE_H;
    if (up % STRIDE_H != 0u || p >= params.P) { continue; }
    for (var s = 0u; s < S; s++) {
      let left = column + PAD_W - s;
      let q = left / STRIDE_W;
      if (left % STRIDE_W != 0u || q >= params.Q) { continue; }
      let fromDy = ((n * params.P + p) * params.Q + q) * params.K;
      for (var k = 0u; k < params.K; k++) {
        sum += f32(dy[fromDy + k]) * f32(w[((k * R + r) * S + s) * params.C + c]);
      }
    }
  }
  out[i] = OutElem(sum);
}

@compute @workgroup_size(GROUP)
fn wgrad(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = flatIndex(group, local, groups);
  if (i >= params.K * R * S * params.C) { return; }
  let c = i % params.C;
  let s = (i / params.C) % S;
  let r = (i / params.C / S) % R;
  let k = i / params.C / S / R;
  var sum = 0.0;
  for (var n = 0u; n < params.N; n++) {
    var image = 0.0;
    for (var p = 0u; p < params.P; p++) {
      let h = p * STRIDE_H + r - PAD_H;
      if (h >= params.H) { continue; }
      for (var q = 0u; q < params.Q; q++) {
        let column = q * STRIDE_W + s - PAD_W;
        if (column >= params.W) { continue; }
        image += f32(dy[((n * params.P + p) * params.Q + q) * params.K + k]) *
          f32(x[((n * params.H + h) * params.W + column) * params.C + c]);
      }
    }
    sum += image;
  }
  out[i] = OutElem(sum);
}
