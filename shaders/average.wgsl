// The exponential moving average of the weights, over a range of the arena: e += s·(p − e), s = 1 − min(d, (1 + t)/(10 + t)), where t
// updates are in it already; the first one copies. `rest` is 1 − d, which an f32 d near 1 would give to a few digits only.
//#include "lib/walk.wgsl"

struct Params { n: u32, rest: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weights: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> average: array<vec4f>;
@group(0) @binding(3) var<storage, read> updates: array<u32>;
// The loss scale, lossscale.wgsl: an update that is left out is none.
@group(0) @binding(4) var<storage, read> scale: array<u32>;
@group(0) @binding(5) var<storage, read_write> counted: array<u32>;
@group(0) @binding(6) var<storage, read_write> exchanged: array<vec4f>;

fn share() -> f32 {
  let t = updates[0];
  if (t == 0u) { return 1.0; }
  return max(params.rest, 9.0 / (10.0 + f32(t)));
}

// Of weights that stand still nothing is lost: p − e is exactly 0.
fn mixed(i: u32, s: f32) -> vec4f {
  let w = weights[i];
  if (s == 1.0) { return w; }
  let e = average[i];
  return e + s * (w - e);
}

@compute @workgroup_size(GROUP)
fn follow(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let walk = walked(group, local, groups, params.n);
  let s = share();
  for (var i = walk.first; i < walk.end; i += GROUP) { average[i] = mixed(i, s); }
}

@compute @workgroup_size(GROUP)
fn followScaled(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let walk = walked(group, local, groups, params.n);
  if (scale[4] != 0u) { return; }
  let s = share();
  for (var i = walk.first; i < walk.end; i += GROUP) { average[i] = mixed(i, s); }
}

@compute @workgroup_size(1)
fn count() { counted[0] += params.n; }

@compute @workgroup_size(1)
fn countScaled() {
  if (scale[4] == 0u) { counted[0] += params.n; }
}

// The weights for the average and back: to the bit.
@compute @workgroup_size(GROUP)
fn exchange(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let walk = walked(group, local, groups, params.n);
  for (var i = walk.first; i < walk.end; i += GROUP) {
    let kept = average[i];
    average[i] = exchanged[i];
    exchanged[i] = kept;
  }
}
