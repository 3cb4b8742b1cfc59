// Four reduction steps of `ROWS` rows against this lane's four columns: the inner step of every matrix kernel of the
// `lanes` tier. This variant uses no subgroup operations and is right on any adapter: 64 invocations as 8 teams of 8 lanes, each lane a
// 4×4 tile; a team's lanes read the same rows, which a GPU's load unit merges.
//
// A lane holds `Accumulators`: ROWS rows by its own four columns. A step needs `rows[ROWS][4]` (shared by all lanes of a team) and
// `columns[4][4]` (the lane's own), as b[k] = the four columns at step k. The rows come as a `Frag`, in one of two forms:
//   K form, reduction contiguous in memory: vector i is row `fragRow(i)` at steps 0…3;
//   M form, rows contiguous in memory:      vector i is rows 4·`fragQuad()`…+3 at step `fragStep(i)`.
// After the last step `finishK` or `finishM` puts the rows into natural order.
const LANES: u32 = 8u;
const TEAMS: u32 = 8u;
// Fixed.
const ROWS: u32 = 4u;
const FRAGS_K: u32 = 4u;
const FRAGS_M: u32 = 4u;

fn fragRow(i: u32, lane: u32) -> u32 { return i; }
fn fragQuad(lane: u32) -> u32 { return 0u; }
fn fragStep(i: u32, lane: u32) -> u32 { return i; }

struct Frag { v0: vec4f, v1: vec4f, v2: vec4f, v3: vec4f }

fn mac(c: vec4f, x: vec4f, b: mat4x4f) -> vec4f {
  return fma(b[3], vec4f(x.w), fma(b[2], vec4f(x.z), fma(b[1], vec4f(x.y), fma(b[0], vec4f(x.x), c))));
}

fn macK(t: ptr<function, Accumulators>, f: Frag, b: mat4x4f) {
  (*t).r0 = mac((*t).r0, f.v0, b);
  (*t).r1 = mac((*t).r1, f.v1, b);
  (*t).r2 = mac((*t).r2, f.v2, b);
  (*t).r3 = mac((*t).r3, f.v3, b);
}

fn macM(t: ptr<function, Accumulators>, f: Frag, b: mat4x4f, lane: u32) {
  let q = transpose(mat4x4f(f.v0, f.v1, f.v2, f.v3));
  (*t).r0 = mac((*t).r0, q[0], b);
  (*t).r1 = mac((*t).r1, q[1], b);
  (*t).r2 = mac((*t).r2, q[2], b);
  (*t).r3 = mac((*t).r3, q[3], b);
}

fn finishK(t: Accumulators, lane: u32) -> Accumulators { return t; }
fn finishM(t: Accumulators, lane: u32) -> Accumulators { return t; }
