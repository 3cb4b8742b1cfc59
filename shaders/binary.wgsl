// out = f(a, b) with NumPy's broadcasting, and the factors of its gradient: out = dy·∂f/∂a or dy·∂f/∂b (SIDE), still in the
// broadcast shape. Up to six dimensions, right-aligned; a stride of 0 repeats an operand.
//#include "lib/grid.wgsl"
//#include "lib/nan.wgsl"

const OP: u32 = ADD;
const ADD: u32 = 0u;
const SUB: u32 = 1u;
const MUL: u32 = 2u;
const DIV: u32 = 3u;
const MAXIMUM: u32 = 4u;
const MINIMUM: u32 = 5u;
const EQUAL: u32 = 6u;
// Both operands have the shape of the result: no index arithmetic.
const SAME: bool = false;
const SIDE: u32 = 0u;

// What the tensors are stored as; f is computed in f32.
alias AElem = f32;
alias BElem = f32;
alias DyElem = f32;
alias OutElem = f32;
alias Vec = f32;
alias Bits = u32;

struct Params {
  n: u32,
  d1: u32, d2: u32, d3: u32, d4: u32, d5: u32,
  a0: u32, a1: u32, a2: u32, a3: u32, a4: u32, a5: u32,
  b0: u32, b1: u32, b2: u32, b3: u32, b4: u32, b5: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<AElem>;
@group(0) @binding(2) var<storage, read> b: array<BElem>;
@group(0) @binding(3) var<storage, read> dy: array<DyElem>;
@group(0) @binding(4) var<storage, read_write> out: array<OutElem>;

fn nan(v: f32) -> bool { return magnitude(v) > INFINITE; }

// WGSL's max and min may drop a NaN; as in PyTorch, one in either operand is the result.
fn orNan(extreme: f32, u: f32, v: f32) -> f32 { return select(select(extreme, v, nan(v)), u, nan(u)); }

fn f(u: f32, v: f32) -> f32 {
  switch OP {
    case ADD: { return u + v; }
    case SUB: { return u - v; }
    case MUL: { return u * v; }
    case DIV: { return u / v; }
    case MAXIMUM: { return orNan(max(u, v), u, v); }
    case MINIMUM: { return orNan(min(u, v), u, v); }
    case EQUAL: { return select(0.0, 1.0, u == v); }
    default: { return u; }
  }
}

// As in PyTorch, a tie of maximum or minimum is shared evenly, and both get all of it where one is NaN.
fn share(wins: bool, u: f32, v: f32) -> f32 {
  return select(select(select(0.0, 1.0, wins), 0.5, u == v), 1.0, nan(u) || nan(v));
}

fn df(u: f32, v: f32) -> f32 {
  let left = SIDE == 0u;
  switch OP {
    case SUB: { return select(-1.0, 1.0, left); }
    case MUL: { return select(u, v, left); }
    case DIV: { return select(-(u / v) / v, 1.0 / v, left); } // v² would leave f32 from 1.8e19 on
    case MAXIMUM: { return share((u > v) == left, u, v); }
    case MINIMUM: { return share((u < v) == left, u, v); }
    default: { return 1.0; }
  }
}

// Offsets of element i of the result in a and b.
fn offsets(i: u32) -> vec2u {
  if (SAME) { return vec2u(i); }
  var rest = i;
  let i5 = rest % params.d5; rest /= params.d5;
  let i4 = rest % params.d4; rest /= params.d4;
  let i3 = rest % params.d3; rest /= params.d3;
  let i2 = rest % params.d2; rest /= params.d2;
  let i1 = rest % params.d1; rest /= params.d1;
  return vec2u(
    rest * params.a0 + i1 * params.a1 + i2 * params.a2 + i3 * params.a3 + i4 * params.a4 + i5 * params.a5,
    rest * params.b0 + i1 * params.b1 + i2 * params.b2 + i3 * params.b3 + i4 * params.b4 + i5 * params.b5,
  );
}

@compute @workgroup_size(GROUP)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = flatIndex(group, local, groups);
  if (i >= params.n) { return; }
  let at = offsets(i);
  out[i] = OutElem(f(f32(a[at.x]), f32(b[at.y])));
}

@compute @workgroup_size(GROUP)
fn backward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = flatIndex(group, local, groups);
  if (i >= params.n) { return; }
  let at = offsets(i);
  out[i] = OutElem(f32(dy[i]) * df(f32(a[at.x]), f32(b[at.y])));
}
