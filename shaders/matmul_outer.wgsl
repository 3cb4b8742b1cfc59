// matmul_outer: c[M,N] = op(a)·b over a short reduction, K ≤ 16: a few outer products, as the gradient of a Linear's weight is
// for a small batch (K images). Then c is nearly all that is moved, and the kernel is as fast as it writes.
//
// An invocation has FOURS vec4s of columns, a workgroup's lie side by side, and keeps b's K rows of them in registers. It walks
// down `rows` rows of c: K values of a make FOURS vec4s of a row. All invocations of a workgroup read the same values of a, which
// every kind of driver is good at. No workgroup memory, no subgroup operations: right on any adapter.
//
// host: bindings  params, a [M,K] or, TRANSPOSE_A, [K,M], b [K,N], c; N is a multiple of 4.
//       FOURS     1, 2 or 4: FOURS·K vec4s of b are kept (outer.ts says how many an adapter likes).
//       grid      = [ceil(N / (4·FOURS·GROUP)), ceil(M / rows)]
//       EDGE      N is no multiple of 4·FOURS·GROUP.
// a and b are f32 or f16, c is of either; all is computed in f32.
const K: u32 = 4u;
const FOURS: u32 = 4u;
const GROUP: u32 = 64u;
const EDGE: bool = true;
const TRANSPOSE_A: bool = true;
alias AElem = f32;
alias BElem = vec4f;
alias CElem = vec4f;

struct Params { m: u32, n: u32, rows: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<AElem>;
@group(0) @binding(2) var<storage, read> b: array<BElem>;
@group(0) @binding(3) var<storage, read_write> c: array<CElem>;

// Four steps of a row of c; those from K on are zero.
fn quadOfA(m: u32, k: u32) -> vec4f { return vec4f(valueOfA(m, k), valueOfA(m, k + 1u), valueOfA(m, k + 2u), valueOfA(m, k + 3u)); }

fn valueOfA(m: u32, k: u32) -> f32 {
  if (k >= K) { return 0.0; }
  if (TRANSPOSE_A) { return f32(a[k * params.m + m]); }
  return f32(a[m * K + k]);
}

// Four steps of four columns, a vector a column: the multiply-adds of one are a chain that stays in one register.
fn quadOfB(column: u32, k: u32) -> mat4x4f {
  return transpose(mat4x4f(rowOfB(column, k), rowOfB(column, k + 1u), rowOfB(column, k + 2u), rowOfB(column, k + 3u)));
}

fn rowOfB(column: u32, k: u32) -> vec4f {
  let width = params.n >> 2u;
  if (k >= K) { return vec4f(); }
  if (EDGE) { return vec4f(b[k * width + min(column, width - 1u)]); }
  return vec4f(b[k * width + column]);
}

// What an invocation keeps of b for one of its vec4s of columns.
struct Columns { k0: mat4x4f, k4: mat4x4f, k8: mat4x4f, k12: mat4x4f }

fn columnsOf(column: u32) -> Columns {
  var kept: Columns;
  kept.k0 = quadOfB(column, 0u);
  if (K > 4u) { kept.k4 = quadOfB(column, 4u); }
  if (K > 8u) { kept.k8 = quadOfB(column, 8u); }
  if (K > 12u) { kept.k12 = quadOfB(column, 12u); }
  return kept;
}

struct Row { k0: vec4f, k4: vec4f, k8: vec4f, k12: vec4f }

fn rowOf(m: u32) -> Row {
  var row: Row;
  row.k0 = quadOfA(m, 0u);
  if (K > 4u) { row.k4 = quadOfA(m, 4u); }
  if (K > 8u) { row.k8 = quadOfA(m, 8u); }
  if (K > 12u) { row.k12 = quadOfA(m, 12u); }
  return row;
}

fn chain(sum: f32, x: vec4f, column: vec4f) -> f32 {
  return fma(x.w, column.w, fma(x.z, column.z, fma(x.y, column.y, fma(x.x, column.x, sum))));
}

fn mac(sum: vec4f, x: vec4f, b: mat4x4f) -> vec4f {
  return vec4f(chain(sum.x, x, b[0]), chain(sum.y, x, b[1]), chain(sum.z, x, b[2]), chain(sum.w, x, b[3]));
}

fn put(at: u32, column: u32, x: Row, b: Columns) {
  if (EDGE && column >= (params.n >> 2u)) { return; }
  var sum = mac(vec4f(), x.k0, b.k0);
  if (K > 4u) { sum = mac(sum, x.k4, b.k4); }
  if (K > 8u) { sum = mac(sum, x.k8, b.k8); }
  if (K > 12u) { sum = mac(sum, x.k12, b.k12); }
  c[at + column] = CElem(sum);
}

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let column = workgroup.x * GROUP * FOURS + local;
  let b0 = columnsOf(column);
  var b1: Columns;
  var b2: Columns;
  var b3: Columns;
  if (FOURS > 1u) { b1 = columnsOf(column + GROUP); }
  if (FOURS > 2u) {
    b2 = columnsOf(column + 2u * GROUP);
    b3 = columnsOf(column + 3u * GROUP);
  }
  let first = workgroup.y * params.rows;
  let last = min(first + params.rows, params.m);
  for (var m = first; m < last; m++) {
    let x = rowOf(m);
    let at = m * (params.n >> 2u);
    put(at, column, x, b0);
    if (FOURS > 1u) { put(at, column + GROUP, x, b1); }
    if (FOURS > 2u) {
      put(at, column + 2u * GROUP, x, b2);
      put(at, column + 3u * GROUP, x, b3);
    }
  }
}
