// matmul: c[M,N] = op(a)·op(b) (+ bias[N]), f32 or f16 in memory, computed in f32, `lanes` tier: no shared memory, no barriers, no atomics.
//
// A team of LANES invocations makes a tile of ROWS rows by 4·LANES columns in registers; lanes lie along the columns, four
// columns each, and share the rows (lib/lanes*.wgsl says how). A step takes four values of the reduction, so that whichever
// way an operand is stored it is read as vec4 along its contiguous dimension. Indices past an edge are clamped, not masked:
// what they compute is never stored. Indices of vec4 are shifted down, not divided by four: SwiftShader divides lane by lane, even
// by constants, and that takes as long as a load of a vec4.
//
// host: bindings  params, a, b, bias, c. Without a bias any read-only tensor stands in (hasBias 0), so that one pipeline serves.
//       a is [M,K] or, TRANSPOSE_A, [K,M]; b is [K,N] or, TRANSPOSE_B, [N,K] (a Linear layer's [out,in]).
//       VEC_A: a's contiguous extent is a multiple of 4, and AElem = vec4f (vec4h where a is f16), AWide = vec4f; else false,
//       f32 (f16) and f32. VEC_B, BElem, BWide likewise. CElem, CScalar: four of c's elements, and one.
//       RAGGED_K: K is no multiple of 4.
//       entry     `main` where N is a multiple of 4 (c, bias as vec4f), `ragged` for any N (as f32).
//       ROWS (lib/lanes*.wgsl): M ≤ 8 takes 8, ≤ 16 takes 16, more takes 32 with 8 lanes and 16 with 4; lanes1 has 4.
//       grid    tiles of ROWS·TEAMS by 4·LANES (lib/panels.wgsl); products, 1 where not BATCHED, along z
//       BATCHED: a, b and c hold `products` products one after the other, no bias, `main`, and M, N, K are multiples of 4.
//       There, TRANSPOSE_C: c is [N,M]; else, with TRANSPOSE_A, accumulate 1: the products are added to c.
const BATCHED: bool = false;
const TRANSPOSE_C: bool = false;
const TRANSPOSE_A: bool = false;
const TRANSPOSE_B: bool = true;
const VEC_A: bool = true;
const VEC_B: bool = true;
const RAGGED_K: bool = false;
// What a and b are read as, the same in f32, and what c is stored as.
alias AElem = vec4f;
alias BElem = vec4f;
alias AWide = vec4f;
alias BWide = vec4f;
alias CElem = vec4f;
alias CScalar = f32;

