// conv2d_small: y[N,P,Q,K] = x[N,H,W,C] ⋆ w[K,R,S,C] (+ bias[K]) over small maps, and with DGRAD the gradient of x for stride 1;
// f32 or f16 in memory, computed in f32, `lanes` tier, for adapters that run a workgroup as one 8-wide vector.
//
// conv2d.wgsl with rows and columns exchanged: each lane has four output channels, its columns, and pixels are the rows, in blocks
// of LANES, five blocks in a tile. The pixels of 4×3×3 then make one tile, and all weights are read once, where tiles of 32 pixels
// would be two that both read them, the second one nearly empty. Pixels are ordered by place first and image second, so those of
// a block have their padding under much the same taps, and a block leaves out the taps under which all of its pixels have it: two
// fifths of all, where maps of 3×3 are padded by one. The weights of a tap that all blocks leave out are not read.
//
// DGRAD is the same sum over dy with the taps turned round and the roles of the channels exchanged, so that w is used as it lies:
// dx[n,h,w,c] = Σ over r, s and k of dy[n, h + padH − r, w + padW − s, k] · w[k,r,s,c].
//
// host: bindings params, x, w, bias, y; with DGRAD x is dy, y is dx. Without a bias any read-only tensor stands in (hasBias 0).
//       params   batch N, inH H, inW W, inC C, outH P, outW Q, outC K, r R, s S, stride, padH, padW, hasBias.
//                DGRAD: inH P, inW Q, inC K, outH H, outW W, outC C, r, s, stride 1, padH R − 1 − padH, padW S − 1 − padW, both
//                modulo 2³².
//       C and K are multiples of 4. XElem, WElem, YElem: four elements of x, w and y. ROWS: LANES.
//       grid     [ceil(N·outH·outW / (BLOCKS·LANES)), ceil(outC / (4·LANES))]: lavapipe cuts it into one run of workgroups a core,
//                and with channels on the outer side each run has all pixels, the last tile's missing ones and the padding too
const DGRAD: bool = false;
alias XElem = vec4f;
alias WElem = vec4f;
alias YElem = vec4f;

//#include "lib/conv2d.wgsl"
//#include "lib/lanes_broadcast.wgsl"
//#include "lib/tiles.wgsl"

const BLOCKS: u32 = 5u;

// A pixel: the input row and column under the first tap (modulo 2³²: a negative one is larger than any extent, and so is that of
// a pixel past the last), and the offset in x there.
struct Pixel { top: u32, left: u32, at: u32 }

fn pixelOf(index: u32) -> Pixel {
  let place = index / params.batch;
  let image = index - place * params.batch;
  let p = place / params.outW;
  let q = place - p * params.outW;
  let top = select(0x80000000u, p * params.stride - params.padH, p < params.outH);
  let left = q * params.stride - params.padW;
  return Pixel(top, left, ((image * params.inH + top) * params.inW + left) * params.inC);
}

// What a lane reads under a tap for its pixel of a block: the offset, and whether there is something.
struct Reading { at: u32, inside: bool }

fn readingOf(pixel: Pixel, u: u32, v: u32) -> Reading {
  let inside = pixel.top + u < params.inH && pixel.left + v < params.inW;
  return Reading(select(0u, pixel.at + (u * params.inW + v) * params.inC, inside), inside);
}

// Four channels from c on.
fn loadX(reading: Reading, c: u32) -> vec4f {
  return select(vec4f(), vec4f(x[(reading.at + c) >> 2u]), reading.inside);
}

// The weights of the lane's output channels k…k+3 for input channels c…c+3, as columns: steps are input channels.
fn columnsAt(k: u32, tap: u32, c: u32) -> mat4x4f {
  let taps = params.r * params.s;
  if (DGRAD) {
    let at = ((c * taps + taps - 1u - tap) * params.outC + k) >> 2u;
    let pitch = (taps * params.outC) >> 2u;
    return mat4x4f(vec4f(w[at]), vec4f(w[at + pitch]), vec4f(w[at + 2u * pitch]), vec4f(w[at + 3u * pitch]));
  }
  let at = ((k * taps + tap) * params.inC + c) >> 2u;
  let pitch = (taps * params.inC) >> 2u;
  return transpose(mat4x4f(vec4f(w[at]), vec4f(w[at + pitch]), vec4f(w[at + 2u * pitch]), vec4f(w[at + 3u * pitch])));
}

