import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { kernel, spread } from '../src/core/kernel.ts';
import { step } from '../src/core/step.ts';
import { record } from '../src/core/tape.ts';
import { Tensor } from '../src/core/tensor.ts';
import { useGpu } from '../src/gpu/gpu.ts';
import * as ops from '../src/ops/index.ts';
import { gradcheck } from './cases/case.ts';
import { uniform } from './check.ts';
import { gpu, gpuTest, limitBindings, messageOf, onDevice } from './gpu.ts';
import * as ref from './reference.ts';

/** An operation as a user writes one: y = x³ + shift, with WGSL of their own and one of the engine's pieces. */
const CUBE = `
//#include "lib/grid.wgsl"
const GRADIENT: bool = false;
struct Params { n: u32, shift: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(GROUP)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = flatIndex(group, local, groups);
  if (i < params.n) { out[i] = x[i] * x[i] * x[i] + params.shift; }
}

@compute @workgroup_size(GROUP)
fn backward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = flatIndex(group, local, groups);
  if (i < params.n) { out[i] = dy[i] * 3.0 * x[i] * x[i]; }
}
`;
const cubeForward = kernel('my/cube', 'forward', CUBE);
const cubeBackward = kernel('my/cube', 'backward', CUBE);

function cube(x: Tensor, shift: number): Tensor {
  const params = { n: x.size, shift };
  const y = x.emptyLike();
  cubeForward({}, { x, out: y }, params, x.size);
  return record(y, [x], (dy) => {
    const dx = x.emptyLike();
    cubeBackward({}, { x, dy, out: dx }, params, x.size);
    return [dx];
  });
}

gpuTest('an operation of a user’s own passes the gradient check', () =>
  gradcheck({
    op: ([x]) => cube(x, 0.5),
    reference: ([x]) => ref.map(x, (value) => value ** 3 + 0.5),
    inputs: [uniform([3, 67], 1)],
    bound: { ulps: 4 },
    gradientBounds: [{ ulps: 8, scale: 3 }],
  }),
);

gpuTest('it works between the engine’s own, in a step', async () => {
  const x = Tensor.from([1, -2], [2], { requiresGrad: true });
  await step(() => ops.sum(ops.square(cube(ops.mul(x, 2), 0))).backward());
  // d/dx (2x)⁶ = 12·(2x)⁵.
  assert.equal([...(await x.grad!.read())], [12 * 32, 12 * -1024]);
});

gpuTest('two shaders cannot have one name', async () => {
  const x = Tensor.zeros([1]);
  const run = (name: string) => () => kernel(name, 'forward', '// another')({}, { x }, {}, 1);
  assert.match(await messageOf(run('unary')), /another shader named 'unary' already; give yours a name of its own/);
  assert.match(await messageOf(run('my/cube')), /another shader named 'my\/cube'/);
});

test('invocations are spread over rows above 65,535 groups', () => {
  assert.equal(spread(1, 64), [1, 1, 1]);
  assert.equal(spread(0, 64), [1, 1, 1]);
  assert.equal(spread(65, 64), [2, 1, 1]);
  assert.equal(spread(65_535 * 64, 64), [65_535, 1, 1]);
  for (const threads of [65_535 * 64 + 1, 2 ** 27, 2 ** 31 + 77]) {
    const [x, y, z] = spread(threads, 64);
    assert.ok(x <= 65_535 && y <= 65_535 && z === 1);
    assert.ok(x * y * 64 >= threads && (x * y - y) * 64 < threads, `${threads}: ${x}×${y}`);
  }
});

