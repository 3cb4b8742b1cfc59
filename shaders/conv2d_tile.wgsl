// conv2d: y[N,P,Q,K] = x[N,H,W,C] ⋆ w[K,R,S,C] (+ bias[K]), and with DGRAD the gradient of x; `tile` tier: operands are
// staged in workgroup memory, results stay in registers (lib/staged.wgsl says how and why).
//
// An implicit GEMM: rows are output pixels, columns output channels, the reduction runs over taps and, inside a tap, over input
// channels, in one row (tap, channel) that steps of BK cut anywhere: channels that are no multiple of BK waste nothing. x comes
// along the channels, w lies in memory as this wants it, forward (along the channels) and backward (across them).
// The pixels of the tile are decoded once, by one invocation each, into workgroup memory; when an invocation comes to a new tap
// it looks its four pixels up there and keeps four offsets, NONE for what is padding. Within a tap a step costs an addition and
// a comparison per load. Kernel size, stride and padding appear at a new tap only, so they are numbers and no constants.
//
// DGRAD: by phases (lib/phases.wgsl), which lie along the grid's z, those with most taps first.
//
// C (with DGRAD: K) below BK or no multiple of 4 makes a step touch several taps: the stem. Then channels and taps are worked
// out for each load, by division by a constant (CHANNELS).
//
// host, forward: bindings params, x, w, bias, out. Without a bias any read-only tensor stands in (hasBias 0).
//       params    batch N, inH H, inW W, inC C, outH P, outW Q, outC K, r R, s S, strides, pads.
//       CHANNELS: C where it is below BK or no multiple of 4, else 0. RAGGED: C is no multiple of 4.
//       VEC_W: !RAGGED. XElem, WElem: vec4f, or f32 where not VEC; half precision: its vectors and scalars,
//       Stage its vector. The bias is f32.
// host, DGRAD:   bindings params, x: dy, w, bias: any, out: dx; hasBias 0.
//       params    batch N, inH P, inW Q, inC K, outH H, outW W, outC C, r R, s S, the forward's strides and pads.
//       CHANNELS, RAGGED, XElem as above of K. VEC_W, WElem: C is a multiple of 4.
// host, both:
//       STORE: lib/store_vectors.wgsl where outC is a multiple of 4, else lib/store_scalars.wgsl. out is y.
//       grid    tiles of BM by BN (lib/panels.wgsl) of pixels by outC, splits·phases along z; pixels are those of the largest
//               phase: N·ceil(H/stride)·ceil(W/stride); forward has one phase, N·P·Q.
//       splits  > 1: out is a partial [splits,N,P,Q,K], hasBias 0, and splits.wgsl makes the sum.
const DGRAD: bool = false;
const CHANNELS: u32 = 0u;
const RAGGED: bool = false;
const VEC_W: bool = true;
alias XElem = vec4f;
alias WElem = vec4f;

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
  strideH: u32,
  strideW: u32,
  padH: u32,
  padW: u32,
  splits: u32,
  hasBias: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<XElem>;
@group(0) @binding(2) var<storage, read> w: array<WElem>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;

const A_ALONG_K: bool = true;
const B_ALONG_K: bool = !DGRAD;

//#include STORE "lib/store_vectors.wgsl"
//#include "lib/staged.wgsl"
//#include "lib/bias.wgsl"
//#include "lib/phases.wgsl"

const NONE: u32 = 0xffffffffu;

// For each row of the tile: offset of its input under tap (0,0), input row and column (all modulo 2³²), output pixel.
var<workgroup> pixels: array<vec4u, BM>;

fn pixelOf(index: u32, down: Axis, across: Axis) -> vec4u {
  let line = index / across.count;
  let image = line / down.count;
  if (image >= params.batch) {
    return vec4u(0u, 0x80000000u, 0u, NONE);
  }
  let j = index - line * across.count;
  let i = line - image * down.count;
  let top = i * down.step + down.start;
  let left = j * across.step + across.start;
  let to = (image * params.outH + down.first + i * down.pitch) * params.outW + across.first + j * across.pitch;
  return vec4u(((image * params.inH + top) * params.inW + left) * params.inC, top, left, to);
}

// Where an invocation is: index in the reduction; tap and channel of it; the offsets of its four vectors in that tap; whether
// the tap is new. `side` is the first output channel of w's block; `taps` and `lastTap` are those of the axes, down and across.
struct Cursor { index: u32, u: u32, v: u32, k: u32, at: vec4u, fresh: bool, side: u32, taps: vec2u, lastTap: vec2u }

