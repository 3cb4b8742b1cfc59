// A workgroup's tile of a matrix product with f16 operands and f32 sums: what every kernel of the `tensor` tier shares.
//
//   out[m, n] = Σ_k A[m, k]·B[k, n] (+ bias[n]),   TILE_M by TILE_N of it in a workgroup, TILE_K terms a step
//
// A step: every invocation has loaded its chunks of 8 neighbouring elements of A and B into registers; they go to workgroup
// memory; while the next ones are on their way, each subgroup multiplies its part, 2 by COLUMNS matrices of MATRIX_M×MATRIX_N sums,
// PRODUCTS times by MATRIX_K terms (MMA: lib/mma_subgroup.wgsl on tensor cores, lib/mma_emulated.wgsl in plain WGSL, for tests).
// Operands are staged as they lie in memory, contiguous along k (A_BY_K, B_BY_K) or along their other side: the matrix loads take
// either order, so nothing is transposed. Lines are 8 elements longer than the tile, which spreads them over the banks.
// The sums have no elements that a shader can touch. So at the end they go through workgroup memory, one matrix at a time.
//
// The kernel that includes this gives:
//   placeA(origin, local, i), placeB     what stays the same in all steps of where chunk i of an invocation lies, as a vec4u
//   loadA(place, local, i, k), loadB     the chunk in the step that starts at k, from a valid address also where there is none: past
//                                        the end (one step more than there is), in the padding, where K is 0
//   VECTORS, Elem, chunkAt, elementOf    by LOAD, how operands are read: by eights or one by one
//   extent() → (M, N), depth() → K       the product's extents
//   rowStart(m, split)                   where row m lies in `out`
//   params.hasBias, params.stepsPerSplit, bindings `bias` and, by STORE, `out`
//
// host: MATRIX_M, MATRIX_N, MATRIX_K are multiples of 8; subgroups have MATRIX_M·MATRIX_N/8 lanes.
//       SUBGROUPS_M × SUBGROUPS_N subgroups; TILE_M = 2·MATRIX_M·SUBGROUPS_M, TILE_N = MATRIX_N·COLUMNS·SUBGROUPS_N, TILE_K =
//       PRODUCTS·MATRIX_K; PRODUCTS is 1 or 2, COLUMNS 2 or 4; 1 to 4 chunks of each operand, as many for every invocation.
//       grid: tiles (lib/panels.wgsl), splits along z
//       splits > 1: stepsPerSplit = ceil(steps / splits), steps = ceil(K / TILE_K), splits = ceil(steps / stepsPerSplit); out is
//       a partial [splits, …] in f32, hasBias 0, and splits.wgsl makes the sum. splits = 1: stepsPerSplit = steps.
const MATRIX_M: u32 = 16u;
const MATRIX_N: u32 = 16u;
const MATRIX_K: u32 = 16u;
const SUBGROUPS_M: u32 = 2u;
const SUBGROUPS_N: u32 = 2u;
const COLUMNS: u32 = 2u;
const PRODUCTS: u32 = 2u;
const A_BY_K: bool = true;
const B_BY_K: bool = true;

// Each of them stores eight sums of a matrix.
const LANES: u32 = MATRIX_M * MATRIX_N / 8u;
const THREADS: u32 = LANES * SUBGROUPS_M * SUBGROUPS_N;
const TILE_M: u32 = 2u * MATRIX_M * SUBGROUPS_M;
const TILE_N: u32 = MATRIX_N * COLUMNS * SUBGROUPS_N;
const TILE_K: u32 = PRODUCTS * MATRIX_K;

// Elements in a line of a staged tile, and from one line to the next.
const LINE_A: u32 = select(TILE_M, TILE_K, A_BY_K);
const LINE_B: u32 = select(TILE_N, TILE_K, B_BY_K);
const STRIDE_A: u32 = LINE_A + 8u;
const STRIDE_B: u32 = LINE_B + 8u;
const STRIDE_SUMS: u32 = MATRIX_N + 4u;

// Chunks that an invocation brings each step, 1 to 4.
const CHUNKS_A: u32 = TILE_M * TILE_K / 8u / THREADS;
const CHUNKS_B: u32 = TILE_N * TILE_K / 8u / THREADS;
const_assert CHUNKS_A * THREADS * 8u == TILE_M * TILE_K && CHUNKS_A <= 4u;
const_assert CHUNKS_B * THREADS * 8u == TILE_N * TILE_K && CHUNKS_B <= 4u;

