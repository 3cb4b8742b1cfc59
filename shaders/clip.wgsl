// Clips gradients by their global norm: the factor min(1, most/(‖g‖ + 1e-6)) of all gradients of an update, which the optimizer's
// kernels multiply them by. It stays on the GPU, in the step buffer. Blocks of FROZEN do not count. Source: PyTorch's clip_grad_norm_.
//
// Each invocation leaves the sum of its squares in `sums`, at its flat index from `first` on; one invocation, or one workgroup, adds
// those up. Both orders are fixed.
//#include "lib/blocks.wgsl"
//#include "lib/total.wgsl"

alias Vec = f32;

struct Params { n: u32, firstBlock: u32, first: u32, block: u32, at: u32, most: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(2) var<storage, read> groupOf: array<u32>;
// The loss scale, lossscale.wgsl: the norm is that of the unscaled gradients.
@group(0) @binding(3) var<storage, read> scale: array<u32>;
@group(0) @binding(4) var<storage, read_write> sums: array<f32>;
@group(0) @binding(4) var<storage, read> parts: array<f32>;
@group(0) @binding(5) var<storage, read_write> step: array<u32>;

@compute @workgroup_size(GROUP)
fn squares(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let blocks = blocksOf(group, groups);
  var all = vec4f();
  for (var base = blocks.x; base < blocks.y; base += GROUP / BLOCK) {
    let own = owner(base, local.x, blocks.y);
    if (own == FROZEN) { continue; }
    let g = gradient[base * BLOCK + local.x];
    all += g * g;
  }
  sums[params.first + flatIndex(group, local, groups)] = (all.x + all.y) + (all.z + all.w);
}

@compute @workgroup_size(GROUP)
fn squaresScaled(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let blocks = blocksOf(group, groups);
  let by = bitcast<f32>(scale[0]);
  var all = vec4f();
  for (var base = blocks.x; base < blocks.y; base += GROUP / BLOCK) {
    let own = owner(base, local.x, blocks.y);
    if (own == FROZEN) { continue; }
    let g = gradient[base * BLOCK + local.x] / by; // exact: the scale is a power of two
    all += g * g;
  }
  sums[params.first + flatIndex(group, local, groups)] = (all.x + all.y) + (all.z + all.w);
}

fn combine(p: Sum, q: Sum) -> Sum { return Sum(p.n + q.n, p.a + q.a, p.b + q.b); }
fn term(i: u32) -> Sum { return Sum(1.0, parts[i], 0.0); }

// step[at] = the factor.
@compute @workgroup_size(GROUP)
fn factor(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let own = place(group, local, groups, 1u, 1u);
  let all = total(own, local.x, params.n, params.block);
  if (own.inside && own.lane == 0u) {
    let coefficient = params.most / (sqrt(all.a) + 1e-6);
    step[params.at] = bitcast<u32>(select(coefficient, 1.0, coefficient >= 1.0));
  }
}
