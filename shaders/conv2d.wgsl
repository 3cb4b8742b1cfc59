// conv2d: y[N,P,Q,K] = x[N,H,W,C] ⋆ w[K,R,S,C] (+ bias[K]), and with DGRAD the gradient of x; f32 or f16 in memory,
// computed in f32, plain tier.
//
// An implicit GEMM without im2col: rows are output channels, columns are output pixels, the reduction runs over taps (r,s)
// and, inside a tap, over input channels, four a step. A team of LANES invocations makes ROWS channels of 4·LANES pixels in
// registers (lib/lanes*.wgsl says how). Channels are the rows because there may be few of them (8 at width 1/8), pixels are
// many. Addresses and the padding test are worked out once per tap. Padding reads element 0 and is then selected away.
//
// DGRAD is the same sum with the roles of the channels exchanged: dx[N,H,W,C] = Σ over taps and k of dy · w, where the tap
// runs backwards through w and w's rows (now input channels c) are contiguous. So w is used as it lies, nothing is transposed.
// With a stride, dy is read as if STRIDE−1 zeros stood between its pixels (UPSAMPLE).
//
// host, forward: bindings params, x, w, bias, y. Without a bias any read-only tensor stands in (hasBias 0).
//       params    batch N, inH H, inW W, inC C, outH P, outW Q, outC K, r R, s S, stride, padH, padW, up 1.
//       VEC_X: C is a multiple of 4, and XElem = vec4f (vec4h where x is f16), XWide = vec4f; else false, f32 (f16) and f32.
//       VEC_W, WElem, WWide the same. RAGGED false.
//       entry     `main` where K is a multiple of 4 (y, bias as vec4f), `ragged` for any K (as f32).
// host, DGRAD:   bindings params, x: dy, w, bias: any, y: dx; hasBias 0.
//       params    batch N, inH P, inW Q, inC K, outH H, outW W, outC C, r R, s S, stride 1, padH R−1−padH, padW S−1−padW
//                 (as u32, it may wrap), up = the forward's stride.
//       UPSAMPLE: the forward's stride is not 1. VEC_X: K is a multiple of 4, XElem, XWide. VEC_W: C is, WElem, WWide.
//       RAGGED: K is not.
//       entry     `main` where C is a multiple of 4, else `ragged`.
// host, both:
//       YElem, YScalar: four of y's elements, and one.
//       ROWS (lib/lanes*.wgsl): outC ≤ 8 takes 8, ≤ 16 takes 16, more takes 32 with lanes8 and 16 with lanes4; lanes1 has 4.
//       tiles   = ceil(outC / (ROWS·TEAMS)) · ceil(N·outH·outW / (4·LANES))
//       grid    = [min(tiles, 65535), ceil(tiles / 65535), splits]
//       splits  > 1 (≤ R·S): tapsPerSplit = ceil(R·S / splits), splits = ceil(R·S / tapsPerSplit); y is a partial
//                 [splits,N,P,Q,K], hasBias 0, and splits.wgsl makes the sum. splits = 1: tapsPerSplit = R·S.
const DGRAD: bool = false;
const UPSAMPLE: bool = false;
const RAGGED: bool = false;
const VEC_X: bool = true;
const VEC_W: bool = true;
// What x and w are read as, the same in f32, and what y is stored as.
alias XElem = vec4f;
alias WElem = vec4f;
alias XWide = vec4f;
alias WWide = vec4f;
alias YElem = vec4f;
alias YScalar = f32;

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
  up: u32,
  tapsPerSplit: u32,
  hasBias: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<XElem>;
@group(0) @binding(2) var<storage, read> w: array<WElem>;
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> y: array<YElem>;
@group(0) @binding(3) var<storage, read> biasScalar: array<f32>;
@group(0) @binding(4) var<storage, read_write> yScalar: array<YScalar>;

//#include TEAM "lib/lanes8.wgsl"
//#include "lib/tiles.wgsl"

// Four channels from `at` on, zero from the `count`-th on (count ≥ 1). `vec4f(XWide(x[…]))` reads the same for all element types.
fn loadX(at: u32, count: u32, inside: bool) -> vec4f {
  if (VEC_X) {
    return select(vec4f(), vec4f(XWide(x[at / 4u])), inside);
  }
  let v = vec4f(vec4f(XWide(x[at])).x, vec4f(XWide(x[at + min(1u, count - 1u)])).x, vec4f(XWide(x[at + min(2u, count - 1u)])).x,
    vec4f(XWide(x[at + min(3u, count - 1u)])).x);
  return select(vec4f(), v, vec4<bool>(inside) & (vec4u(0u, 1u, 2u, 3u) < vec4u(count)));
}

