// What every matrix kernel of the `lanes` tier shares: a lane's part of a tile, and the order in which workgroups take tiles.

// ROWS rows (the rest is never touched) by this lane's four columns.
struct Accumulators {
  r0: vec4f, r1: vec4f, r2: vec4f, r3: vec4f,
  r4: vec4f, r5: vec4f, r6: vec4f, r7: vec4f,
  r8: vec4f, r9: vec4f, r10: vec4f, r11: vec4f,
  r12: vec4f, r13: vec4f, r14: vec4f, r15: vec4f,
  r16: vec4f, r17: vec4f, r18: vec4f, r19: vec4f,
  r20: vec4f, r21: vec4f, r22: vec4f, r23: vec4f,
  r24: vec4f, r25: vec4f, r26: vec4f, r27: vec4f,
  r28: vec4f, r29: vec4f, r30: vec4f, r31: vec4f,
}

// Rows 4… become rows 0…: a loop of a few stores and this compiles three times as fast as a store for every row.
fn dropFourRows(t: ptr<function, Accumulators>) {
  (*t).r0 = (*t).r4;
  (*t).r1 = (*t).r5;
  (*t).r2 = (*t).r6;
  (*t).r3 = (*t).r7;
  (*t).r4 = (*t).r8;
  (*t).r5 = (*t).r9;
  (*t).r6 = (*t).r10;
  (*t).r7 = (*t).r11;
  (*t).r8 = (*t).r12;
  (*t).r9 = (*t).r13;
  (*t).r10 = (*t).r14;
  (*t).r11 = (*t).r15;
  if (ROWS > 16u) {
    (*t).r12 = (*t).r16;
    (*t).r13 = (*t).r17;
    (*t).r14 = (*t).r18;
    (*t).r15 = (*t).r19;
    (*t).r16 = (*t).r20;
    (*t).r17 = (*t).r21;
    (*t).r18 = (*t).r22;
    (*t).r19 = (*t).r23;
    (*t).r20 = (*t).r24;
    (*t).r21 = (*t).r25;
    (*t).r22 = (*t).r26;
    (*t).r23 = (*t).r27;
    (*t).r24 = (*t).r28;
    (*t).r25 = (*t).r29;
    (*t).r26 = (*t).r30;
    (*t).r27 = (*t).r31;
  }
}

// A panel's rows stay in the cache while the columns pass, and neighbours share columns.
const TILE: vec2u = vec2u(ROWS * TEAMS, 4u * LANES);
const PANEL: u32 = 4u;
const PANELS_ACROSS: bool = false;
//#include "lib/panels.wgsl"
