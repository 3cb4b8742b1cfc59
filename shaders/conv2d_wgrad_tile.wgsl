// conv2d_wgrad: dw[K,R,S,C] = Σ over n,p,q of dy[n,p,q,k] · x[n, p·stride−pad+r, q·stride−pad+s, c]; `tile` tier: operands
// are staged in workgroup memory, results stay in registers (lib/staged.wgsl says how and why).
//
// A GEMM with a small result and a long reduction: rows are output channels k, columns (r,s,c), the reduction runs over all
// output pixels and is split over the grid's z where the result alone would not fill the machine. Both operands are contiguous
// across the reduction, so blocks go into workgroup memory as they come. A block's columns stay the same, only the pixels
// move on; where a pixel lies in x is decoded (two divisions) for THREADS pixels at once, one an invocation, into workgroup
// memory, from where each block takes its four: padding then costs an addition and a comparison per dimension and load.
//
// host: bindings  params, x, dy, out.
//       VEC_X: C is a multiple of 4, and XElem = vec4f; else false and f32. VEC_DY, DyElem the same for K.
//       Half precision: its vectors and scalars for those, Stage its vector.
//       STORE: lib/store_vectors.wgsl where C is a multiple of 4, else lib/store_scalars.wgsl. out is dw.
//       grid    tiles of BM by BN (lib/panels.wgsl) of K by R·S·C, splits along z
//       splits  > 1: each takes stepsPerSplit steps of BK pixels, out is a partial [splits,K,R,S,C], and splits.wgsl makes the
//       sum. splits = 1: stepsPerSplit = ceil(N·P·Q/BK).
const VEC_X: bool = true;
const VEC_DY: bool = true;
alias XElem = vec4f;
alias DyElem = vec4f;

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
  stepsPerSplit: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<XElem>;
@group(0) @binding(2) var<storage, read> dy: array<DyElem>;

const A_ALONG_K: bool = false;
const B_ALONG_K: bool = false;

//#include STORE "lib/store_vectors.wgsl"
//#include "lib/staged.wgsl"

struct Job { extent: vec2u, origin: vec2u, split: u32 }

fn jobOf(workgroup: vec3u, grid: vec3u) -> Job {
  let extent = vec2u(params.outC, params.r * params.s * params.inC);
  return Job(extent, tileOrigin(workgroup, grid, extent), workgroup.z);
}

fn rowAt(job: Job, row: u32) -> Row {
  let k = job.origin.x + row;
  return Row(k < params.outC, (job.split * params.outC + k) * job.extent.y);
}

fn withBias(job: Job, column: u32, quad: mat4x4f) -> mat4x4f { return quad; }

// Steps that the decoded pixels last for.
const STEPS_DECODED: u32 = THREADS / BK;

// Offset in x of an output pixel's input under tap (0,0) without padding, input row, input column.
var<workgroup> pixels: array<vec3u, THREADS>;

// Where an invocation is: of its columns the offset, row and column under output pixel (0,0), all modulo 2³²; of dy the
// offset of its four channels; the split's pixels.
struct Cursor { at: vec4u, top: vec4u, left: vec4u, channel: u32, first: u32, end: u32 }

fn pixelOf(index: u32) -> vec3u {
  let line = index / params.outW;
  let image = line / params.outH;
  let left = (index - line * params.outW) * params.strideW;
  let top = (line - image * params.outH) * params.strideH;
  return vec3u(((image * params.inH + top) * params.inW + left) * params.inC, top, left);
}

// Four channels from `at` on; the last is `last` further.
fn loadDy(at: u32, last: u32) -> Stage {
  if (VEC_DY) {
    return Stage(dy[at / 4u]);
  }
  return Stage(Stage(dy[at]).x, Stage(dy[at + min(1u, last)]).x, Stage(dy[at + min(2u, last)]).x,
    Stage(dy[at + min(3u, last)]).x);
}

