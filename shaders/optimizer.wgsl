// One update of all parameters in a range of the arena. Each 256-byte block (64 values) belongs to a parameter group, whose
// numbers for this step stand in the step buffer at `at + 8·group`: lr, momentum or β₁, weight decay, then what the rule needs.
// A group of FROZEN is left alone.
//
//   SGD    g += wd·p;  m = momentum·m + g;  p −= lr·(m, or g + momentum·m with nesterov)         PyTorch's torch.optim.SGD
//   ADAM   g += wd·p (coupled) or p −= lr·wd·p (decoupled: AdamW);  m = β₁·m + (1−β₁)·g;  v = β₂·v + (1−β₂)·g²
//          p −= lr/(1−β₁ᵗ) · m / (√(v/(1−β₂ᵗ)) + ε)                                              torch.optim.Adam, AdamW
//#include "lib/blocks.wgsl"

// What the f16 copy of the parameters is stored as.
alias Half = vec4f;

const NESTEROV: bool = false;
const DECOUPLED: bool = false;
// Gradients are multiplied by the factor at step[clipAt], clip.wgsl.
const CLIPPED: bool = false;

struct Params { n: u32, at: u32, firstBlock: u32, clipAt: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> step: array<u32>;
@group(0) @binding(2) var<storage, read> groupOf: array<u32>;
@group(0) @binding(3) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> p: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> m: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> v: array<vec4f>;

@group(0) @binding(7) var<storage, read_write> half: array<Half>;
// The loss scale: (scale, good steps, updates, skipped, 1 where this update is to be left out), lossscale.wgsl.
@group(0) @binding(8) var<storage, read> scale: array<u32>;

fn hyper(ofGroup: u32, i: u32) -> f32 { return bitcast<f32>(step[params.at + 8u * ofGroup + i]); }

fn clipped(gradient: vec4f) -> vec4f {
  if (CLIPPED) { return gradient * bitcast<f32>(step[params.clipAt]); }
  return gradient;
}

// Updates four values of a group with their gradient; the kernels that train in f16 store the result once more.
fn sgdAt(i: u32, own: u32, gradient: vec4f) -> vec4f {
  let lr = hyper(own, 0u);
  let momentum = hyper(own, 1u);
  let before = p[i];
  var g = gradient + hyper(own, 2u) * before;
  let mean = momentum * m[i] + g;
  m[i] = mean;
  if (NESTEROV) { g += momentum * mean; } else { g = mean; }
  let value = before - lr * g;
  p[i] = value;
  return value;
}

// correction1 = 1 − β₁ᵗ, correction2 = 1 − β₂ᵗ.
fn adamAt(i: u32, own: u32, gradient: vec4f, correction1: f32, correction2: f32) -> vec4f {
  let lr = hyper(own, 0u);
  let beta1 = hyper(own, 1u);
  let decay = hyper(own, 2u);
  let beta2 = hyper(own, 3u);
  let eps = hyper(own, 6u);
  let share2 = hyper(own, 7u); // 1 − β₂, which an f32 β₂ near 1 would give to four digits only
  var g = gradient;
  var value = p[i];
  if (DECOUPLED) { value -= lr * decay * value; } else { g += decay * value; }
  let mean = beta1 * m[i] + (1.0 - beta1) * g;
  let square = beta2 * v[i] + share2 * g * g;
  m[i] = mean;
  v[i] = square;
  value -= lr / correction1 * mean / (sqrt(square / correction2) + vec4f(eps));
  p[i] = value;
  return value;
}

// 1 − βᵗ from ln β, to full precision where it is small: a series for 1 − eᶻ, z > −½, whose next term is 3e-9 of it.
fn oneMinusPower(logBeta: f32, t: f32) -> f32 {
  let z = logBeta * t;
  if (z < -0.5) { return 1.0 - exp(z); }
  return -z * (1.0 + z / 2.0 * (1.0 + z / 3.0 * (1.0 + z / 4.0 * (1.0 + z / 5.0 * (1.0 + z / 6.0 * (1.0 + z / 7.0 * (1.0 + z / 8.0)))))));
}

// Exact, for the scale is a power of two.
fn unscaled(i: u32) -> vec4f { return gradient[i] / bitcast<f32>(scale[0]); }
fn skipped() -> bool { return scale[4] != 0u; }

@compute @workgroup_size(GROUP)
fn sgd(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let blocks = blocksOf(group, groups);
  for (var base = blocks.x; base < blocks.y; base += GROUP / BLOCK) {
    let own = owner(base, local.x, blocks.y);
    if (own == FROZEN) { continue; }
    let i = base * BLOCK + local.x;
    sgdAt(i, own, clipped(gradient[i]));
  }
}

@compute @workgroup_size(GROUP)
fn sgdScaled(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let blocks = blocksOf(group, groups);
  if (skipped()) { return; }
  for (var base = blocks.x; base < blocks.y; base += GROUP / BLOCK) {
    let own = owner(base, local.x, blocks.y);
    if (own == FROZEN) { continue; }
    let i = base * BLOCK + local.x;
    half[i] = Half(sgdAt(i, own, clipped(unscaled(i))));
  }
}

@compute @workgroup_size(GROUP)
fn adam(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let blocks = blocksOf(group, groups);
  for (var base = blocks.x; base < blocks.y; base += GROUP / BLOCK) {
    let own = owner(base, local.x, blocks.y);
    if (own == FROZEN) { continue; }
    let i = base * BLOCK + local.x;
    adamAt(i, own, clipped(gradient[i]), hyper(own, 4u), hyper(own, 5u));
  }
}

// The step buffer has ln β₁ and ln β₂ in the places of the corrections: only updates that were made count.
@compute @workgroup_size(GROUP)
fn adamScaled(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let blocks = blocksOf(group, groups);
  if (skipped()) { return; }
  let t = f32(scale[2] + 1u);
  for (var base = blocks.x; base < blocks.y; base += GROUP / BLOCK) {
    let own = owner(base, local.x, blocks.y);
    if (own == FROZEN) { continue; }
    let i = base * BLOCK + local.x;
    let correction1 = oneMinusPower(hyper(own, 4u), t);
    let correction2 = oneMinusPower(hyper(own, 5u), t);
    half[i] = Half(adamAt(i, own, clipped(unscaled(i)), correction1, correction2));
  }
}
