import { kernel, record, type Tensor } from 'dawngrad';

const code = `
//#include "lib/grid.wgsl"
struct Params { n: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

fn gate(v: f32) -> f32 { return tanh(min(max(v, 0.0) + log(1.0 + exp(-abs(v))), 15.0)); }

@compute @workgroup_size(GROUP)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = flatIndex(group, local, groups);
  if (i < params.n) { out[i] = x[i] * gate(x[i]); }
}

@compute @workgroup_size(GROUP)
fn backward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = flatIndex(group, local, groups);
  if (i < params.n) {
    let g = gate(x[i]);
    out[i] = dy[i] * (g + x[i] * (1.0 - g * g) / (1.0 + exp(-x[i])));
  }
}`;
const forward = kernel('mish', 'forward', code);
const backward = kernel('mish', 'backward', code);

/** y = x·tanh(log(1 + eˣ)). Source: Misra 2020, "Mish: A Self Regularized Non-Monotonic Activation Function". */
export function mish(x: Tensor): Tensor {
  const y = x.emptyLike();
  forward({}, { x, out: y }, { n: x.size }, x.size);
  return record(y, [x], (dy) => {
    const dx = x.emptyLike();
    backward({}, { x, dy, out: dx }, { n: x.size }, x.size);
    return [dx];
  });
}