fn channels() -> u32 { return select(params.inC, CHANNELS, CHANNELS > 0u); }

fn gatherX(at: vec4u) -> Stage { return Stage(Stage(x[at.x]).x, Stage(x[at.y]).x, Stage(x[at.z]).x, Stage(x[at.w]).x); }
fn gatherW(at: vec4u) -> Stage { return Stage(Stage(w[at.x]).x, Stage(w[at.y]).x, Stage(w[at.z]).x, Stage(w[at.w]).x); }

// Four output channels from `at` on; w ends `count` later.
fn loadW(at: u32, count: u32) -> Stage {
  if (VEC_W) {
    return Stage(w[at / 4u]);
  }
  return gatherW(vec4u(at) + min(FOUR, vec4u(count - 1u)));
}

// Offset in w of tap (u, v), DGRAD.
fn tapAt(cursor: Cursor, u: u32, v: u32) -> u32 {
  return ((cursor.lastTap.x - u * params.strideH) * params.s + cursor.lastTap.y - v * params.strideW) * params.outC;
}

// Offsets of the block's vectors at channel 0 of the tap that the cursor is in; NONE for zeros.
fn offsetsOf(cursor: Cursor, duty: Duty) -> vec4u {
  let exists = cursor.u < cursor.taps.x;
  if (duty.ofA) {
    let shift = (cursor.u * params.inW + cursor.v) * params.inC;
    let p0 = pixels[duty.side];
    let p1 = pixels[duty.side + 1u];
    let p2 = pixels[duty.side + 2u];
    let p3 = pixels[duty.side + 3u];
    let inside = (vec4u(p0.y, p1.y, p2.y, p3.y) + cursor.u < vec4u(params.inH)) &
      (vec4u(p0.z, p1.z, p2.z, p3.z) + cursor.v < vec4u(params.inW)) & vec4<bool>(exists);
    return select(vec4u(NONE), vec4u(p0.x, p1.x, p2.x, p3.x) + shift, inside);
  }
  let rowLength = params.r * params.s * select(params.inC, params.outC, DGRAD);
  if (DGRAD) {
    return select(vec4u(NONE), FOUR * rowLength + tapAt(cursor, cursor.u, cursor.v) + cursor.side, vec4<bool>(exists));
  }
  let rows = min(vec4u(cursor.side) + FOUR, vec4u(params.outC - 1u)) * rowLength;
  return select(vec4u(NONE), rows + (cursor.u * params.s + cursor.v) * params.inC, vec4<bool>(exists));
}

fn gatherPixel(pixel: vec4u, shift: vec4u, u: vec4u, v: vec4u, exists: vec4<bool>) -> Stage {
  let inside = (u + pixel.y < vec4u(params.inH)) & (v + pixel.z < vec4u(params.inW)) & exists;
  return select(Stage(), gatherX(select(vec4u(), shift + pixel.x, inside)), inside);
}

// A block whose four steps each have a tap of their own.
fn fetchRagged(cursor: Cursor, duty: Duty) -> Block {
  let indices = vec4u(cursor.index) + FOUR;
  let taps = indices / channels();
  let k = indices - taps * channels();
  let u = taps / max(cursor.taps.y, 1u);
  let v = taps - u * cursor.taps.y;
  let exists = u < vec4u(cursor.taps.x);
  var block: Block;
  block.ok = vec4<bool>(true);
  if (duty.ofA) {
    let shift = (u * params.inW + v) * params.inC + k;
    block.v0 = gatherPixel(pixels[duty.side], shift, u, v, exists);
    block.v1 = gatherPixel(pixels[duty.side + 1u], shift, u, v, exists);
    block.v2 = gatherPixel(pixels[duty.side + 2u], shift, u, v, exists);
    block.v3 = gatherPixel(pixels[duty.side + 3u], shift, u, v, exists);
  } else if (DGRAD) {
    let rowLength = params.r * params.s * params.outC;
    let count = params.outC - cursor.side;
    let tap = vec4u(tapAt(cursor, u.x, v.x), tapAt(cursor, u.y, v.y), tapAt(cursor, u.z, v.z), tapAt(cursor, u.w, v.w));
    let at = select(vec4u(), k * rowLength + tap + cursor.side, exists);
    block = Block(loadW(at.x, count), loadW(at.y, count), loadW(at.z, count), loadW(at.w, count), exists);
  } else {
    let rows = min(vec4u(cursor.side) + FOUR, vec4u(params.outC - 1u)) * params.r * params.s * channels();
    let at = select(vec4u(), indices, exists);
    block.v0 = select(Stage(), gatherW(at + rows.x), exists);
    block.v1 = select(Stage(), gatherW(at + rows.y), exists);
    block.v2 = select(Stage(), gatherW(at + rows.z), exists);
    block.v3 = select(Stage(), gatherW(at + rows.w), exists);
  }
  return block;
}

