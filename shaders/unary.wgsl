// y = f(x) and dx = dy·f′(x), element by element. OP names the case; a new function is one case in each switch.
//#include "lib/walk.wgsl"
//#include "lib/nan.wgsl"

// What values are stored in, what is computed with, and that in u32: four where their number allows it, else one.
alias Elem = vec4f;
alias Vec = vec4f;
alias Bits = vec4u;

const OP: u32 = RELU;
const RELU: u32 = 0u;
const SIGMOID: u32 = 1u;
const TANH: u32 = 2u;
const EXP: u32 = 3u;
const LOG: u32 = 4u;
const SQRT: u32 = 5u;
const ABS: u32 = 6u;
const NEG: u32 = 7u;
const SQUARE: u32 = 8u;
const SILU: u32 = 9u;
const GELU: u32 = 10u;
const SOFTPLUS: u32 = 11u;

struct Params { n: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Elem>;
@group(0) @binding(2) var<storage, read> dy: array<Elem>;
@group(0) @binding(3) var<storage, read_write> out: array<Elem>;

// y, or a NaN where v is one: several drivers' exp, log, tanh, max and sign make numbers of it.
fn orNan(y: Vec, v: Vec) -> Vec { return select(y, v, magnitude(v) > INFINITE); }

fn exponential(v: Vec) -> Vec { return orNan(exp(v), v); }

// The slope of the sigmoid, s·(1 − s), which takes no number near 1 from 1; that of tanh v is 4·bell(2v).
fn bell(v: Vec) -> Vec {
  let e = exponential(-abs(v));
  return e / ((1.0 + e) * (1.0 + e));
}

fn sigmoid(v: Vec) -> Vec { return orNan(1.0 / (1.0 + exp(-v)), v); }

// The builtin gives NaN for large arguments on several drivers; beyond ±15 the result is ±1 in f32 anyway. What it is off by does not
// shrink with a small argument (lavapipe: tanh(1e-9) is 3e-8), so there it is Cephes' tanhf: x + x·z·p(z), z = x².
fn tanhSafe(v: Vec) -> Vec {
  let z = v * v;
  let p = -0.333332819 + z * (0.133314422 + z * (-0.0537397156 + z * (0.0206390888 - 0.00570498873 * z)));
  return orNan(select(tanh(clamp(v, Vec(-15.0), Vec(15.0))), v + v * z * p, abs(v) < Vec(0.625)), v);
}

// GELU in its tanh form, x/2 · (1 + tanh u) with u = √(2/π)·(x + 0.044715·x³), is x·sigmoid(2u), which takes no number near 1 from 1.
fn geluGate(v: Vec) -> Vec { return sigmoid(1.5957691216 * (v + 0.044715 * v * v * v)); }

// log(1 + e) for 0 ≤ e ≤ 1 as 2·artanh(t), t = e/(2 + e), by its series: t²ᵏ/(2k + 1) is below 2⁻²⁶ from k = 8 on. A driver's log may be
// off by 2⁻²¹ around 1, and 1 + e has lost a small e.
fn log1p(e: Vec) -> Vec {
  let t = e / (2.0 + e);
  let s = t * t;
  let tail = 1.0 / 9.0 + s * (1.0 / 11.0 + s * (1.0 / 13.0 + s / 15.0));
  return 2.0 * t * (1.0 + s * (1.0 / 3.0 + s * (1.0 / 5.0 + s * (1.0 / 7.0 + s * tail))));
}

fn f(v: Vec) -> Vec {
  switch OP {
    case RELU: { return select(v, Vec(), v < Vec()); } // not max(v, 0): a NaN must stay one
    case SIGMOID: { return sigmoid(v); }
    case TANH: { return tanhSafe(v); }
    case EXP: { return exponential(v); }
    case LOG: { return orNan(log(v), v); }
    case SQRT: { return sqrt(v); }
    case ABS: { return abs(v); }
    case NEG: { return -v; }
    case SQUARE: { return v * v; }
    case SILU: { return v * sigmoid(v); }
    case GELU: { return v * geluGate(v); }
    case SOFTPLUS: { return orNan(max(v, Vec()) + log1p(exp(-abs(v))), v); }
    default: { return v; }
  }
}

fn df(v: Vec) -> Vec {
  switch OP {
    case RELU: { return select(Vec(), Vec(1.0), v > Vec()); }
    case SIGMOID: { return bell(v); }
    case TANH: { return 4.0 * bell(2.0 * v); }
    case EXP: { return exponential(v); }
    case LOG: { return 1.0 / v; }
    case SQRT: { return 0.5 / sqrt(v); }
    case ABS: { return orNan(sign(v), v); }
    case NEG: { return Vec(-1.0); }
    case SQUARE: { return 2.0 * v; }
    case SILU: { let s = sigmoid(v); return s * (1.0 + v * (1.0 - s)); }
    case GELU: {
      let s = geluGate(v);
      let w = clamp(v, Vec(-16.0), Vec(16.0)); // farther out s·(1 − s) is 0, and the square of v may be infinite
      return s + w * s * (1.0 - s) * 1.5957691216 * (1.0 + 0.134145 * w * w);
    }
    case SOFTPLUS: { return sigmoid(v); }
    default: { return Vec(1.0); }
  }
}

@compute @workgroup_size(GROUP)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let walk = walked(group, local, groups, params.n);
  for (var i = walk.first; i < walk.end; i += GROUP) { out[i] = Elem(f(Vec(x[i]))); }
}

@compute @workgroup_size(GROUP)
fn backward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let walk = walked(group, local, groups, params.n);
  for (var i = walk.first; i < walk.end; i += GROUP) { out[i] = Elem(Vec(dy[i]) * df(Vec(x[i]))); }
}