var<workgroup> stagedA: array<f16, TILE_M * TILE_K / LINE_A * STRIDE_A>;
var<workgroup> stagedB: array<f16, TILE_N * TILE_K / LINE_B * STRIDE_B>;
var<workgroup> sums: array<f32, SUBGROUPS_M * SUBGROUPS_N * MATRIX_M * STRIDE_SUMS>;

// Eight elements, two a word, which count as zeros where they do not exist: a select when they are staged, for one at the load
// would wait for it.
struct Chunk { words: vec4u, exists: bool }

fn chunkOf(low: vec4h, high: vec4h) -> Chunk { return Chunk(vec4u(bitcast<vec2u>(low), bitcast<vec2u>(high)), true); }

// Line and position in the line of chunk i. An invocation's chunks have the same position in every line.
fn placeOfA(i: u32, local: u32) -> vec2u {
  return vec2u(local / (LINE_A / 8u) + i * (THREADS / (LINE_A / 8u)), local % (LINE_A / 8u) * 8u);
}

fn placeOfB(i: u32, local: u32) -> vec2u {
  return vec2u(local / (LINE_B / 8u) + i * (THREADS / (LINE_B / 8u)), local % (LINE_B / 8u) * 8u);
}

fn stageA(i: u32, local: u32, chunk: Chunk) {
  let place = placeOfA(i, local);
  let at = (place.x * (STRIDE_A / 8u) + place.y / 8u) * 8u;
  let words = select(vec4u(), chunk.words, chunk.exists);
  let low = bitcast<vec4h>(words.xy);
  let high = bitcast<vec4h>(words.zw);
  stagedA[at] = low.x;
  stagedA[at + 1u] = low.y;
  stagedA[at + 2u] = low.z;
  stagedA[at + 3u] = low.w;
  stagedA[at + 4u] = high.x;
  stagedA[at + 5u] = high.y;
  stagedA[at + 6u] = high.z;
  stagedA[at + 7u] = high.w;
}

fn stageB(i: u32, local: u32, chunk: Chunk) {
  let place = placeOfB(i, local);
  let at = (place.x * (STRIDE_B / 8u) + place.y / 8u) * 8u;
  let words = select(vec4u(), chunk.words, chunk.exists);
  let low = bitcast<vec4h>(words.xy);
  let high = bitcast<vec4h>(words.zw);
  stagedB[at] = low.x;
  stagedB[at + 1u] = low.y;
  stagedB[at + 2u] = low.z;
  stagedB[at + 3u] = low.w;
  stagedB[at + 4u] = high.x;
  stagedB[at + 5u] = high.y;
  stagedB[at + 6u] = high.z;
  stagedB[at + 7u] = high.w;
}

// What an invocation brings in a step, and where it lies.
struct Chunks { a0: Chunk, a1: Chunk, a2: Chunk, a3: Chunk, b0: Chunk, b1: Chunk, b2: Chunk, b3: Chunk }
struct Places { a0: vec4u, a1: vec4u, a2: vec4u, a3: vec4u, b0: vec4u, b1: vec4u, b2: vec4u, b3: vec4u }

fn placesOf(origin: vec2u, local: u32) -> Places {
  return Places(placeA(origin.x, local, 0u), placeA(origin.x, local, min(1u, CHUNKS_A - 1u)),
    placeA(origin.x, local, min(2u, CHUNKS_A - 1u)), placeA(origin.x, local, min(3u, CHUNKS_A - 1u)),
    placeB(origin.y, local, 0u), placeB(origin.y, local, min(1u, CHUNKS_B - 1u)),
    placeB(origin.y, local, min(2u, CHUNKS_B - 1u)), placeB(origin.y, local, min(3u, CHUNKS_B - 1u)));
}

fn load(places: Places, k: u32, local: u32) -> Chunks {
  var chunks: Chunks;
  chunks.a0 = loadA(places.a0, local, 0u, k);
  if (CHUNKS_A > 1u) { chunks.a1 = loadA(places.a1, local, 1u, k); }
  if (CHUNKS_A > 2u) { chunks.a2 = loadA(places.a2, local, 2u, k); }
  if (CHUNKS_A > 3u) { chunks.a3 = loadA(places.a3, local, 3u, k); }
  chunks.b0 = loadB(places.b0, local, 0u, k);
  if (CHUNKS_B > 1u) { chunks.b1 = loadB(places.b1, local, 1u, k); }
  if (CHUNKS_B > 2u) { chunks.b2 = loadB(places.b2, local, 2u, k); }
  if (CHUNKS_B > 3u) { chunks.b3 = loadB(places.b3, local, 3u, k); }
  return chunks;
}

