// A workgroup's tile of a matrix product with f16 operands and f32 sums: what every kernel of the `tensor` tier shares.
//
//   out[m, n] = Σ_k A[m, k]·B[k, n] (+ bias[n]),   TILE_M by TILE_N of it in a workgroup, TILE_K terms a step
//
// A step: every invocation has loaded its chunks of 8 neighbouring elements of A and B into registers; they go to workgroup
// memory; while the next ones are on their way, each subgroup multiplies its part, 32 rows by 16·COLUMNS columns, as 16×16×16
// products (MMA: lib/mma_subgroup.wgsl on tensor cores, lib/mma_emulated.wgsl in plain WGSL, for tests). Operands are staged as
// they lie in memory, contiguous along k (A_BY_K, B_BY_K) or along their other side: the matrix loads take either order, so nothing
// is transposed. Lines are 8 elements longer than the tile, which spreads them over the banks.
// The sums have no elements that a shader can touch. So at the end they go through workgroup memory, one matrix at a time.
//
// The kernel that includes this gives:
//   placeA(origin, local, i), placeB     what stays the same in all steps of where chunk i of an invocation lies, as a vec4u
//   loadA(place, local, i, k), loadB     the chunk in the step that starts at k; zero where there is no element
//   VECTORS, Elem                        operands are read by fours, vec4h, or one by one, f16
//   extent() → (M, N), depth() → K       the product's extents
//   rowStart(m, split)                   where row m lies in `out`
//   params.hasBias, params.stepsPerSplit, bindings `bias` and, by STORE, `out`
//
// host: SUBGROUPS_M × SUBGROUPS_N subgroups of 32; TILE_M = 32·SUBGROUPS_M, TILE_N = 16·COLUMNS·SUBGROUPS_N; COLUMNS is 2 or 4.
//       grid: tiles (lib/panels.wgsl), splits along z
//       splits > 1: stepsPerSplit = ceil(steps / splits), steps = ceil(K / TILE_K), splits = ceil(steps / stepsPerSplit); out is
//       a partial [splits, …] in f32, hasBias 0, and splits.wgsl makes the sum. splits = 1: stepsPerSplit = steps.
const SUBGROUPS_M: u32 = 2u;
const SUBGROUPS_N: u32 = 2u;
const COLUMNS: u32 = 2u;
const A_BY_K: bool = true;
const B_BY_K: bool = true;

const LANES: u32 = 32u;
const THREADS: u32 = LANES * SUBGROUPS_M * SUBGROUPS_N;
const TILE_M: u32 = 32u * SUBGROUPS_M;
const TILE_N: u32 = 16u * COLUMNS * SUBGROUPS_N;
const TILE_K: u32 = 32u;

// Elements in a line of a staged tile, and from one line to the next.
const LINE_A: u32 = select(TILE_M, TILE_K, A_BY_K);
const LINE_B: u32 = select(TILE_N, TILE_K, B_BY_K);
const STRIDE_A: u32 = LINE_A + 8u;
const STRIDE_B: u32 = LINE_B + 8u;
const STRIDE_SUMS: u32 = 20u;

// Chunks that an invocation brings each step, 1 to 4.
const CHUNKS_A: u32 = TILE_M * TILE_K / 8u / THREADS;
const CHUNKS_B: u32 = TILE_N * TILE_K / 8u / THREADS;

var<workgroup> stagedA: array<f16, TILE_M * TILE_K / LINE_A * STRIDE_A>;
var<workgroup> stagedB: array<f16, TILE_N * TILE_K / LINE_B * STRIDE_B>;
var<workgroup> sums: array<f32, SUBGROUPS_M * SUBGROUPS_N * 16u * STRIDE_SUMS>;

struct Chunk { low: vec4h, high: vec4h }

// Element `i` of those from `at` on, of which there are `count`. `vec4h(…)` reads the same for both types of Elem.
fn elementAt(operand: ptr<storage, array<Elem>>, at: u32, i: u32, count: u32) -> f16 {
  return select(0h, vec4h((*operand)[at + min(i, count - 1u)]).x, i < count);
}

