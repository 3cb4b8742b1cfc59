// A workgroup makes a tile of BM rows by BN columns, step by step of BK of the reduction, out of workgroup memory: what the
// matrix kernels of the `tile` tier share. The kernel that includes this gives:
//   A_ALONG_K, B_ALONG_K             which way its operands lie: the reduction is what is contiguous in memory
//   Cursor, fetch(&cursor, duty, …)  how an invocation comes by its block of an operand, step by step
//   Job, of extent, origin and more  what a workgroup does, the same in all of its invocations: the result's rows and columns, the
//                                    tile's first ones
//   tileFor(job, local)              the sums, by `tileOver`
//   withBias(job, column, quad)      what is stored of a quad of them
//   rowAt(job, row)                  where a row of the tile goes
// and the binding `out`, by STORE, and calls `makeTile`.
//
// Why it is so:
// - An invocation keeps QUADS_M × QUADS_N quads of 4×4 results in registers. With 2×2 a step of the reduction reads 4 vec4 from
//   workgroup memory for 64 multiply-adds; with 1×1 it is 2 for 16, and then the reads are what limits. Accumulators are named
//   matrices, indexed by constants alone: an indexed array would be kept in memory where a driver does not unroll.
// - Staging goes by blocks of four rows (columns) by four steps, one block an invocation, the first warps those of A,
//   the next those of B: a block is four vec4 loads of 64 contiguous bytes a row (along K) or of whole lines (across), is
//   turned by a register transposition where it came along K, and is stored by four vec4. So an operand needs no transposed
//   copy. Single components are never stored: WGSL lets them race with their neighbours.
// - A turn loads the next step's blocks into registers, multiplies this step's, and stores the blocks: the products hide the
//   loads, and one buffer is enough, at two barriers a turn. What must be zero (padding, past the end) is loaded from a valid
//   address and selected away when it is stored: a select at the load would wait for it. So would a third way through `fetch`,
//   for invocations that have nothing to load: where the ways meet, registers that a load is to fill would be set to zero.
// - Banks: four lines, GROUP_* apart, are followed by SKEW empty vec4. A store along K has, among eight neighbours, BK/4
//   different groups of 8·4/BK rows each; the skew gives all eight their own 16 bytes of the 128. Reads are of one line: eight
//   neighbouring columns and four neighbouring rows a warp. Lane bit 0 picks the row and bits 1 to 3 the column, so of lanes i
//   and i^1 one address is the same, and of i and i^2 the other: NVIDIA then serves a 16-byte read of a warp in two passes,
//   not four. A warp's results are 128 contiguous bytes of each row.
// - The loop over groups of four steps has a constant bound, and its body is written out: nothing depends on a driver's
//   unrolling, and Tint adds no counter. The loop over steps has no constant bound: its counter is paid once for
//   BK·16·QUADS_M·QUADS_N multiply-adds.
// - Registers of an invocation with 2×2 quads: 64 results, 16 fragments, 16 waiting, some 20 of addresses: 128 lets two
//   workgroups of 256 share a core with 65,536. Where that is all there is for an invocation, if its subgroup is as small as can be
//   (Intel), the kernel asks for such (SIZE) and has 2×1 quads or fewer.
const BM: u32 = 64u;
const BN: u32 = 64u;
const BK: u32 = 16u;
// Invocations of a subgroup, where the kernel asks for so many.
const LANES: u32 = 8u;
const QUADS_M: u32 = 2u;
const QUADS_N: u32 = 1u;
// BM·BN / (16·QUADS_M·QUADS_N), at least (BM+BN)·BK/16 and BM; a multiple of 32.
const THREADS: u32 = 128u;
// Results are added to what `out` holds; their rows are multiples of 4.
const ACCUMULATE: bool = false;
// What a block waits in: the vector of four of the type that both operands are stored as.
alias Stage = vec4f;