struct Params { m: u32, n: u32, k: u32, hasBias: u32, accumulate: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<AElem>;
@group(0) @binding(2) var<storage, read> b: array<BElem>;
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> c: array<CElem>;
@group(0) @binding(3) var<storage, read> biasScalar: array<f32>;
@group(0) @binding(4) var<storage, read_write> cScalar: array<CScalar>;

//#include TEAM "lib/lanes_broadcast.wgsl"
//#include "lib/tiles.wgsl"

// Four elements from `at` on, zero from the `count`-th on (count ≥ 1). `vec4f(AWide(a[…]))` reads the same for all element types.
fn loadA(at: u32, count: u32) -> vec4f {
  if (VEC_A) {
    return vec4f(AWide(a[at >> 2u]));
  }
  let v = vec4f(vec4f(AWide(a[at])).x, vec4f(AWide(a[at + min(1u, count - 1u)])).x, vec4f(AWide(a[at + min(2u, count - 1u)])).x,
    vec4f(AWide(a[at + min(3u, count - 1u)])).x);
  return select(vec4f(), v, vec4u(0u, 1u, 2u, 3u) < vec4u(count));
}

fn loadB(at: u32, count: u32) -> vec4f {
  if (VEC_B) {
    return vec4f(BWide(b[at >> 2u]));
  }
  let v = vec4f(vec4f(BWide(b[at])).x, vec4f(BWide(b[at + min(1u, count - 1u)])).x, vec4f(BWide(b[at + min(2u, count - 1u)])).x,
    vec4f(BWide(b[at + min(3u, count - 1u)])).x);
  return select(vec4f(), v, vec4u(0u, 1u, 2u, 3u) < vec4u(count));
}

// Row operand stored [K,M]: rows `m`…m+3 at step `k`.
fn rowsAt(k: u32, m: u32) -> vec4f {
  if (RAGGED_K) {
    return select(vec4f(), loadA(min(k, params.k - 1u) * params.m + m, params.m - m), k < params.k);
  }
  return loadA(k * params.m + m, params.m - m);
}

// Column operand stored [K,N]: columns `n`…n+3 at step `k`.
fn columnsAt(k: u32, n: u32) -> vec4f {
  if (RAGGED_K) {
    return select(vec4f(), loadB(min(k, params.k - 1u) * params.n + n, params.n - n), k < params.k);
  }
  return loadB(k * params.n + n, params.n - n);
}

// The tile with rows from m0 on and this lane's columns from n0 on.
fn tileAt(m0: u32, n0: u32, lane: u32, product: u32) -> Accumulators {
  let k = params.k;
  let firstM = product * params.m;
  let firstN = product * params.n;
  let firstK = product * k;
  let lastM = params.m - 1u;
  let lastN = params.n - 1u;
  // K form: offsets of this lane's rows and columns. M form: where its four rows and columns start.
  let row0 = (firstM + min(m0 + fragRow(0u, lane), lastM)) * k;
  let row1 = (firstM + min(m0 + fragRow(1u, lane), lastM)) * k;
  let row2 = (firstM + min(m0 + fragRow(2u, lane), lastM)) * k;
  let row3 = (firstM + min(m0 + fragRow(3u, lane), lastM)) * k;
  let column0 = (firstN + min(n0, lastN)) * k;
  let column1 = (firstN + min(n0 + 1u, lastN)) * k;
  let column2 = (firstN + min(n0 + 2u, lastN)) * k;
  let column3 = (firstN + min(n0 + 3u, lastN)) * k;
  let rowQuad = min(m0 + 4u * fragQuad(lane), params.m - select(1u, 4u, VEC_A && TRANSPOSE_A));
  let columnQuad = min(n0, params.n - select(1u, 4u, VEC_B && !TRANSPOSE_B));
  var tile: Accumulators;
  for (var at = 0u; at < k; at += 4u) {
    // Every load of a step comes before its arithmetic: loads are branches on these drivers, and what lives across spills.
    var f: Frag;
    if (TRANSPOSE_A) {
      f.v0 = rowsAt(firstK + at + fragStep(0u, lane), rowQuad);
      if (FRAGS_M > 1u) {
        f.v1 = rowsAt(firstK + at + fragStep(1u, lane), rowQuad);
      }
      if (FRAGS_M > 2u) {
        f.v2 = rowsAt(firstK + at + fragStep(2u, lane), rowQuad);
        f.v3 = rowsAt(firstK + at + fragStep(3u, lane), rowQuad);
      }
    } else {
      f.v0 = loadA(row0 + at, k - at);
      if (FRAGS_K > 1u) {
        f.v1 = loadA(row1 + at, k - at);
      }
      if (FRAGS_K > 2u) {
        f.v2 = loadA(row2 + at, k - at);
        f.v3 = loadA(row3 + at, k - at);
      }
    }
    var columns: mat4x4f;
    if (TRANSPOSE_B) {
      columns = transpose(mat4x4f(loadB(column0 + at, k - at), loadB(column1 + at, k - at), loadB(column2 + at, k - at),
        loadB(column3 + at, k - at)));
    } else {
      let step = firstK + at;
      columns = mat4x4f(columnsAt(step, columnQuad), columnsAt(step + 1u, columnQuad), columnsAt(step + 2u, columnQuad),
        columnsAt(step + 3u, columnQuad));
    }
    if (TRANSPOSE_A) {
      macM(&tile, f, columns, lane);
    } else {
      macK(&tile, f, columns);
    }
  }
  if (TRANSPOSE_A) {
    return finishM(tile, lane);
  }
  return finishK(tile, lane);
}

fn put(row: u32, n: u32, product: u32, v: vec4f) {
  if (row < params.m && n < params.n) {
    let at = ((product * params.m + row) * params.n + n) >> 2u;
    var sum = v;
    // A load takes drivers long to compile (lavapipe 30 ms), so there is none but where gradients of weights are summed.
    if (BATCHED && TRANSPOSE_A && params.accumulate != 0u) {
      sum += vec4f(c[at]);
    }
    c[at] = CElem(sum);
  }
}

// Four rows of four columns, as columns.
fn putTransposed(row: u32, n: u32, product: u32, rows: mat4x4f) {
  let v = transpose(rows);
  let at = ((product * params.n + n) * params.m + row) >> 2u;
  let quarter = params.m >> 2u;
  if (n < params.n) {
    c[at] = CElem(v[0]);
    c[at + quarter] = CElem(v[1]);
    c[at + 2u * quarter] = CElem(v[2]);
    c[at + 3u * quarter] = CElem(v[3]);
  }
}

fn putScalar(row: u32, n: u32, v: vec4f) {
  if (row < params.m) {
    let at = row * params.n + n;
    for (var i = 0u; i < 4u; i++) {
      if (n + i < params.n) {
        cScalar[at + i] = CScalar(v[i]);
      }
    }
  }
}

@compute @workgroup_size(LANES * TEAMS)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32) {
  let origin = tileOrigin(workgroup, grid, vec2u(params.m, params.n));
  if (origin.x >= params.m || origin.y >= params.n) {
    return;
  }
  let lane = local % LANES;
  let m = origin.x + local / LANES * ROWS;
  let n = origin.y + 4u * lane;
  var t = tileAt(m, n, lane, workgroup.z);
  var add = vec4f();
  if (!BATCHED && params.hasBias != 0u) {
    add = bias[min(n, params.n - 4u) >> 2u];
  }
  for (var row = m; row < min(m + ROWS, params.m); row += 4u) {
    if (TRANSPOSE_C) {
      putTransposed(row, n, workgroup.z, mat4x4f(t.r0, t.r1, t.r2, t.r3));
    } else {
      put(row, n, workgroup.z, t.r0 + add);
      put(row + 1u, n, workgroup.z, t.r1 + add);
      put(row + 2u, n, workgroup.z, t.r2 + add);
      put(row + 3u, n, workgroup.z, t.r3 + add);
    }
    dropFourRows(&t);
  }
}

@compute @workgroup_size(LANES * TEAMS)
fn ragged(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32) {
  let origin = tileOrigin(workgroup, grid, vec2u(params.m, params.n));
  if (origin.x >= params.m || origin.y >= params.n) {
    return;
  }
  let lane = local % LANES;
  let m = origin.x + local / LANES * ROWS;
  let n = origin.y + 4u * lane;
  var t = tileAt(m, n, lane, workgroup.z);
  var add = vec4f();
  if (params.hasBias != 0u) {
    let last = params.n - 1u;
    add = vec4f(biasScalar[min(n, last)], biasScalar[min(n + 1u, last)], biasScalar[min(n + 2u, last)],
      biasScalar[min(n + 3u, last)]);
  }
  for (var row = m; row < min(m + ROWS, params.m); row += 4u) {
    putScalar(row, n, t.r0 + add);
    putScalar(row + 1u, n, t.r1 + add);
    putScalar(row + 2u, n, t.r2 + add);
    putScalar(row + 3u, n, t.r3 + add);
    dropFourRows(&t);
  }
}