// The chunk from `at` on; zero from the `count`-th element on. With VECTORS `at` is a multiple of 8, and count 8 or more.
fn chunkAt(operand: ptr<storage, array<Elem>>, at: u32, count: u32) -> Chunk {
  if (VECTORS) {
    return Chunk(vec4h((*operand)[at / 8u * 2u]), vec4h((*operand)[at / 8u * 2u + 1u]));
  }
  return Chunk(vec4h(elementAt(operand, at, 0u, count), elementAt(operand, at, 1u, count),
      elementAt(operand, at, 2u, count), elementAt(operand, at, 3u, count)),
    vec4h(elementAt(operand, at, 4u, count), elementAt(operand, at, 5u, count),
      elementAt(operand, at, 6u, count), elementAt(operand, at, 7u, count)));
}

// Line and position in the line of chunk i. An invocation's chunks have the same position in every line.
fn chunkOfA(i: u32, local: u32) -> vec2u {
  return vec2u(local / (LINE_A / 8u) + i * (THREADS / (LINE_A / 8u)), local % (LINE_A / 8u) * 8u);
}

fn chunkOfB(i: u32, local: u32) -> vec2u {
  return vec2u(local / (LINE_B / 8u) + i * (THREADS / (LINE_B / 8u)), local % (LINE_B / 8u) * 8u);
}

fn stageA(i: u32, local: u32, chunk: Chunk) {
  let place = chunkOfA(i, local);
  let at = (place.x * (STRIDE_A / 8u) + place.y / 8u) * 8u;
  stagedA[at] = chunk.low.x;
  stagedA[at + 1u] = chunk.low.y;
  stagedA[at + 2u] = chunk.low.z;
  stagedA[at + 3u] = chunk.low.w;
  stagedA[at + 4u] = chunk.high.x;
  stagedA[at + 5u] = chunk.high.y;
  stagedA[at + 6u] = chunk.high.z;
  stagedA[at + 7u] = chunk.high.w;
}

fn stageB(i: u32, local: u32, chunk: Chunk) {
  let place = chunkOfB(i, local);
  let at = (place.x * (STRIDE_B / 8u) + place.y / 8u) * 8u;
  stagedB[at] = chunk.low.x;
  stagedB[at + 1u] = chunk.low.y;
  stagedB[at + 2u] = chunk.low.z;
  stagedB[at + 3u] = chunk.low.w;
  stagedB[at + 4u] = chunk.high.x;
  stagedB[at + 5u] = chunk.high.y;
  stagedB[at + 6u] = chunk.high.z;
  stagedB[at + 7u] = chunk.high.w;
}

const TILE: vec2u = vec2u(TILE_M, TILE_N);
const PANEL: u32 = 4u;
const PANELS_ACROSS: bool = false;
//#include "lib/panels.wgsl"

// Writes a subgroup's 16×16 sums, whose first element is (m, n), from workgroup memory: a lane takes 8 columns of a row.
fn emit(m: u32, n: u32, subgroup: u32, lane: u32, split: u32) {
  let row = m + lane / 2u;
  let column = n + lane % 2u * 8u;
  let extents = extent();
  if (row < extents.x && column < extents.y) {
    let at = (subgroup * 16u + lane / 2u) * STRIDE_SUMS + lane % 2u * 8u;
    var low = vec4f(sums[at], sums[at + 1u], sums[at + 2u], sums[at + 3u]);
    var high = vec4f(sums[at + 4u], sums[at + 5u], sums[at + 6u], sums[at + 7u]);
    if (params.hasBias != 0u) {
      low += vec4f(biasAt(column), biasAt(column + 1u), biasAt(column + 2u), biasAt(column + 3u));
      high += vec4f(biasAt(column + 4u), biasAt(column + 5u), biasAt(column + 6u), biasAt(column + 7u));
    }
    putEight(rowStart(row, split) + column, extents.y - column, low, high);
  }
}

fn biasAt(n: u32) -> f32 { return bias[min(n, extent().y - 1u)]; }