fn setTap(cursor: ptr<function, Cursor>) {
  let tap = (*cursor).index / channels();
  (*cursor).k = (*cursor).index - tap * channels();
  (*cursor).u = tap / max((*cursor).taps.y, 1u);
  (*cursor).v = tap - (*cursor).u * (*cursor).taps.y;
  (*cursor).fresh = true;
}

fn fetch(cursor: ptr<function, Cursor>, duty: Duty, step: u32, local: u32) -> Block {
  if (RAGGED) {
    let block = fetchRagged(*cursor, duty);
    (*cursor).index += BK;
    return block;
  }
  if ((*cursor).fresh) {
    (*cursor).at = offsetsOf(*cursor, duty);
  }
  let ok = (*cursor).at != vec4u(NONE);
  let pitch = select(1u, params.r * params.s * params.outC, DGRAD && !duty.ofA);
  let at = select(vec4u(), (*cursor).at + (*cursor).k * pitch, ok);
  var block: Block;
  if (duty.ofA) {
    block = Block(Stage(x[at.x / 4u]), Stage(x[at.y / 4u]), Stage(x[at.z / 4u]), Stage(x[at.w / 4u]), ok);
  } else {
    let count = params.outC - (*cursor).side;
    block = Block(loadW(at.x, count), loadW(at.y, count), loadW(at.z, count), loadW(at.w, count), ok);
  }
  if (CHANNELS > 0u) {
    (*cursor).index += BK;
    setTap(cursor);
    return block;
  }
  (*cursor).k += BK;
  (*cursor).fresh = (*cursor).k >= params.inC;
  if ((*cursor).fresh) {
    (*cursor).k -= params.inC;
    (*cursor).v++;
    if ((*cursor).v == (*cursor).taps.y) {
      (*cursor).v = 0u;
      (*cursor).u++;
    }
  }
  return block;
}

struct Job { extent: vec2u, origin: vec2u, split: u32, down: Axis, across: Axis }

fn jobOf(workgroup: vec3u, grid: vec3u) -> Job {
  let phase = workgroup.z / params.splits;
  let down = axisOf(phase / params.strideW, params.outH, params.r, params.strideH, params.padH);
  let across = axisOf(phase % params.strideW, params.outW, params.s, params.strideW, params.padW);
  let rows = params.batch * down.count * across.count;
  // A phase may be empty.
  let origin = tileOrigin(workgroup, grid, vec2u(max(rows, 1u), params.outC));
  return Job(vec2u(rows, params.outC), origin, workgroup.z % params.splits, down, across);
}

fn tileFor(job: Job, local: u32) -> Accumulators {
  if (local < BM) {
    pixels[local] = pixelOf(job.origin.x + local, job.down, job.across);
  }
  workgroupBarrier();
  let duty = dutyOf(local);
  let all = (job.down.taps * job.across.taps * params.inC + BK - 1u) / BK;
  let perSplit = (all + params.splits - 1u) / params.splits;
  let first = min(all, job.split * perSplit);
  var cursor: Cursor;
  cursor.index = first * BK + duty.step;
  cursor.taps = select(vec2u(), vec2u(job.down.taps, job.across.taps), all > 0u);
  cursor.lastTap = vec2u(job.down.lastTap, job.across.lastTap);
  cursor.side = job.origin.y + duty.side;
  if (DGRAD) {
    cursor.side = min(cursor.side, params.outC - select(1u, 4u, VEC_W));
  }
  setTap(&cursor);
  return tileOver(min(all, first + perSplit) - first, cursor, duty, local);
}

fn rowAt(job: Job, row: u32) -> Row {
  let pixel = pixels[row].w;
  return Row(pixel != NONE, (job.split * params.batch * params.outH * params.outW + pixel) * params.outC);
}

@compute
//#include SIZE "lib/subgroup_size_any.wgsl"
@workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32) {
  makeTile(jobOf(workgroup, grid), local);
}
