import { kernel, openGpu, ops, record, step, Tensor } from '../../src/index.ts';

const wgsl = `
struct Params { n: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = id.y * groups.x * 64 + id.x;
  if (i < params.n) { out[i] = x[i] / (1 + abs(x[i])); }
}

@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = id.y * groups.x * 64 + id.x;
  if (i < params.n) { let d = 1 + abs(x[i]); out[i] = dy[i] / (d * d); }
}`;
const forward = kernel('softsign', 'forward', wgsl);
const backward = kernel('softsign', 'backward', wgsl);

/** y = x / (1 + |x|). */
function softsign(x: Tensor): Tensor {
  const y = x.emptyLike();
  forward({}, { x, out: y }, { n: x.size }, x.size);
  return record(y, [x], (dy) => {
    const dx = x.emptyLike();
    backward({}, { x, dy, out: dx }, { n: x.size }, x.size);
    return [dx];
  });
}

const gpu = await openGpu();
const x = Tensor.from([-3, -0.5, 0, 1], [4], { requiresGrad: true });
const y = await step(() => {
  const y = softsign(x);
  ops.sum(y).backward();
  return y;
});
console.log('y ', ...(await y.read()));
console.log('dx', ...(await x.grad!.read()));
gpu.close();