fn loadW(at: u32, count: u32) -> vec4f {
  if (VEC_W) {
    return vec4f(WWide(w[at / 4u]));
  }
  let v = vec4f(vec4f(WWide(w[at])).x, vec4f(WWide(w[at + min(1u, count - 1u)])).x, vec4f(WWide(w[at + min(2u, count - 1u)])).x,
    vec4f(WWide(w[at + min(3u, count - 1u)])).x);
  return select(vec4f(), v, vec4u(0u, 1u, 2u, 3u) < vec4u(count));
}

// The weights of output channels `c`…c+3 for input channel `k` in `tap`, out of w[K,R,S,C].
fn rowsAt(k: u32, tap: u32, c: u32) -> vec4f {
  let channel = select(k, min(k, params.inC - 1u), RAGGED);
  return loadW((channel * params.r * params.s + tap) * params.outC + c, params.outC - c);
}

// A pixel of the output, (q, p, n), and the one after it.
fn nextPixel(at: vec3u) -> vec3u {
  let rowEnds = at.x + 1u == params.outW;
  let imageEnds = rowEnds && at.y + 1u == params.outH;
  return vec3u(select(at.x + 1u, 0u, rowEnds), select(select(at.y, at.y + 1u, rowEnds), 0u, imageEnds),
    select(at.z, at.z + 1u, imageEnds));
}

// The tile with output channels from k0 on and this lane's four pixels from `pixel` on, over the split's taps.
fn tileAt(k0: u32, pixel: u32, lane: u32, split: u32) -> Tile {
  let channels = params.inC;
  let taps = params.r * params.s;
  let lastK = params.outC - 1u;
  let rowLength = taps * channels;
  let row0 = min(k0 + fragRow(0u, lane), lastK) * rowLength;
  let row1 = min(k0 + fragRow(1u, lane), lastK) * rowLength;
  let row2 = min(k0 + fragRow(2u, lane), lastK) * rowLength;
  let row3 = min(k0 + fragRow(3u, lane), lastK) * rowLength;
  let rowQuad = min(k0 + 4u * fragQuad(lane), params.outC - select(1u, 4u, VEC_W && DGRAD));
  // One division for four pixels: on a CPU it costs as much as a hundred multiply-adds.
  let line = pixel / params.outW;
  let image = line / params.outH;
  let p0 = vec3u(pixel - line * params.outW, line - image * params.outH, image);
  let p1 = nextPixel(p0);
  let p2 = nextPixel(p1);
  let p3 = nextPixel(p2);
  // Input row and column under tap (0,0), modulo 2³²: a negative one is larger than any extent, and so is a missing image's.
  let images = vec4u(p0.z, p1.z, p2.z, p3.z);
  let top = select(vec4u(0x80000000u), vec4u(p0.y, p1.y, p2.y, p3.y) * params.stride - params.padH,
    images < vec4u(params.batch));
  let left = vec4u(p0.x, p1.x, p2.x, p3.x) * params.stride - params.padW;
  // Offset of tap (0,0), modulo 2³²; a tap inside lies (r·W + s)·C further on.
  let origin = ((images * params.inH + top) * params.inW + left) * channels;
  var tile: Tile;
  let firstTap = split * params.tapsPerSplit;
  let endTap = min(taps, firstTap + params.tapsPerSplit);
  var r = firstTap / params.s;
  var s = firstTap - r * params.s;
  // One loop over taps and channels: with two, every tap would merge all accumulators once more on SwiftShader.
  var tap = firstTap;
  var c = 0u;
  var tapAt = 0u;
  var at = vec4u();
  var inside = vec4<bool>();
  let steps = (channels + 3u) / 4u;
  for (var step = firstTap * steps; step < endTap * steps; step++) {
    if (c == 0u) {
      tapAt = tap * channels;
      inside = (top + r < vec4u(params.inH)) & (left + s < vec4u(params.inW));
      at = select(vec4u(), origin + (r * params.inW + s) * channels, inside);
      if (UPSAMPLE) {
        let up = vec4u(params.up);
        let iy = (top + r) / up;
        let ix = (left + s) / up;
        inside = (iy * up == top + r) & (ix * up == left + s) & (iy < vec4u(params.inH)) & (ix < vec4u(params.inW));
        at = select(vec4u(), ((images * params.inH + iy) * params.inW + ix) * channels, inside);
      }
      s++;
      if (s == params.s) {
        s = 0u;
        r++;
      }
    }
    // Every load of a step comes before its arithmetic: loads are branches on these drivers, and what lives across spills.
    let remaining = channels - c;
    var f: Frag;
    if (DGRAD) {
      let backwards = taps - 1u - tap;
      f.v0 = rowsAt(c + fragStep(0u, lane), backwards, rowQuad);
      f.v1 = rowsAt(c + fragStep(1u, lane), backwards, rowQuad);
      if (FRAGS_M > 2u) {
        f.v2 = rowsAt(c + fragStep(2u, lane), backwards, rowQuad);
        f.v3 = rowsAt(c + fragStep(3u, lane), backwards, rowQuad);
      }
    } else {
      f.v0 = loadW(row0 + tapAt + c, remaining);
      if (FRAGS_K > 1u) {
        f.v1 = loadW(row1 + tapAt + c, remaining);
      }
      if (FRAGS_K > 2u) {
        f.v2 = loadW(row2 + tapAt + c, remaining);
        f.v3 = loadW(row3 + tapAt + c, remaining);
      }
    }
    let columns = transpose(mat4x4f(loadX(at.x + c, remaining, inside.x), loadX(at.y + c, remaining, inside.y),
      loadX(at.z + c, remaining, inside.z), loadX(at.w + c, remaining, inside.w)));
    if (DGRAD) {
      macM(&tile, f, columns, lane);
    } else {
      macK(&tile, f, columns);
    }
    c += 4u;
    if (c >= channels) {
      c = 0u;
      tap++;
    }
  }
  if (DGRAD) {
    return finishM(tile, lane);
  }
  return finishK(tile, lane);
}