const FOUR: vec4u = vec4u(0u, 1u, 2u, 3u);

const SKEW: u32 = 32u / BK;
const LINE_A: u32 = BM / 4u;
const LINE_B: u32 = BN / 4u;
const GROUP_A: u32 = BM + SKEW;
const GROUP_B: u32 = BN + SKEW;
const BLOCKS_A: u32 = BM * BK / 16u;
const BLOCKS_B: u32 = BN * BK / 16u;
// Invocations side by side, in warps of eight.
const ACROSS: u32 = BN / (4u * QUADS_N);
const WARPS_ACROSS: u32 = ACROSS / 8u;

var<workgroup> linesA: array<vec4f, BK / 4u * GROUP_A>;
var<workgroup> linesB: array<vec4f, BK / 4u * GROUP_B>;

// Results (4·row + i, 4·column + j) of a quad at c[i][j]; the second quad of rows is BM/2 further down, of columns BN/2.
struct Accumulators { c00: mat4x4f, c01: mat4x4f, c10: mat4x4f, c11: mat4x4f }

// Four vectors along the contiguous dimension; zero where not ok.
struct Block { v0: Stage, v1: Stage, v2: Stage, v3: Stage, ok: vec4<bool> }

// What an invocation loads: four rows of A (columns of B, where not ofA) from `side` on at four steps from `step` on; it goes to
// vec4 `at`. Invocations that are left over load what others do, and do not store it.
struct Duty { ofA: bool, stores: bool, side: u32, step: u32, at: u32 }

fn dutyOf(local: u32) -> Duty {
  let ofA = local < BLOCKS_A;
  let block = select((local - BLOCKS_A) % BLOCKS_B, local, ofA);
  let quads = select(LINE_B, LINE_A, ofA);
  let alongK = select(B_ALONG_K, A_ALONG_K, ofA);
  let side = select(block % quads, block / (BK / 4u), alongK);
  let group = select(block / quads, block % (BK / 4u), alongK);
  return Duty(ofA, local < BLOCKS_A + BLOCKS_B, 4u * side, 4u * group, group * select(GROUP_B, GROUP_A, ofA) + side);
}

// Row and column of an invocation's first quad, in quads.
fn cellOf(local: u32) -> vec2u {
  let warp = local / 32u;
  let row = (local & 1u) + ((local >> 3u) & 2u) + 4u * (warp / WARPS_ACROSS);
  return vec2u(row, ((local >> 1u) & 7u) + 8u * (warp % WARPS_ACROSS));
}

fn stash(block: Block, duty: Duty) {
  let came = mat4x4f(vec4f(select(Stage(), block.v0, block.ok.x)), vec4f(select(Stage(), block.v1, block.ok.y)),
    vec4f(select(Stage(), block.v2, block.ok.z)), vec4f(select(Stage(), block.v3, block.ok.w)));
  let turned = transpose(came);
  if (duty.ofA) {
    linesA[duty.at] = select(came[0], turned[0], A_ALONG_K);
    linesA[duty.at + LINE_A] = select(came[1], turned[1], A_ALONG_K);
    linesA[duty.at + 2u * LINE_A] = select(came[2], turned[2], A_ALONG_K);
    linesA[duty.at + 3u * LINE_A] = select(came[3], turned[3], A_ALONG_K);
  } else if (duty.stores) {
    linesB[duty.at] = select(came[0], turned[0], B_ALONG_K);
    linesB[duty.at + LINE_B] = select(came[1], turned[1], B_ALONG_K);
    linesB[duty.at + 2u * LINE_B] = select(came[2], turned[2], B_ALONG_K);
    linesB[duty.at + 3u * LINE_B] = select(came[3], turned[3], B_ALONG_K);
  }
}

// c + a·bᵀ.
fn outer(c: mat4x4f, a: vec4f, b: vec4f) -> mat4x4f {
  return mat4x4f(fma(vec4f(a.x), b, c[0]), fma(vec4f(a.y), b, c[1]), fma(vec4f(a.z), b, c[2]), fma(vec4f(a.w), b, c[3]));
}