fn stage(chunks: Chunks, local: u32) {
  stageA(0u, local, chunks.a0);
  if (CHUNKS_A > 1u) { stageA(1u, local, chunks.a1); }
  if (CHUNKS_A > 2u) { stageA(2u, local, chunks.a2); }
  if (CHUNKS_A > 3u) { stageA(3u, local, chunks.a3); }
  stageB(0u, local, chunks.b0);
  if (CHUNKS_B > 1u) { stageB(1u, local, chunks.b1); }
  if (CHUNKS_B > 2u) { stageB(2u, local, chunks.b2); }
  if (CHUNKS_B > 3u) { stageB(3u, local, chunks.b3); }
}

const TILE: vec2u = vec2u(TILE_M, TILE_N);
const PANEL: u32 = 4u;
const PANELS_ACROSS: bool = false;
//#include "lib/panels.wgsl"

// Row and first column of the eight sums of a matrix that a lane takes.
fn placeInSums(lane: u32) -> vec2u { return vec2u(lane / (MATRIX_N / 8u), lane % (MATRIX_N / 8u) * 8u); }

// Writes a subgroup's matrix of sums, whose first element is (m, n), from workgroup memory.
fn emit(m: u32, n: u32, subgroup: u32, lane: u32, split: u32) {
  let place = placeInSums(lane);
  let row = m + place.x;
  let column = n + place.y;
  let extents = extent();
  if (row < extents.x && column < extents.y) {
    let at = (subgroup * MATRIX_M + place.x) * STRIDE_SUMS + place.y;
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
  let row = subgroup / SUBGROUPS_N * (2u * MATRIX_M);
  let column = subgroup % SUBGROUPS_N * (MATRIX_N * COLUMNS);
  let places = placesOf(origin, local);
  let firstStep = workgroup.z * params.stepsPerSplit;
  let endStep = min((depth() + TILE_K - 1u) / TILE_K, firstStep + params.stepsPerSplit);

  var sum00: Sum;
  var sum01: Sum;
  var sum02: Sum;
  var sum03: Sum;
  var sum10: Sum;
  var sum11: Sum;
  var sum12: Sum;
  var sum13: Sum;
  stage(load(places, firstStep * TILE_K, local), local);
  workgroupBarrier();
  // A turn loads the chunks of the next step, which may not exist, and multiplies those that are staged. No chunk lives from turn
  // to turn: a compiler would copy it, and for that wait for it, ahead of the products. Nothing is conditional: loads would
  // be moved past the condition, after the products.
  for (var step = firstStep; step < endStep; step++) {
    let next = load(places, (step + 1u) * TILE_K, local);
    for (var k = 0u; k < PRODUCTS; k++) {
      let left0 = loadLeft(row, MATRIX_K * k);
      let left1 = loadLeft(row + MATRIX_M, MATRIX_K * k);
      let right0 = loadRight(column, MATRIX_K * k);
      sum00 = multiplyAdd(left0, right0, sum00, lane);
      sum10 = multiplyAdd(left1, right0, sum10, lane);
      let right1 = loadRight(column + MATRIX_N, MATRIX_K * k);
      sum01 = multiplyAdd(left0, right1, sum01, lane);
      sum11 = multiplyAdd(left1, right1, sum11, lane);
      if (COLUMNS > 2u) {
        let right2 = loadRight(column + 2u * MATRIX_N, MATRIX_K * k);
        sum02 = multiplyAdd(left0, right2, sum02, lane);
        sum12 = multiplyAdd(left1, right2, sum12, lane);
        let right3 = loadRight(column + 3u * MATRIX_N, MATRIX_K * k);
        sum03 = multiplyAdd(left0, right3, sum03, lane);
        sum13 = multiplyAdd(left1, right3, sum13, lane);
      }
    }
    workgroupBarrier();
    stage(next, local);
    workgroupBarrier();
  }

  let place = subgroup * MATRIX_M * STRIDE_SUMS;
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
    emit(origin.x + row + i % 2u * MATRIX_M, origin.y + column + i / 2u * MATRIX_N, subgroup, lane, workgroup.z);
  }
}
