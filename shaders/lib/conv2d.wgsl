// The interface of conv2d.wgsl and conv2d_small.wgsl: y[N,P,Q,K] = x[N,H,W,C] ⋆ w[K,R,S,C] (+ bias[K]). They define the types of the elements.
struct Params {
  batch: u32,
  inH: u32,
  inW: u32,
  inC: u32,
  outH: u32,
  outW: u32,
  outC: u32,
  r: u32,
  s: u32,
  stride: u32,
  padH: u32,
  padW: u32,
  hasBias: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<XElem>;
@group(0) @binding(2) var<storage, read> w: array<WElem>;
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> y: array<YElem>;
