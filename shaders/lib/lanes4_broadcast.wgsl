// Four reduction steps of `ROWS` rows against this lane's four columns: the inner step of every matrix kernel of the
// `lanes` tier. This variant is for lavapipe where its vectors are 4 wide (ARM, x86 without AVX). It is lanes8.wgsl with half the lanes:
// a broadcast is cheap there too, and a swap within the quad is not. With lanes4.wgsl a matrix product takes 8 times as long (Mesa
// 25.0.7, SSE).
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

fn mac(c: vec4f, x: vec4f, b: mat4x4f) -> vec4f {
  return fma(b[3], vec4f(x.w), fma(b[2], vec4f(x.z), fma(b[1], vec4f(x.y), fma(b[0], vec4f(x.x), c))));
}

// May stand where all lanes go or none: Tint does not know that what subgroupAny returns is the same in all lanes.
@diagnostic(off, subgroup_uniformity)
fn macK(t: ptr<function, Accumulators>, f: Frag, b: mat4x4f) {
  (*t).r0 = mac((*t).r0, subgroupBroadcast(f.v0, 0u), b);
  (*t).r1 = mac((*t).r1, subgroupBroadcast(f.v0, 1u), b);
  (*t).r2 = mac((*t).r2, subgroupBroadcast(f.v0, 2u), b);
  (*t).r3 = mac((*t).r3, subgroupBroadcast(f.v0, 3u), b);
  (*t).r4 = mac((*t).r4, subgroupBroadcast(f.v1, 0u), b);
  (*t).r5 = mac((*t).r5, subgroupBroadcast(f.v1, 1u), b);
  (*t).r6 = mac((*t).r6, subgroupBroadcast(f.v1, 2u), b);
  (*t).r7 = mac((*t).r7, subgroupBroadcast(f.v1, 3u), b);
  if (ROWS > 8u) {
    (*t).r8 = mac((*t).r8, subgroupBroadcast(f.v2, 0u), b);
    (*t).r9 = mac((*t).r9, subgroupBroadcast(f.v2, 1u), b);
    (*t).r10 = mac((*t).r10, subgroupBroadcast(f.v2, 2u), b);
    (*t).r11 = mac((*t).r11, subgroupBroadcast(f.v2, 3u), b);
    (*t).r12 = mac((*t).r12, subgroupBroadcast(f.v3, 0u), b);
    (*t).r13 = mac((*t).r13, subgroupBroadcast(f.v3, 1u), b);
    (*t).r14 = mac((*t).r14, subgroupBroadcast(f.v3, 2u), b);
    (*t).r15 = mac((*t).r15, subgroupBroadcast(f.v3, 3u), b);
  }
}

fn macM(t: ptr<function, Accumulators>, f: Frag, b: mat4x4f, lane: u32) {
  if (ROWS > 8u) {
    let q0 = transpose(mat4x4f(subgroupBroadcast(f.v0, 0u), subgroupBroadcast(f.v1, 0u),
      subgroupBroadcast(f.v2, 0u), subgroupBroadcast(f.v3, 0u)));
    (*t).r0 = mac((*t).r0, q0[0], b);
    (*t).r1 = mac((*t).r1, q0[1], b);
    (*t).r2 = mac((*t).r2, q0[2], b);
    (*t).r3 = mac((*t).r3, q0[3], b);
    let q1 = transpose(mat4x4f(subgroupBroadcast(f.v0, 1u), subgroupBroadcast(f.v1, 1u),
      subgroupBroadcast(f.v2, 1u), subgroupBroadcast(f.v3, 1u)));
    (*t).r4 = mac((*t).r4, q1[0], b);
    (*t).r5 = mac((*t).r5, q1[1], b);
    (*t).r6 = mac((*t).r6, q1[2], b);
    (*t).r7 = mac((*t).r7, q1[3], b);
    let q2 = transpose(mat4x4f(subgroupBroadcast(f.v0, 2u), subgroupBroadcast(f.v1, 2u),
      subgroupBroadcast(f.v2, 2u), subgroupBroadcast(f.v3, 2u)));
    (*t).r8 = mac((*t).r8, q2[0], b);
    (*t).r9 = mac((*t).r9, q2[1], b);
    (*t).r10 = mac((*t).r10, q2[2], b);
    (*t).r11 = mac((*t).r11, q2[3], b);
    let q3 = transpose(mat4x4f(subgroupBroadcast(f.v0, 3u), subgroupBroadcast(f.v1, 3u),
      subgroupBroadcast(f.v2, 3u), subgroupBroadcast(f.v3, 3u)));
    (*t).r12 = mac((*t).r12, q3[0], b);
    (*t).r13 = mac((*t).r13, q3[1], b);
    (*t).r14 = mac((*t).r14, q3[2], b);
    (*t).r15 = mac((*t).r15, q3[3], b);
    return;
  }
  let q0 = transpose(mat4x4f(subgroupBroadcast(f.v0, 0u), subgroupBroadcast(f.v0, 2u),
    subgroupBroadcast(f.v1, 0u), subgroupBroadcast(f.v1, 2u)));
  (*t).r0 = mac((*t).r0, q0[0], b);
  (*t).r1 = mac((*t).r1, q0[1], b);
  (*t).r2 = mac((*t).r2, q0[2], b);
  (*t).r3 = mac((*t).r3, q0[3], b);
  let q1 = transpose(mat4x4f(subgroupBroadcast(f.v0, 1u), subgroupBroadcast(f.v0, 3u),
    subgroupBroadcast(f.v1, 1u), subgroupBroadcast(f.v1, 3u)));
  (*t).r4 = mac((*t).r4, q1[0], b);
  (*t).r5 = mac((*t).r5, q1[1], b);
  (*t).r6 = mac((*t).r6, q1[2], b);
  (*t).r7 = mac((*t).r7, q1[3], b);
}

fn finishK(t: Accumulators, lane: u32) -> Accumulators { return t; }
fn finishM(t: Accumulators, lane: u32) -> Accumulators { return t; }
