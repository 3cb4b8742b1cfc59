// Four reduction steps of `ROWS` rows against this lane's four columns: the inner step of every matrix kernel of the
// `lanes` tier. This variant is for drivers that run a workgroup as one 4-wide vector (SwiftShader; lavapipe has
// lanes_broadcast.wgsl). There every storage load is a scalar load per lane, a broadcast takes eight instructions, and a swap within
// the quad takes one. So lanes load different rows and pass them round by swaps: accumulator d of lane l belongs to row l ^ d, which
// the finish functions undo.
//
// A lane holds `Accumulators`: ROWS rows by its own four columns. A step needs `rows[ROWS][4]` (shared by all lanes of a team) and
// `columns[4][4]` (the lane's own), as b[k] = the four columns at step k. The rows come as a `Frag`, in one of two forms:
//   K form, reduction contiguous in memory: vector i is row `fragRow(i)` at steps 0…3;
//   M form, rows contiguous in memory:      vector i is rows 4·`fragQuad()`…+3 at step `fragStep(i)`.
// After the last step `finishK` or `finishM` puts the rows into natural order.
const LANES: u32 = 4u;
const TEAMS: u32 = 1u;
// 8 or 16.
const ROWS: u32 = 16u;
const FRAGS_K: u32 = ROWS / 4u;
const FRAGS_M: u32 = select(2u, 4u, ROWS > 8u);

fn fragRow(i: u32, lane: u32) -> u32 { return i * 4u + lane; }
fn fragQuad(lane: u32) -> u32 { return select(lane & 1u, lane, ROWS > 8u); }
fn fragStep(i: u32, lane: u32) -> u32 { return select(i * 2u + (lane >> 1u), i, ROWS > 8u); }

struct Frag { v0: vec4f, v1: vec4f, v2: vec4f, v3: vec4f }

// One column after the other: a chain of multiply-adds stays in one register where four interleaved ones spill.
fn chain(c: f32, x: vec4f, column: vec4f) -> f32 {
  return fma(x.w, column.w, fma(x.z, column.z, fma(x.y, column.y, fma(x.x, column.x, c))));
}

fn mac(c: vec4f, x: vec4f, columns: mat4x4f) -> vec4f {
  return vec4f(chain(c.x, x, columns[0]), chain(c.y, x, columns[1]), chain(c.z, x, columns[2]), chain(c.w, x, columns[3]));
}

fn macK(t: ptr<function, Accumulators>, f: Frag, b: mat4x4f) {
  let columns = transpose(b);
  (*t).r0 = mac((*t).r0, f.v0, columns);
  (*t).r1 = mac((*t).r1, quadSwapX(f.v0), columns);
  (*t).r2 = mac((*t).r2, quadSwapY(f.v0), columns);
  (*t).r3 = mac((*t).r3, quadSwapDiagonal(f.v0), columns);
  (*t).r4 = mac((*t).r4, f.v1, columns);
  (*t).r5 = mac((*t).r5, quadSwapX(f.v1), columns);
  (*t).r6 = mac((*t).r6, quadSwapY(f.v1), columns);
  (*t).r7 = mac((*t).r7, quadSwapDiagonal(f.v1), columns);
  if (ROWS > 8u) {
    (*t).r8 = mac((*t).r8, f.v2, columns);
    (*t).r9 = mac((*t).r9, quadSwapX(f.v2), columns);
    (*t).r10 = mac((*t).r10, quadSwapY(f.v2), columns);
    (*t).r11 = mac((*t).r11, quadSwapDiagonal(f.v2), columns);
    (*t).r12 = mac((*t).r12, f.v3, columns);
    (*t).r13 = mac((*t).r13, quadSwapX(f.v3), columns);
    (*t).r14 = mac((*t).r14, quadSwapY(f.v3), columns);
    (*t).r15 = mac((*t).r15, quadSwapDiagonal(f.v3), columns);
  }
}