// Four channels from k on of the lane's four pixels.
fn put(k: u32, pixel: u32, split: u32, rows: mat4x4f) {
  let channels = params.outC;
  let pixels = params.batch * params.outH * params.outW;
  var add = vec4f();
  if (params.hasBias != 0u) {
    add = bias[k / 4u];
  }
  let v = transpose(rows);
  let at = ((split * pixels + pixel) * channels + k) / 4u;
  if (pixel < pixels) {
    y[at] = YElem(v[0] + add);
  }
  if (pixel + 1u < pixels) {
    y[at + channels / 4u] = YElem(v[1] + add);
  }
  if (pixel + 2u < pixels) {
    y[at + channels / 2u] = YElem(v[2] + add);
  }
  if (pixel + 3u < pixels) {
    y[at + channels / 4u * 3u] = YElem(v[3] + add);
  }
}

fn putScalar(k: u32, pixel: u32, split: u32, rows: mat4x4f) {
  let channels = params.outC;
  let pixels = params.batch * params.outH * params.outW;
  for (var i = 0u; i < 4u; i++) {
    if (k + i < channels) {
      var add = 0.0;
      if (params.hasBias != 0u) {
        add = biasScalar[k + i];
      }
      for (var j = 0u; j < 4u; j++) {
        if (pixel + j < pixels) {
          yScalar[(split * pixels + pixel + j) * channels + k + i] = YScalar(rows[i][j] + add);
        }
      }
    }
  }
}

@compute @workgroup_size(LANES * TEAMS)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32) {
  let origin = tileOrigin(workgroup, grid, params.outC, params.batch * params.outH * params.outW);
  if (origin.x >= params.outC || origin.y >= params.batch * params.outH * params.outW) {
    return;
  }
  let lane = local % LANES;
  let k = origin.x + local / LANES * ROWS;
  let pixel = origin.y + 4u * lane;
  var t = tileAt(k, pixel, lane, workgroup.z);
  for (var row = k; row < min(k + ROWS, params.outC); row += 4u) {
    put(row, pixel, workgroup.z, mat4x4f(t.r0, t.r1, t.r2, t.r3));
    dropFourRows(&t);
  }
}

@compute @workgroup_size(LANES * TEAMS)
fn ragged(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32) {
  let origin = tileOrigin(workgroup, grid, params.outC, params.batch * params.outH * params.outW);
  if (origin.x >= params.outC || origin.y >= params.batch * params.outH * params.outW) {
    return;
  }
  let lane = local % LANES;
  let k = origin.x + local / LANES * ROWS;
  let pixel = origin.y + 4u * lane;
  var t = tileAt(k, pixel, lane, workgroup.z);
  for (var row = k; row < min(k + ROWS, params.outC); row += 4u) {
    putScalar(row, pixel, workgroup.z, mat4x4f(t.r0, t.r1, t.r2, t.r3));
    dropFourRows(&t);
  }
}
