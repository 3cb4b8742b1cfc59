// Four reduction steps of `ROWS` rows against this lane's four columns: the inner step of every matrix kernel of the
// `lanes` tier. This variant is for lavapipe, which runs a workgroup as one vector of LANES lanes. There every storage load is a scalar
// load per lane, whatever the address (about 10 cycles for 8 lanes, against half a cycle for a multiply-add), and a broadcast within
// the subgroup is cheap. So lanes load different elements of the row operand and broadcast them: with 8 lanes and 32 rows, 32+32 loads
// feed 32×32 products. On SwiftShader a broadcast is not: lanes4.wgsl.
//
// A lane holds `Accumulators`: ROWS rows by its own four columns. A step needs `rows[ROWS][4]` (shared by all lanes of a team) and
// `columns[4][4]` (the lane's own), as b[k] = the four columns at step k. The rows come as a `Frag`, in one of two forms:
//   K form, reduction contiguous in memory: vector i is row `fragRow(i)` at steps 0…3;
//   M form, rows contiguous in memory:      vector i is rows 4·`fragQuad()`…+3 at step `fragStep(i)`.
// After the last step `finishK` or `finishM` puts the rows into natural order.
// 8 with AVX2; 4 with SSE and on ARM.
const LANES: u32 = 8u;
const TEAMS: u32 = 1u;
// 8, 16 or, with 8 lanes, 32, which is a fifth faster than 16 where there are as many rows, and takes half as long again to compile.
const ROWS: u32 = 16u;
const FRAGS_K: u32 = ROWS / LANES;
// M form: lanes have a quad of rows each, and where there are more lanes than quads, different steps of it: a vector of the team
// holds AT_ONCE steps of all rows, and step s is in vector s / AT_ONCE, in the lanes from QUADS·(s % AT_ONCE) on.
const QUADS: u32 = ROWS / 4u;
const AT_ONCE: u32 = LANES / QUADS;
const FRAGS_M: u32 = 4u / AT_ONCE;

fn fragRow(i: u32, lane: u32) -> u32 { return i * LANES + lane; }
fn fragQuad(lane: u32) -> u32 { return lane % QUADS; }
fn fragStep(i: u32, lane: u32) -> u32 { return i * AT_ONCE + lane / QUADS; }

struct Frag { v0: vec4f, v1: vec4f, v2: vec4f, v3: vec4f }

// Vector i of a fragment; i is a constant.
fn part(f: Frag, i: u32) -> vec4f { return select(select(f.v3, f.v2, i == 2u), select(f.v1, f.v0, i == 0u), i < 2u); }

fn mac(c: vec4f, x: vec4f, b: mat4x4f) -> vec4f {
  return fma(b[3], vec4f(x.w), fma(b[2], vec4f(x.z), fma(b[1], vec4f(x.y), fma(b[0], vec4f(x.x), c))));
}