fn macM(t: ptr<function, Accumulators>, f: Frag, b: mat4x4f, lane: u32) {
  let columns = transpose(b);
  if (ROWS > 8u) {
    let q0 = transpose(mat4x4f(f.v0, f.v1, f.v2, f.v3));
    (*t).r0 = mac((*t).r0, q0[0], columns);
    (*t).r1 = mac((*t).r1, q0[1], columns);
    (*t).r2 = mac((*t).r2, q0[2], columns);
    (*t).r3 = mac((*t).r3, q0[3], columns);
    let q1 = transpose(mat4x4f(quadSwapX(f.v0), quadSwapX(f.v1), quadSwapX(f.v2), quadSwapX(f.v3)));
    (*t).r4 = mac((*t).r4, q1[0], columns);
    (*t).r5 = mac((*t).r5, q1[1], columns);
    (*t).r6 = mac((*t).r6, q1[2], columns);
    (*t).r7 = mac((*t).r7, q1[3], columns);
    let q2 = transpose(mat4x4f(quadSwapY(f.v0), quadSwapY(f.v1), quadSwapY(f.v2), quadSwapY(f.v3)));
    (*t).r8 = mac((*t).r8, q2[0], columns);
    (*t).r9 = mac((*t).r9, q2[1], columns);
    (*t).r10 = mac((*t).r10, q2[2], columns);
    (*t).r11 = mac((*t).r11, q2[3], columns);
    let q3 = transpose(mat4x4f(quadSwapDiagonal(f.v0), quadSwapDiagonal(f.v1), quadSwapDiagonal(f.v2), quadSwapDiagonal(f.v3)));
    (*t).r12 = mac((*t).r12, q3[0], columns);
    (*t).r13 = mac((*t).r13, q3[1], columns);
    (*t).r14 = mac((*t).r14, q3[2], columns);
    (*t).r15 = mac((*t).r15, q3[3], columns);
    return;
  }
  // Two quads of rows on four lanes: a lane has its own quad at one step of two, and lane ^ 2 has it at the other.
  let high = (lane & 2u) != 0u;
  let s0 = select(f.v0, quadSwapY(f.v0), high);
  let s1 = select(quadSwapY(f.v0), f.v0, high);
  let s2 = select(f.v1, quadSwapY(f.v1), high);
  let s3 = select(quadSwapY(f.v1), f.v1, high);
  let own = transpose(mat4x4f(s0, s1, s2, s3));
  (*t).r0 = mac((*t).r0, own[0], columns);
  (*t).r1 = mac((*t).r1, own[1], columns);
  (*t).r2 = mac((*t).r2, own[2], columns);
  (*t).r3 = mac((*t).r3, own[3], columns);
  let other = transpose(mat4x4f(quadSwapX(s0), quadSwapX(s1), quadSwapX(s2), quadSwapX(s3)));
  (*t).r4 = mac((*t).r4, other[0], columns);
  (*t).r5 = mac((*t).r5, other[1], columns);
  (*t).r6 = mac((*t).r6, other[2], columns);
  (*t).r7 = mac((*t).r7, other[3], columns);
}

// Row d of a quad of rows moves to row lane ^ d.
fn unswap(r0: vec4f, r1: vec4f, r2: vec4f, r3: vec4f, lane: u32) -> mat4x4f {
  let odd = (lane & 1u) != 0u;
  let high = (lane & 2u) != 0u;
  let a0 = select(r0, r1, odd);
  let a1 = select(r1, r0, odd);
  let a2 = select(r2, r3, odd);
  let a3 = select(r3, r2, odd);
  return mat4x4f(select(a0, a2, high), select(a1, a3, high), select(a2, a0, high), select(a3, a1, high));
}

fn finishK(t: Accumulators, lane: u32) -> Accumulators {
  let q0 = unswap(t.r0, t.r1, t.r2, t.r3, lane);
  let q1 = unswap(t.r4, t.r5, t.r6, t.r7, lane);
  let q2 = unswap(t.r8, t.r9, t.r10, t.r11, lane);
  let q3 = unswap(t.r12, t.r13, t.r14, t.r15, lane);
  var o: Accumulators;
  o.r0 = q0[0];  o.r1 = q0[1];  o.r2 = q0[2];  o.r3 = q0[3];
  o.r4 = q1[0];  o.r5 = q1[1];  o.r6 = q1[2];  o.r7 = q1[3];
  o.r8 = q2[0];  o.r9 = q2[1];  o.r10 = q2[2];  o.r11 = q2[3];
  o.r12 = q3[0];  o.r13 = q3[1];  o.r14 = q3[2];  o.r15 = q3[3];
  return o;
}

fn finishM(t: Accumulators, lane: u32) -> Accumulators {
  var o: Accumulators;
  if (ROWS == 8u) {
    let odd = (lane & 1u) != 0u;
    o.r0 = select(t.r0, t.r4, odd);
    o.r4 = select(t.r4, t.r0, odd);
    o.r1 = select(t.r1, t.r5, odd);
    o.r5 = select(t.r5, t.r1, odd);
    o.r2 = select(t.r2, t.r6, odd);
    o.r6 = select(t.r6, t.r2, odd);
    o.r3 = select(t.r3, t.r7, odd);
    o.r7 = select(t.r7, t.r3, odd);
    return o;
  }
  let j0 = unswap(t.r0, t.r4, t.r8, t.r12, lane);
  let j1 = unswap(t.r1, t.r5, t.r9, t.r13, lane);
  let j2 = unswap(t.r2, t.r6, t.r10, t.r14, lane);
  let j3 = unswap(t.r3, t.r7, t.r11, t.r15, lane);
  o.r0 = j0[0];  o.r1 = j1[0];  o.r2 = j2[0];  o.r3 = j3[0];
  o.r4 = j0[1];  o.r5 = j1[1];  o.r6 = j2[1];  o.r7 = j3[1];
  o.r8 = j0[2];  o.r9 = j1[2];  o.r10 = j2[2];  o.r11 = j3[2];
  o.r12 = j0[3];  o.r13 = j1[3];  o.r14 = j2[3];  o.r15 = j3[3];
  return o;
}