// x under the block's columns at a pixel, one by one; zero in the padding, and where the pixel does not exist.
fn loadX(cursor: Cursor, pixel: vec3u, exists: bool) -> Stage {
  let inside = (cursor.top + pixel.y < vec4u(params.inH)) & (cursor.left + pixel.z < vec4u(params.inW)) & vec4<bool>(exists);
  let at = select(vec4u(), cursor.at + pixel.x, inside);
  return select(Stage(), Stage(Stage(x[at.x]).x, Stage(x[at.y]).x, Stage(x[at.z]).x, Stage(x[at.w]).x), inside);
}

// Whether a block has x at a pixel. One by one, `loadX` has made zeros where not.
fn insideAt(cursor: Cursor, pixel: vec3u, exists: bool) -> bool {
  return !VEC_X || (cursor.top.x + pixel.y < params.inH && cursor.left.x + pixel.z < params.inW && exists);
}

fn fetch(cursor: ptr<function, Cursor>, duty: Duty, step: u32, local: u32) -> Block {
  let w = *cursor;
  let decoded = step % STEPS_DECODED;
  if (decoded == 0u) {
    // What was read of them before is behind a barrier of `tileOver`.
    pixels[local] = pixelOf(w.first + step * BK + local);
    workgroupBarrier();
  }
  let pixel = vec4u(w.first + step * BK + duty.step) + FOUR;
  let exists = pixel < vec4u(w.end);
  let row = decoded * BK + duty.step;
  let p0 = pixels[row];
  let p1 = pixels[row + 1u];
  let p2 = pixels[row + 2u];
  let p3 = pixels[row + 3u];
  let inside = vec4<bool>(insideAt(w, p0, exists.x), insideAt(w, p1, exists.y), insideAt(w, p2, exists.z),
    insideAt(w, p3, exists.w));
  let ok = select(inside, exists, vec4<bool>(duty.ofA));
  // Worked out for both operands alike: the shorter the branches, the less their loads are moved about where they meet.
  let at = select(vec4u(), select(vec4u(p0.x, p1.x, p2.x, p3.x) + w.at.x, pixel * params.outC + w.channel, duty.ofA), ok);
  var block: Block;
  if (duty.ofA) {
    let last = params.outC - 1u - w.channel;
    block = Block(loadDy(at.x, last), loadDy(at.y, last), loadDy(at.z, last), loadDy(at.w, last), ok);
  } else if (VEC_X) {
    block = Block(Stage(x[at.x / 4u]), Stage(x[at.y / 4u]), Stage(x[at.z / 4u]), Stage(x[at.w / 4u]), ok);
  } else {
    block = Block(loadX(w, p0, exists.x), loadX(w, p1, exists.y), loadX(w, p2, exists.z), loadX(w, p3, exists.w), ok);
  }
  return block;
}

fn tileFor(job: Job, local: u32) -> Accumulators {
  let duty = dutyOf(local);
  let pixelCount = params.batch * params.outH * params.outW;
  let all = (pixelCount + BK - 1u) / BK;
  let first = min(all, job.split * params.stepsPerSplit);
  let steps = min(all, first + params.stepsPerSplit) - first;
  let j = min(vec4u(job.origin.y + duty.side) + select(FOUR, vec4u(), VEC_X), vec4u(job.extent.y - select(1u, 4u, VEC_X)));
  let tap = j / params.inC;
  let r = tap / params.s;
  let top = r - params.padH;
  let left = tap - r * params.s - params.padW;
  let at = (top * params.inW + left) * params.inC + j - tap * params.inC;
  let channel = min(job.origin.x + duty.side, params.outC - select(1u, 4u, VEC_DY));
  let end = min(pixelCount, (first + steps) * BK);
  return tileOver(steps, Cursor(at, top, left, channel, first * BK, end), duty, local);
}

@compute
//#include SIZE "lib/subgroup_size_any.wgsl"
@workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32) {
  makeTile(jobOf(workgroup, grid), local);
}