fn makeTile(workgroup: vec3u, grid: vec3u, local: u32) {
  let origin = tileOrigin(workgroup, grid, extent());
  if (any(origin >= extent())) {
    return;
  }
  let subgroup = subgroupOf(local);
  let lane = local % LANES;
  let row = subgroup / SUBGROUPS_N * 32u;
  let column = subgroup % SUBGROUPS_N * (16u * COLUMNS);
  let placeA0 = placeA(origin.x, local, 0u);
  let placeA1 = placeA(origin.x, local, min(1u, CHUNKS_A - 1u));
  let placeA2 = placeA(origin.x, local, min(2u, CHUNKS_A - 1u));
  let placeA3 = placeA(origin.x, local, min(3u, CHUNKS_A - 1u));
  let placeB0 = placeB(origin.y, local, 0u);
  let placeB1 = placeB(origin.y, local, min(1u, CHUNKS_B - 1u));
  let placeB2 = placeB(origin.y, local, min(2u, CHUNKS_B - 1u));
  let placeB3 = placeB(origin.y, local, min(3u, CHUNKS_B - 1u));
  let firstStep = workgroup.z * params.stepsPerSplit;
  let endStep = min((depth() + TILE_K - 1u) / TILE_K, firstStep + params.stepsPerSplit);

  var a0: Chunk;
  var a1: Chunk;
  var a2: Chunk;
  var a3: Chunk;
  var b0: Chunk;
  var b1: Chunk;
  var b2: Chunk;
  var b3: Chunk;
  var sum00: Sum;
  var sum01: Sum;
  var sum02: Sum;
  var sum03: Sum;
  var sum10: Sum;
  var sum11: Sum;
  var sum12: Sum;
  var sum13: Sum;
  // One round more than there are steps: round i multiplies the step that round i − 1 loaded.
  for (var step = firstStep; step <= endStep; step++) {
    if (step > firstStep) {
      workgroupBarrier();
      stageA(0u, local, a0);
      if (CHUNKS_A > 1u) { stageA(1u, local, a1); }
      if (CHUNKS_A > 2u) { stageA(2u, local, a2); }
      if (CHUNKS_A > 3u) { stageA(3u, local, a3); }
      stageB(0u, local, b0);
      if (CHUNKS_B > 1u) { stageB(1u, local, b1); }
      if (CHUNKS_B > 2u) { stageB(2u, local, b2); }
      if (CHUNKS_B > 3u) { stageB(3u, local, b3); }
      workgroupBarrier();
    }
    if (step < endStep) {
      let k = step * TILE_K;
      a0 = loadA(placeA0, local, 0u, k);
      if (CHUNKS_A > 1u) { a1 = loadA(placeA1, local, 1u, k); }
      if (CHUNKS_A > 2u) { a2 = loadA(placeA2, local, 2u, k); }
      if (CHUNKS_A > 3u) { a3 = loadA(placeA3, local, 3u, k); }
      b0 = loadB(placeB0, local, 0u, k);
      if (CHUNKS_B > 1u) { b1 = loadB(placeB1, local, 1u, k); }
      if (CHUNKS_B > 2u) { b2 = loadB(placeB2, local, 2u, k); }
      if (CHUNKS_B > 3u) { b3 = loadB(placeB3, local, 3u, k); }
    }
    if (step > firstStep) {
      for (var k = 0u; k < 2u; k++) {
        let left0 = loadLeft(row, 16u * k);
        let left1 = loadLeft(row + 16u, 16u * k);
        let right0 = loadRight(column, 16u * k);
        sum00 = multiplyAdd(left0, right0, sum00, lane);
        sum10 = multiplyAdd(left1, right0, sum10, lane);
        let right1 = loadRight(column + 16u, 16u * k);
        sum01 = multiplyAdd(left0, right1, sum01, lane);
        sum11 = multiplyAdd(left1, right1, sum11, lane);
        if (COLUMNS > 2u) {
          let right2 = loadRight(column + 32u, 16u * k);
          sum02 = multiplyAdd(left0, right2, sum02, lane);
          sum12 = multiplyAdd(left1, right2, sum12, lane);
          let right3 = loadRight(column + 48u, 16u * k);
          sum03 = multiplyAdd(left0, right3, sum03, lane);
          sum13 = multiplyAdd(left1, right3, sum13, lane);
        }
      }
    }
  }

  let place = subgroup * 16u * STRIDE_SUMS;
  for (var i = 0u; i < 2u * COLUMNS; i++) {
    workgroupBarrier();
    if (i == 0u) { storeSum(sum00, place, lane); }
    if (i == 1u) { storeSum(sum10, place, lane); }
    if (i == 2u) { storeSum(sum01, place, lane); }
    if (i == 3u) { storeSum(sum11, place, lane); }
    if (COLUMNS > 2u) {
      if (i == 4u) { storeSum(sum02, place, lane); }
      if (i == 5u) { storeSum(sum12, place, lane); }
      if (i == 6u) { storeSum(sum03, place, lane); }
      if (i == 7u) { storeSum(sum13, place, lane); }
    }
    workgroupBarrier();
    emit(origin.x + row + i % 2u * 16u, origin.y + column + i / 2u * 16u, subgroup, lane, workgroup.z);
  }
}
