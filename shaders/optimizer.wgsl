// One update of all parameters in a range of the arena. Each 256-byte block (64 values) belongs to a parameter group, whose
// numbers for this step stand in the step buffer at `at + 8·group`: lr, momentum or β₁, weight decay, then what the rule needs.
// A group of FROZEN is left alone. An invocation updates EACH vec4s, one of each block that its workgroup walks over: where a
// workgroup is one block wide, its numbers are the same for all lanes, and a driver loads them once.
//
//   SGD    g += wd·p;  m = momentum·m + g;  p −= lr·(m, or g + momentum·m with nesterov)         PyTorch's torch.optim.SGD
//   ADAM   g += wd·p (coupled) or p −= lr·wd·p (decoupled: AdamW);  m = β₁·m + (1−β₁)·g;  v = β₂·v + (1−β₂)·g²
//          p −= lr/(1−β₁ᵗ) · m / (√(v/(1−β₂ᵗ)) + ε)                                              torch.optim.Adam, AdamW
//#include "lib/grid.wgsl"

const EACH: u32 = 1u;
const NESTEROV: bool = false;
const DECOUPLED: bool = false;
const BLOCK: u32 = 16u;
const FROZEN: u32 = 0xffffffffu;

struct Params { n: u32, at: u32, first_block: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> step: array<u32>;
@group(0) @binding(2) var<storage, read> group_of: array<u32>;
@group(0) @binding(3) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> p: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> m: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> v: array<vec4f>;

fn hyper(of_group: u32, i: u32) -> f32 { return bitcast<f32>(step[params.at + 8u * of_group + i]); }

@compute @workgroup_size(GROUP)
fn sgd(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let blocks = GROUP / BLOCK;
  let first = (group.y * groups.x + group.x) * blocks * EACH;
  let end = min(first + blocks * EACH, params.n / BLOCK);
  for (var base = first; base < end; base += blocks) {
    let block = base + select(local.x / BLOCK, 0u, blocks == 1u);
    if (block >= end) { continue; }
    let own = group_of[params.first_block + block];
    if (own == FROZEN) { continue; }
    let i = base * BLOCK + local.x;
    let lr = hyper(own, 0u);
    let momentum = hyper(own, 1u);
    var g = gradient[i] + hyper(own, 2u) * p[i];
    let mean = momentum * m[i] + g;
    m[i] = mean;
    if (NESTEROV) { g += momentum * mean; } else { g = mean; }
    p[i] -= lr * g;
  }
}

@compute @workgroup_size(GROUP)
fn adam(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let blocks = GROUP / BLOCK;
  let first = (group.y * groups.x + group.x) * blocks * EACH;
  let end = min(first + blocks * EACH, params.n / BLOCK);
  for (var base = first; base < end; base += blocks) {
    let block = base + select(local.x / BLOCK, 0u, blocks == 1u);
    if (block >= end) { continue; }
    let own = group_of[params.first_block + block];
    if (own == FROZEN) { continue; }
    let i = base * BLOCK + local.x;
    let lr = hyper(own, 0u);
    let beta1 = hyper(own, 1u);
    let decay = hyper(own, 2u);
    let beta2 = hyper(own, 3u);
    let correction1 = hyper(own, 4u); // 1 − β₁ᵗ
    let correction2 = hyper(own, 5u); // 1 − β₂ᵗ
    let eps = hyper(own, 6u);
    let share2 = hyper(own, 7u); // 1 − β₂, which an f32 β₂ near 1 would give to four digits only
    var g = gradient[i];
    var value = p[i];
    if (DECOUPLED) { value -= lr * decay * value; } else { g += decay * value; }
    let mean = beta1 * m[i] + (1.0 - beta1) * g;
    let square = beta2 * v[i] + share2 * g * g;
    m[i] = mean;
    v[i] = square;
    p[i] = value - lr / correction1 * mean / (sqrt(square / correction2) + vec4f(eps));
  }
}