fn multiplyLine(tile: ptr<function, Accumulators>, a: u32, b: u32) {
  let a0 = linesA[a];
  let b0 = linesB[b];
  (*tile).c00 = outer((*tile).c00, a0, b0);
  if (QUADS_N > 1u) {
    (*tile).c01 = outer((*tile).c01, a0, linesB[b + LINE_B / 2u]);
  }
  if (QUADS_M > 1u) {
    let a1 = linesA[a + LINE_A / 2u];
    (*tile).c10 = outer((*tile).c10, a1, b0);
    if (QUADS_N > 1u) {
      (*tile).c11 = outer((*tile).c11, a1, linesB[b + LINE_B / 2u]);
    }
  }
}

fn multiply(tile: ptr<function, Accumulators>, cell: vec2u) {
  for (var group = 0u; group < BK / 4u; group++) {
    let a = group * GROUP_A + cell.x;
    let b = group * GROUP_B + cell.y;
    multiplyLine(tile, a, b);
    multiplyLine(tile, a + LINE_A, b + LINE_B);
    multiplyLine(tile, a + 2u * LINE_A, b + 2u * LINE_B);
    multiplyLine(tile, a + 3u * LINE_A, b + 3u * LINE_B);
  }
}

// The tile over `steps` steps of BK. Every invocation of the workgroup calls it. `fetch` is asked for one step more than there
// is, and must read nothing outside its operand then.
fn tileOver(steps: u32, first: Cursor, duty: Duty, local: u32) -> Accumulators {
  let cell = cellOf(local);
  var cursor = first;
  var tile: Accumulators;
  stash(fetch(&cursor, duty, 0u, local), duty);
  workgroupBarrier();
  for (var step = 1u; step <= steps; step++) {
    // Nothing of a block lives from turn to turn, and nothing depends on it before it is stored. The last turn's is not used.
    let block = fetch(&cursor, duty, step, local);
    multiply(&tile, cell);
    workgroupBarrier();
    stash(block, duty);
    workgroupBarrier();
  }
  return tile;
}

const TILE: vec2u = vec2u(BM, BN);
const PANEL: u32 = 8u;
const PANELS_ACROSS: bool = true;
//#include "lib/panels.wgsl"

// Whether a row of the tile is one of the result, and where it starts in `out`.
struct Row { exists: bool, start: u32 }

fn putRow(job: Job, row: u32, column: u32, v: vec4f) {
  let to = rowAt(job, row);
  if (to.exists && column < job.extent.y) {
    var sum = v;
    if (ACCUMULATE) {
      sum += takeFour(to.start + column);
    }
    putFour(to.start + column, job.extent.y - column, sum);
  }
}

fn putQuad(job: Job, row: u32, column: u32, quad: mat4x4f) {
  let v = withBias(job, column, quad);
  putRow(job, row, column, v[0]);
  putRow(job, row + 1u, column, v[1]);
  putRow(job, row + 2u, column, v[2]);
  putRow(job, row + 3u, column, v[3]);
}

fn makeTile(job: Job, local: u32) {
  if (any(job.origin >= job.extent)) {
    return;
  }
  let tile = tileFor(job, local);
  let cell = 4u * cellOf(local);
  let column = job.origin.y + cell.y;
  putQuad(job, cell.x, column, tile.c00);
  if (QUADS_N > 1u) {
    putQuad(job, cell.x, column + BN / 2u, tile.c01);
  }
  if (QUADS_M > 1u) {
    putQuad(job, cell.x + BM / 2u, column, tile.c10);
  }
  if (QUADS_M > 1u && QUADS_N > 1u) {
    putQuad(job, cell.x + BM / 2u, column + BN / 2u, tile.c11);
  }
}