// May stand where all lanes go or none: Tint does not know that what subgroupAny returns is the same in all lanes.
@diagnostic(off, subgroup_uniformity)
fn macK(t: ptr<function, Accumulators>, f: Frag, b: mat4x4f) {
  (*t).r0 = mac((*t).r0, subgroupBroadcast(part(f, 0u / LANES), 0u % LANES), b);
  (*t).r1 = mac((*t).r1, subgroupBroadcast(part(f, 1u / LANES), 1u % LANES), b);
  (*t).r2 = mac((*t).r2, subgroupBroadcast(part(f, 2u / LANES), 2u % LANES), b);
  (*t).r3 = mac((*t).r3, subgroupBroadcast(part(f, 3u / LANES), 3u % LANES), b);
  (*t).r4 = mac((*t).r4, subgroupBroadcast(part(f, 4u / LANES), 4u % LANES), b);
  (*t).r5 = mac((*t).r5, subgroupBroadcast(part(f, 5u / LANES), 5u % LANES), b);
  (*t).r6 = mac((*t).r6, subgroupBroadcast(part(f, 6u / LANES), 6u % LANES), b);
  (*t).r7 = mac((*t).r7, subgroupBroadcast(part(f, 7u / LANES), 7u % LANES), b);
  if (ROWS > 8u) {
    (*t).r8 = mac((*t).r8, subgroupBroadcast(part(f, 8u / LANES), 8u % LANES), b);
    (*t).r9 = mac((*t).r9, subgroupBroadcast(part(f, 9u / LANES), 9u % LANES), b);
    (*t).r10 = mac((*t).r10, subgroupBroadcast(part(f, 10u / LANES), 10u % LANES), b);
    (*t).r11 = mac((*t).r11, subgroupBroadcast(part(f, 11u / LANES), 11u % LANES), b);
    (*t).r12 = mac((*t).r12, subgroupBroadcast(part(f, 12u / LANES), 12u % LANES), b);
    (*t).r13 = mac((*t).r13, subgroupBroadcast(part(f, 13u / LANES), 13u % LANES), b);
    (*t).r14 = mac((*t).r14, subgroupBroadcast(part(f, 14u / LANES), 14u % LANES), b);
    (*t).r15 = mac((*t).r15, subgroupBroadcast(part(f, 15u / LANES), 15u % LANES), b);
  }
  if (ROWS > 16u) {
    (*t).r16 = mac((*t).r16, subgroupBroadcast(part(f, 16u / LANES), 16u % LANES), b);
    (*t).r17 = mac((*t).r17, subgroupBroadcast(part(f, 17u / LANES), 17u % LANES), b);
    (*t).r18 = mac((*t).r18, subgroupBroadcast(part(f, 18u / LANES), 18u % LANES), b);
    (*t).r19 = mac((*t).r19, subgroupBroadcast(part(f, 19u / LANES), 19u % LANES), b);
    (*t).r20 = mac((*t).r20, subgroupBroadcast(part(f, 20u / LANES), 20u % LANES), b);
    (*t).r21 = mac((*t).r21, subgroupBroadcast(part(f, 21u / LANES), 21u % LANES), b);
    (*t).r22 = mac((*t).r22, subgroupBroadcast(part(f, 22u / LANES), 22u % LANES), b);
    (*t).r23 = mac((*t).r23, subgroupBroadcast(part(f, 23u / LANES), 23u % LANES), b);
    (*t).r24 = mac((*t).r24, subgroupBroadcast(part(f, 24u / LANES), 24u % LANES), b);
    (*t).r25 = mac((*t).r25, subgroupBroadcast(part(f, 25u / LANES), 25u % LANES), b);
    (*t).r26 = mac((*t).r26, subgroupBroadcast(part(f, 26u / LANES), 26u % LANES), b);
    (*t).r27 = mac((*t).r27, subgroupBroadcast(part(f, 27u / LANES), 27u % LANES), b);
    (*t).r28 = mac((*t).r28, subgroupBroadcast(part(f, 28u / LANES), 28u % LANES), b);
    (*t).r29 = mac((*t).r29, subgroupBroadcast(part(f, 29u / LANES), 29u % LANES), b);
    (*t).r30 = mac((*t).r30, subgroupBroadcast(part(f, 30u / LANES), 30u % LANES), b);
    (*t).r31 = mac((*t).r31, subgroupBroadcast(part(f, 31u / LANES), 31u % LANES), b);
  }
}

