// matmul: c[M,N] = op(a)·op(b) (+ bias[N]), `tile` tier: operands are staged in workgroup memory, results stay in
// registers (lib/staged.wgsl says how and why).
//
// All four transposes are the same loop: an operand whose contiguous dimension is the reduction is turned on its way into
// workgroup memory, the other goes as it lies. An invocation's four loads keep four offsets, which move by a constant each step.
//
// host: bindings  params, a, b, bias, out. Without a bias any read-only tensor stands in (hasBias 0).
//       a is [M,K] or, TRANSPOSE_A, [K,M]; b is [K,N] or, TRANSPOSE_B, [N,K].
//       VEC_A: a's contiguous extent is a multiple of 4, and AElem = vec4f; else false and f32. VEC_B, BElem likewise.
//       Half precision: its vectors and scalars for those, Stage its vector. The bias is f32.
//       STORE: lib/store_vectors.wgsl where N is a multiple of 4, else lib/store_scalars.wgsl. out is c.
//       grid    tiles of BM by BN (lib/panels.wgsl), splits along z
//       BATCHED: products of the same extents, one after the other in a, b and c, lie along z in place of splits; stepsPerSplit as
//       with one split. ACCUMULATE: they are added to what c holds; N is a multiple of 4, hasBias 0.
//       splits  > 1: each takes stepsPerSplit steps of BK, out is a partial [splits,M,N], hasBias 0, and splits.wgsl makes the
//       sum. splits = 1: stepsPerSplit = ceil(K/BK).
const TRANSPOSE_A: bool = false;
const TRANSPOSE_B: bool = true;
const VEC_A: bool = true;
const VEC_B: bool = true;
const BATCHED: bool = false;
alias AElem = vec4f;
alias BElem = vec4f;

struct Params { m: u32, n: u32, k: u32, stepsPerSplit: u32, hasBias: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<AElem>;
@group(0) @binding(2) var<storage, read> b: array<BElem>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;

const A_ALONG_K: bool = !TRANSPOSE_A;
const B_ALONG_K: bool = TRANSPOSE_B;

//#include STORE "lib/store_vectors.wgsl"
//#include "lib/staged.wgsl"
//#include "lib/bias.wgsl"

// `split` is which part of the reduction, or which product of a batch.
struct Job { extent: vec2u, origin: vec2u, split: u32 }

fn jobOf(workgroup: vec3u, grid: vec3u) -> Job {
  let extent = vec2u(params.m, params.n);
  return Job(extent, tileOrigin(workgroup, grid, extent), workgroup.z);
}

fn rowAt(job: Job, row: u32) -> Row {
  let m = job.origin.x + row;
  return Row(m < params.m, (job.split * params.m + m) * params.n);
}

// Where an invocation is: offsets of its four vectors and how far they move in a step, its first k, and how many elements a
// vector has before its row or column ends, where k does not say it.
struct Cursor { at: vec4u, pitch: u32, k: u32, count: u32 }

// Four elements from `at` on, zero from the `count`-th on (count ≥ 1). `Stage(a[…])` reads the same for both element types.
fn loadA(at: u32, count: u32) -> Stage {
  if (VEC_A) {
    return Stage(a[at / 4u]);
  }
  let v = Stage(Stage(a[at]).x, Stage(a[at + min(1u, count - 1u)]).x, Stage(a[at + min(2u, count - 1u)]).x,
    Stage(a[at + min(3u, count - 1u)]).x);
  return select(Stage(), v, vec4u(0u, 1u, 2u, 3u) < vec4u(count));
}

fn loadB(at: u32, count: u32) -> Stage {
  if (VEC_B) {
    return Stage(b[at / 4u]);
  }
  let v = Stage(Stage(b[at]).x, Stage(b[at + min(1u, count - 1u)]).x, Stage(b[at + min(2u, count - 1u)]).x,
    Stage(b[at + min(3u, count - 1u)]).x);
  return select(Stage(), v, vec4u(0u, 1u, 2u, 3u) < vec4u(count));
}

fn cursorFrom(job: Job, firstK: u32, duty: Duty) -> Cursor {
  let alongK = select(B_ALONG_K, A_ALONG_K, duty.ofA);
  let vectors = select(VEC_B, VEC_A, duty.ofA);
  let extent = select(params.n, params.m, duty.ofA);
  let side = select(job.origin.y, job.origin.x, duty.ofA) + duty.side;
  let k = firstK + duty.step;
  // Rows and columns past the edge are read from the last: they make results that are never stored.
  let first = min(side, extent - select(1u, 4u, vectors && !alongK));
  let along = min(vec4u(side) + FOUR, vec4u(extent - 1u)) * params.k + k;
  let across = (vec4u(k) + FOUR) * extent + first;
  let start = select(0u, job.split * extent * params.k, BATCHED);
  return Cursor(start + select(across, along, alongK), select(BK * extent, BK, alongK), k, extent - first);
}

fn fetch(cursor: ptr<function, Cursor>, duty: Duty, step: u32, local: u32) -> Block {
  let w = *cursor;
  let alongK = select(B_ALONG_K, A_ALONG_K, duty.ofA);
  let inside = select(vec4u(w.k) + FOUR, vec4u(w.k), alongK) < vec4u(params.k);
  let at = select(vec4u(), w.at, inside);
  let count = select(w.count, max(params.k, w.k + 1u) - w.k, alongK);
  var block: Block;
  if (duty.ofA) {
    block = Block(loadA(at.x, count), loadA(at.y, count), loadA(at.z, count), loadA(at.w, count), inside);
  } else {
    block = Block(loadB(at.x, count), loadB(at.y, count), loadB(at.z, count), loadB(at.w, count), inside);
  }
  (*cursor).at += w.pitch;
  (*cursor).k += BK;
  return block;
}

fn tileFor(job: Job, local: u32) -> Accumulators {
  let duty = dutyOf(local);
  let first = select(job.split * params.stepsPerSplit, 0u, BATCHED);
  let all = (params.k + BK - 1u) / BK;
  let steps = min(all, first + params.stepsPerSplit) - min(all, first);
  return tileOver(steps, cursorFrom(job, first * BK, duty), duty, local);
}

@compute
//#include SIZE "lib/subgroup_size_any.wgsl"
@workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32) {
  makeTile(jobOf(workgroup, grid), local);
}