fn frag(v: vec4f) -> Frag {
  var f: Frag;
  f.v0 = v;
  return f;
}

// Where a row goes: an image and a place of the map, and how many rows are left.
struct Goal { image: u32, place: u32, left: u32 }

// Stores a pixel's channels from k on, and goes on to the next pixel.
fn putRow(goal: ptr<function, Goal>, k: u32, v: vec4f) {
  if ((*goal).left > 0u) {
    if (k < params.outC) {
      y[(((*goal).image * params.outH * params.outW + (*goal).place) * params.outC + k) >> 2u] = YElem(v);
    }
    (*goal).left--;
    (*goal).image++;
    if ((*goal).image == params.batch) {
      (*goal).image = 0u;
      (*goal).place++;
    }
  }
}

// Tint does not know that what subgroupAny returns is the same in all lanes.
@diagnostic(off, subgroup_uniformity)
@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) lane: u32) {
  let k = workgroup.y * 4u * LANES + 4u * lane;
  let columns = min(k, params.outC - 4u);
  let first = workgroup.x * BLOCKS * LANES;
  let p0 = pixelOf(first + lane);
  let p1 = pixelOf(first + LANES + lane);
  let p2 = pixelOf(first + 2u * LANES + lane);
  let p3 = pixelOf(first + 3u * LANES + lane);
  let p4 = pixelOf(first + 4u * LANES + lane);
  var t0: Accumulators;
  var t1: Accumulators;
  var t2: Accumulators;
  var t3: Accumulators;
  var t4: Accumulators;
  for (var u = 0u; u < params.r; u++) {
    for (var v = 0u; v < params.s; v++) {
      let r0 = readingOf(p0, u, v);
      let r1 = readingOf(p1, u, v);
      let r2 = readingOf(p2, u, v);
      let r3 = readingOf(p3, u, v);
      let r4 = readingOf(p4, u, v);
      let any0 = subgroupAny(r0.inside);
      let any1 = subgroupAny(r1.inside);
      let any2 = subgroupAny(r2.inside);
      let any3 = subgroupAny(r3.inside);
      let any4 = subgroupAny(r4.inside);
      if (!(any0 || any1 || any2 || any3 || any4)) {
        continue;
      }
      let tap = u * params.s + v;
      // Every load of a step comes before its arithmetic: loads are branches on these drivers, and what lives across spills.
      for (var c = 0u; c < params.inC; c += 4u) {
        let f0 = loadX(r0, c);
        let f1 = loadX(r1, c);
        let f2 = loadX(r2, c);
        let f3 = loadX(r3, c);
        let f4 = loadX(r4, c);
        let b = columnsAt(columns, tap, c);
        if (any0) {
          macK(&t0, frag(f0), b);
        }
        if (any1) {
          macK(&t1, frag(f1), b);
        }
        if (any2) {
          macK(&t2, frag(f2), b);
        }
        if (any3) {
          macK(&t3, frag(f3), b);
        }
        if (any4) {
          macK(&t4, frag(f4), b);
        }
      }
    }
  }
  var add = vec4f();
  if (params.hasBias != 0u) {
    add = bias[columns >> 2u];
  }
  let place = first / params.batch;
  var goal = Goal(first - place * params.batch, place, params.batch * params.outH * params.outW - first);
  // Blocks go one after the other through the same stores: each place that touches memory is what lavapipe takes long to compile.
  for (var block = 0u; block < BLOCKS && goal.left > 0u; block++) {
    var t = finishK(t0, lane);
    for (var row = 0u; row < LANES; row += 4u) {
      putRow(&goal, k, t.r0 + add);
      putRow(&goal, k, t.r1 + add);
      putRow(&goal, k, t.r2 + add);
      putRow(&goal, k, t.r3 + add);
      dropFourRows(&t);
    }
    t0 = t1;
    t1 = t2;
    t2 = t3;
    t3 = t4;
  }
}
