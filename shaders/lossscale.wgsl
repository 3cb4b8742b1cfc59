// The dynamic loss scale of f16 training: the loss is multiplied by it before the backward pass, so that small gradients do not
// vanish in f16, and the optimizer divides by it. Everything is decided here, nothing is read back.
//   state = (scale, good steps in a row, updates, skipped updates, 1 when a gradient of this step is infinite or NaN)
// A step with such a gradient changes nothing but halves the scale; `interval` good ones in a row double it. Source: Micikevicius
// et al. 2018; PyTorch's GradScaler.
//#include "lib/blocks.wgsl"

// Powers of two far from where f32 ends, in case every step is good or none is.
const LARGEST: f32 = 0x1p40;
const SMALLEST: f32 = 0x1p-24;

struct Params { n: u32, firstBlock: u32, interval: u32, share: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(2) var<storage, read> groupOf: array<u32>;
@group(0) @binding(3) var<storage, read_write> flags: array<atomic<u32>>;
@group(0) @binding(3) var<storage, read_write> state: array<u32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

// out = share·scale: the gradient of the loss to start from.
@compute @workgroup_size(1)
fn start() { out[0] = params.share * bitcast<f32>(state[0]); }

// Padding between gradients is 0. Looks for one with all bits of the exponent set: by bits, since a shader compiler may take v == v for granted.
@compute @workgroup_size(GROUP)
fn inspect(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let blocks = blocksOf(group, groups);
  var bad = vec4<bool>();
  for (var base = blocks.x; base < blocks.y; base += GROUP / BLOCK) {
    let own = owner(base, local.x, blocks.y);
    if (own == FROZEN) { continue; }
    let exponents = bitcast<vec4u>(gradient[base * BLOCK + local.x]) & vec4u(0x7f800000u);
    bad |= exponents == vec4u(0x7f800000u);
  }
  if (any(bad)) { atomicOr(&flags[4], 1u); }
}

@compute @workgroup_size(1)
fn settle() {
  let scale = bitcast<f32>(state[0]);
  if (state[4] != 0u) {
    state[0] = bitcast<u32>(max(scale * 0.5, SMALLEST));
    state[1] = 0u;
    state[3]++;
    state[4] = 0u;
    return;
  }
  state[2]++;
  state[1]++;
  if (state[1] >= params.interval) {
    state[0] = bitcast<u32>(min(scale * 2.0, LARGEST));
    state[1] = 0u;
  }
}