fn macM(t: ptr<function, Accumulators>, f: Frag, b: mat4x4f, lane: u32) {
  let q0 = transpose(mat4x4f(subgroupBroadcast(part(f, 0u), 0u), subgroupBroadcast(part(f, 1u / AT_ONCE), 0u + QUADS * (1u % AT_ONCE)),
    subgroupBroadcast(part(f, 2u / AT_ONCE), 0u + QUADS * (2u % AT_ONCE)),
    subgroupBroadcast(part(f, 3u / AT_ONCE), 0u + QUADS * (3u % AT_ONCE))));
  (*t).r0 = mac((*t).r0, q0[0], b);
  (*t).r1 = mac((*t).r1, q0[1], b);
  (*t).r2 = mac((*t).r2, q0[2], b);
  (*t).r3 = mac((*t).r3, q0[3], b);
  let q1 = transpose(mat4x4f(subgroupBroadcast(part(f, 0u), 1u), subgroupBroadcast(part(f, 1u / AT_ONCE), 1u + QUADS * (1u % AT_ONCE)),
    subgroupBroadcast(part(f, 2u / AT_ONCE), 1u + QUADS * (2u % AT_ONCE)),
    subgroupBroadcast(part(f, 3u / AT_ONCE), 1u + QUADS * (3u % AT_ONCE))));
  (*t).r4 = mac((*t).r4, q1[0], b);
  (*t).r5 = mac((*t).r5, q1[1], b);
  (*t).r6 = mac((*t).r6, q1[2], b);
  (*t).r7 = mac((*t).r7, q1[3], b);
  if (ROWS > 8u) {
    let q2 = transpose(mat4x4f(subgroupBroadcast(part(f, 0u), 2u), subgroupBroadcast(part(f, 1u / AT_ONCE), 2u + QUADS * (1u % AT_ONCE)),
      subgroupBroadcast(part(f, 2u / AT_ONCE), 2u + QUADS * (2u % AT_ONCE)),
      subgroupBroadcast(part(f, 3u / AT_ONCE), 2u + QUADS * (3u % AT_ONCE))));
    (*t).r8 = mac((*t).r8, q2[0], b);
    (*t).r9 = mac((*t).r9, q2[1], b);
    (*t).r10 = mac((*t).r10, q2[2], b);
    (*t).r11 = mac((*t).r11, q2[3], b);
    let q3 = transpose(mat4x4f(subgroupBroadcast(part(f, 0u), 3u), subgroupBroadcast(part(f, 1u / AT_ONCE), 3u + QUADS * (1u % AT_ONCE)),
      subgroupBroadcast(part(f, 2u / AT_ONCE), 3u + QUADS * (2u % AT_ONCE)),
      subgroupBroadcast(part(f, 3u / AT_ONCE), 3u + QUADS * (3u % AT_ONCE))));
    (*t).r12 = mac((*t).r12, q3[0], b);
    (*t).r13 = mac((*t).r13, q3[1], b);
    (*t).r14 = mac((*t).r14, q3[2], b);
    (*t).r15 = mac((*t).r15, q3[3], b);
  }
  if (ROWS > 16u) {
    let q4 = transpose(mat4x4f(subgroupBroadcast(part(f, 0u), 4u), subgroupBroadcast(part(f, 1u / AT_ONCE), 4u + QUADS * (1u % AT_ONCE)),
      subgroupBroadcast(part(f, 2u / AT_ONCE), 4u + QUADS * (2u % AT_ONCE)),
      subgroupBroadcast(part(f, 3u / AT_ONCE), 4u + QUADS * (3u % AT_ONCE))));
    (*t).r16 = mac((*t).r16, q4[0], b);
    (*t).r17 = mac((*t).r17, q4[1], b);
    (*t).r18 = mac((*t).r18, q4[2], b);
    (*t).r19 = mac((*t).r19, q4[3], b);
    let q5 = transpose(mat4x4f(subgroupBroadcast(part(f, 0u), 5u), subgroupBroadcast(part(f, 1u / AT_ONCE), 5u + QUADS * (1u % AT_ONCE)),
      subgroupBroadcast(part(f, 2u / AT_ONCE), 5u + QUADS * (2u % AT_ONCE)),
      subgroupBroadcast(part(f, 3u / AT_ONCE), 5u + QUADS * (3u % AT_ONCE))));
    (*t).r20 = mac((*t).r20, q5[0], b);
    (*t).r21 = mac((*t).r21, q5[1], b);
    (*t).r22 = mac((*t).r22, q5[2], b);
    (*t).r23 = mac((*t).r23, q5[3], b);
    let q6 = transpose(mat4x4f(subgroupBroadcast(part(f, 0u), 6u), subgroupBroadcast(part(f, 1u / AT_ONCE), 6u + QUADS * (1u % AT_ONCE)),
      subgroupBroadcast(part(f, 2u / AT_ONCE), 6u + QUADS * (2u % AT_ONCE)),
      subgroupBroadcast(part(f, 3u / AT_ONCE), 6u + QUADS * (3u % AT_ONCE))));
    (*t).r24 = mac((*t).r24, q6[0], b);
    (*t).r25 = mac((*t).r25, q6[1], b);
    (*t).r26 = mac((*t).r26, q6[2], b);
    (*t).r27 = mac((*t).r27, q6[3], b);
    let q7 = transpose(mat4x4f(subgroupBroadcast(part(f, 0u), 7u), subgroupBroadcast(part(f, 1u / AT_ONCE), 7u + QUADS * (1u % AT_ONCE)),
      subgroupBroadcast(part(f, 2u / AT_ONCE), 7u + QUADS * (2u % AT_ONCE)),
      subgroupBroadcast(part(f, 3u / AT_ONCE), 7u + QUADS * (3u % AT_ONCE))));
    (*t).r28 = mac((*t).r28, q7[0], b);
    (*t).r29 = mac((*t).r29, q7[1], b);
    (*t).r30 = mac((*t).r30, q7[2], b);
    (*t).r31 = mac((*t).r31, q7[3], b);
  }
}

fn finishK(t: Accumulators, lane: u32) -> Accumulators { return t; }
fn finishM(t: Accumulators, lane: u32) -> Accumulators { return t; }