gpuTest('operands and parameters that the shader does not have, or lacks, are refused', async () => {
  const [forward, exchange] = [kernel('unary', 'forward'), kernel('average', 'exchange')];
  const [x, out] = [Tensor.zeros([4]), Tensor.zeros([4])];
  const refusals: [() => void, RegExp][] = [
    [
      () => forward({}, { x, y: out }, { n: 4 }, 4),
      /^unary\.forward: the shader has no binding 'y'; it has x, dy, out/,
    ],
    [() => forward({}, { x, out }, {}, 4), /^unary\.forward: parameter 'n' is missing/],
    [() => forward({}, { x, out }, { n: 2.5 }, 4), /^unary\.forward: parameter 'n' is 2\.5 but the shader takes u32/],
    [() => forward({}, { x, out }, { n: -1 }, 4), /^unary\.forward: parameter 'n' is -1 but the shader takes u32/],
    [() => forward({}, { x, out }, { n: 4, m: 4 }, 4), /parameters are n, not n, m/],
    [() => forward({ OPP: 'TANH' }, { x, out }, { n: 4 }, 4), /unary\.wgsl has no constant OPP/],
    [() => forward({}, { x: Tensor.zeros([4], 'u32'), out }, { n: 4 }, 4), /'x' is u32 but the shader takes vec4f/],
    [
      () => forward({}, { x, out: x }, { n: 4 }, 4),
      /^unary\.forward: 'out' shares a buffer with 'x', and one is read and one written\. Write to a new tensor/,
    ],
    [
      () => exchange({}, { exchanged: x, average: x }, { n: 4, rest: 0 }, 4),
      /^average\.exchange.*: 'average' overlaps 'exchanged', and both are written\. Write to a new tensor\.$/,
    ],
    [
      () => forward({}, { x, out }, { n: 4 }, [70_000, 1, 1]),
      /a grid of 70000×1×1 workgroups; each side is 1 to 65535/,
    ],
    [() => kernel('unary', 'sideways')({}, { x, out }, { n: 4 }, 4), /no compute entry point 'sideways'/],
    [() => kernel('absent', 'forward')({}, { x }, {}, 4), /there is no shader absent\.wgsl/],
  ];
  for (const [run, message] of refusals) assert.match(await messageOf(run), message);
});

gpuTest('an operand larger than the adapter can bind is refused, a part of it is not', () =>
  onDevice({}, async (gpu) => {
    limitBindings(gpu, 2 ** 20);
    const fits = Tensor.zeros([2 ** 18]);
    assert.is(await ops.sum(ops.neg(fits)).item(), 0);
    const x = Tensor.zeros([2 ** 18 + 2 ** 16]);
    assert.is(
      await messageOf(() => ops.neg(x)),
      "unary.forward: 'x' takes 1.3 MiB and the adapter binds at most 1 MiB. Use a smaller batch, size or width.",
    );
    assert.is(await ops.sum(ops.neg(fits)).item(), 0);
  }),
);

gpuTest('WGSL that does not compile is shown with its lines, and the device stays usable', async () => {
  const code =
    '@group(0) @binding(1) var<storage, read_write> out: array<f32>;\n@compute @workgroup_size(1)\nfn main() { out[0] = 1u; }';
  const out = Tensor.zeros([1]);
  kernel('my/broken', 'main', code)({}, { out }, {}, 1);
  const message = await messageOf(() => out.read());
  assert.match(message, /^my\/broken\.main does not compile on .*: /);
  assert.ok(message.includes(gpu.adapter.name));
  assert.match(message, />\s+3 \| fn main\(\) \{ out\[0\] = 1u; \}/);
  assert.is(await ops.sum(Tensor.full([3], 1)).item(), 3);
});

gpuTest('operands are those that the entry point mentions, no fewer and no more', () => {
  const x = Tensor.from([1, 2]);
  const out = x.emptyLike();
  const params = { n: 2, shift: 0 };
  assert.throws(() => cubeForward({}, { x, out }, params, Number.NaN), /a grid of NaN×/);
  assert.throws(
    () => cubeBackward({}, { x, out }, params, 2),
    /^my\/cube\.backward: 'dy' is not given, but the entry point mentions it; it takes x, dy, out\.$/,
  );
  assert.throws(
    () => cubeForward({}, { x, dy: x, out }, params, 2),
    /^my\/cube\.forward: 'dy' is given, but the entry point does not mention it; it takes x, out\.$/,
  );
});

gpuTest('an entry point that mentions no parameters gets none', async () => {
  const text = `${CUBE.slice(0, CUBE.indexOf('@compute'))}
@compute @workgroup_size(GROUP) fn ones(@builtin(global_invocation_id) id: vec3u) { out[id.x] = 1.0; }`;
  const out = Tensor.zeros([64]);
  kernel('my/ones', 'ones', text)({}, { out }, { n: 64, shift: 0 }, 64);
  assert.is((await out.read())[63], 1);
});

gpuTest('tensors of another GPU are refused, and those of a closed one', async () => {
  const here = Tensor.from([1]);
  const [there, other] = await onDevice({}, async (other) => {
    const there = Tensor.from([2]);
    assert.throws(() => ops.add(here, there), /^binary\.forward .*: 'a' is on another GPU, .*, than the one in use, /);
    assert.is(await here.item(), 1);
    return [there, other] as const;
  });
  assert.match(await messageOf(() => there.read()), /^a tensor \[1\] was on a GPU that is closed\.$/);
  assert.throws(() => ops.add(here, there), /was on a GPU that is closed/);
  assert.throws(() => useGpu(other), /^useGpu: .* was closed; open it anew/);
  assert.is(await ops.add(here, 1).item(), 2);
});

test.run();
