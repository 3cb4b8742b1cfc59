// conv2d: y[N,P,Q,K] = x[N,H,W,C] ⋆ w[K,R,S,C] (+ bias[K]), and with DGRAD the gradient of x; f16 operands and f32 sums,
// `tensor` tier (lib/tensor.wgsl says how it tiles).
//
// An implicit GEMM without im2col: A[m, k] is what output pixel m reads under (r, s, c) = k, gathered from x chunk by chunk; with
// channels last, 8 channels of a tap lie together. B[k, n] is w as it lies, contiguous along k. Padding is zero.
//
// DGRAD: A is gathered from dy, B[k = (r, s, channel of dy), n = c] is w as it lies, contiguous along n. With a stride, dx falls
// into stride² phases, the pixels (h, w) with equal h mod stride and w mod stride. Each is a dense sum over the taps that reach it:
// a tap r meets row h where h + padH − r is a multiple of the stride. One dispatch a phase; where no tap reaches, it writes zeros.
//
// host: bindings params, x (DGRAD: dy), w, bias, out. Without a bias any read-only tensor stands in (hasBias 0).
//       in…, r, s   extents of what is gathered from, and how many taps it is gathered under
//       out…        extents of the result (of one phase), outC its channels
//       pixel (p, q) reads rows p·strideH + top + r, in DGRAD − r, and likewise columns; top, left wrap modulo 2³²
//       forward     top −padH, left −padW
//       DGRAD       phase (a, b): firstR = (a + padH) mod strideH, r taps firstR, firstR + stepR, …, stepR the forward's strideH;
//                   top = ⌊(a + padH) / strideH⌋, strideH 1; dx row a + p·stepR of fullH. tapsR, tapsS: w's own.
//       LOAD, STORE: lib/load_vectors.wgsl and lib/store_vectors.wgsl where inC and outC are multiples of 8, else …_scalars.wgsl.
//       A_BY_K true; B_BY_K false with DGRAD.
//       Tiles, grid, splits (forward, or a single phase): lib/tensor.wgsl with M = N·outH·outW, N = outC, K = r·s·inC.
const DGRAD: bool = false;

struct Params {
  batch: u32,
  inH: u32,
  inW: u32,
  inC: u32,
  r: u32,
  s: u32,
  outH: u32,
  outW: u32,
  outC: u32,
  strideH: u32,
  strideW: u32,
  top: u32,
  left: u32,
  tapsR: u32,
  tapsS: u32,
  firstR: u32,
  firstS: u32,
  stepR: u32,
  stepS: u32,
  fullH: u32,
  fullW: u32,
  phaseH: u32,
  phaseW: u32,
  stepsPerSplit: u32,
  hasBias: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Elem>;
@group(0) @binding(2) var<storage, read> w: array<Elem>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;

//#include LOAD "lib/load_vectors.wgsl"
//#include STORE "lib/store_vectors.wgsl"
//#include MMA "lib/mma_subgroup.wgsl"
//#include "lib/tensor.wgsl"

fn pixels() -> u32 { return params.batch * params.outH * params.outW; }

fn extent() -> vec2u { return vec2u(pixels(), params.outC); }

fn depth() -> u32 { return params.r * params.s * params.inC; }

// Output pixel m as (q, p, n).
fn pixelAt(m: u32) -> vec3u {
  let line = m / params.outW;
  let image = line / params.outH;
  return vec3u(m - line * params.outW, line - image * params.outH, image);
}

fn rowStart(m: u32, split: u32) -> u32 {
  if (DGRAD) {
    let pixel = pixelAt(m);
    let h = pixel.y * params.stepR + params.phaseH;
    let across = pixel.x * params.stepS + params.phaseW;
    let start = ((pixel.z * params.fullH + h) * params.fullW + across) * params.outC;
    return split * params.batch * params.fullH * params.fullW * params.outC + start;
  }
  return (split * pixels() + m) * params.outC;
}

// Position k of the reduction as (c, s, r).
fn tapAt(k: u32) -> vec3u {
  let tap = k / params.inC;
  let r = tap / max(params.s, 1u);
  return vec3u(k - tap * params.inC, tap - r * params.s, r);
}

// The same for k + offset, offset below TILE_K. Where a step stays within a tap, it is the same tap for the whole workgroup.
fn tapBeyond(k: u32, offset: u32) -> vec3u {
  if (params.inC % TILE_K == 0u) {
    return tapAt(k) + vec3u(offset, 0u, 0u);
  }
  return tapAt(k + offset);
}

// Where a pixel, (image, top, left), meets a tap, as an offset, or NOWHERE in the padding and past the last image.
const NOWHERE: u32 = 0xffffffffu;
fn under(tap: vec3u, pixel: vec3u) -> u32 {
  let h = select(pixel.y + tap.z, pixel.y - tap.z, DGRAD);
  let across = select(pixel.z + tap.y, pixel.z - tap.y, DGRAD);
  let at = ((pixel.x * params.inH + h) * params.inW + across) * params.inC + tap.x;
  return select(NOWHERE, at, h < params.inH && across < params.inW && pixel.x < params.batch);
}

fn placeA(m: u32, local: u32, i: u32) -> vec4u {
  let place = placeOfA(i, local);
  let pixel = pixelAt(m + place.x);
  let top = pixel.y * params.strideH + params.top;
  let left = pixel.x * params.strideW + params.left;
  return vec4u(pixel.z, top, left, place.y);
}

fn loadA(place: vec4u, local: u32, i: u32, k: u32) -> Chunk {
  let pixel = place.xyz;
  var tap = tapBeyond(k, place.w);
  if (VECTORS) {
    let at = under(tap, pixel);
    return chunkAt(&x, at, 8u, at != NOWHERE && k + place.w < depth());
  }
  // A chunk may go over the end of a tap.
  var low: vec4h;
  var high: vec4h;
  for (var e = 0u; e < 8u; e++) {
    let at = under(tap, pixel);
    let exists = at != NOWHERE && k + place.w + e < depth();
    let value = select(0h, elementOf(x[select(0u, at, exists)]), exists);
    if (e < 4u) {
      low[e] = value;
    } else {
      high[e - 4u] = value;
    }
    tap.x++;
    if (tap.x == params.inC) {
      tap = vec3u(0u, tap.y + 1u, tap.z);
    }
    if (tap.y == params.s) {
      tap = vec3u(tap.x, 0u, tap.z + 1u);
    }
  }
  return chunkOf(low, high);
}

fn placeB(n: u32, local: u32, i: u32) -> vec4u {
  return vec4u(placeOfB(i, local) + select(vec2u(n, 0u), vec2u(0u, n), DGRAD), 0u, 0u);
}

fn loadB(start: vec4u, local: u32, i: u32, k: u32) -> Chunk {
  let place = start.xy + select(vec2u(0u, k), vec2u(k, 0u), DGRAD);
  let extents = select(vec2u(params.outC, depth()), vec2u(depth(), params.outC), DGRAD);
  var line = place.x;
  if (DGRAD) {
    let tap = tapBeyond(k, start.x);
    let r = params.firstR + tap.z * params.stepR;
    let s = params.firstS + tap.y * params.stepS;
    line = (tap.x * params.tapsR + r) * params.tapsS + s;
  }
  return chunkAt(&w, line * extents.y + place.y, extents.y - place.y, all(place < extents));
}

@compute
//#include SIZE "lib/subgroup_size_any.wgsl"
@workgroup_size(LANES * SUBGROUPS_M * SUBGROUPS_N)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32) {
  makeTile(workgroup, grid, local);
}
