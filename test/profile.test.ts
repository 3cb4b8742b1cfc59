// The profile of a step, and what DEBUG prints.
import { spawnSync } from 'node:child_process';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Tensor } from '../src/core/tensor.ts';
import { Profile } from '../src/gpu/profile.ts';
import * as ops from '../src/ops/index.ts';
import { gpu, gpuTest, onDevice } from './gpu.ts';

const work = (flops: number, bytes: number) => ({ flops, bytes, shapes: '' });

test('a profile adds up the dispatches of a kernel, slowest kernel first', () => {
  const profile = new Profile();
  profile.add('a.x R=3', [2, 1, 1], 1, work(4e6, 8e6));
  profile.add('b.y', [1, 1, 1], 5);
  profile.add('a.x R=3', [2, 1, 1], 3, work(4e6, 8e6));
  profile.add('a.x R=1', [2, 1, 1], 2, { ...work(0, 0), shapes: 'x[1,2]' });
  assert.equal(
    profile.rows().map(({ label, calls, elapsedMs }) => [label, calls, elapsedMs]),
    [
      ['b.y grid 1×1×1', 1, 5],
      ['a.x R=3 grid 2×1×1', 2, 4],
      ['a.x R=1 grid 2×1×1 x[1,2]', 1, 2],
    ],
  );
  assert.equal(
    profile.kernels().map(({ label, calls, elapsedMs, flops }) => [label, calls, elapsedMs, flops]),
    [
      ['a.x', 3, 6, 8e6],
      ['b.y', 1, 5, 0],
    ],
  );
  const lines = profile.toString().split('\n');
  assert.is(lines[0], '4 dispatches in 11.000 ms');
  assert.match(lines[3]!, /4\.000 +36\.4 % +2× +2\.0 +4\.0 +a\.x R=3/);
});

/** Uploads, dispatches, a clear and a copy in turn: what is computed must not depend on being timed. */
async function mixture(): Promise<number[]> {
  const x = Tensor.from([1, 2, 3]);
  const y = ops.add(x, x);
  x.write(Float32Array.of(10, 20, 30));
  const z = ops.add(y, x);
  const copy = Tensor.zeros([3]);
  gpuOf(x).stream.copy(z.storage, copy.storage);
  return [...(await ops.neg(copy).read())];
}
const gpuOf = (tensor: Tensor) => tensor.storage.gpu;

for (const how of ['with time stamps, where the adapter has them', 'by waiting for each dispatch']) {
  gpuTest(`dispatches are timed ${how}, and their results stay the same`, () =>
    onDevice({}, async (other) => {
      if (how.startsWith('by')) Object.defineProperty(other.device, 'features', { value: new Set() });
      const profile = new Profile();
      other.stream.profile = profile;
      assert.equal(await mixture(), [-12, -24, -36]);
      assert.is(profile.calls, 3);
      assert.equal(
        profile
          .kernels()
          .map(({ label, calls }) => `${label} ${calls}`)
          .sort(),
        ['binary.forward 2', 'unary.forward 1'],
      );
      assert.ok(profile.elapsedMs > 0 && profile.elapsedMs < 10_000, `${profile.elapsedMs} ms`);
      assert.ok(profile.rows().every(({ bytes }) => bytes >= 24));
    }),
  );
}

gpuTest('products and convolutions say how much they compute', async () => {
  const profile = new Profile();
  gpu.stream.profile = profile;
  try {
    await ops.matmul(Tensor.full([4, 8], 1), Tensor.full([8, 12], 1)).read();
    await ops.conv2d(Tensor.full([1, 5, 5, 4], 1), Tensor.full([8, 3, 3, 4], 1), null, { padding: 1 }).read();
  } finally {
    gpu.stream.profile = null;
  }
  const flops = profile.rows().map((row) => row.flops);
  assert.ok(flops.includes(2 * 4 * 8 * 12) && flops.includes(2 * 25 * 8 * 36), `${flops}`);
});

test('DEBUG tells device and memory, kernels, shapes and WGSL, each level more', () => {
  const source = (path: string): string => JSON.stringify(new URL(`../src/${path}`, import.meta.url).href);
  const program = `
    import { openGpu } from ${source('gpu/node.ts')};
    import { step } from ${source('core/step.ts')};
    import { Tensor } from ${source('core/tensor.ts')};
    import { relu } from ${source('ops/index.ts')};
    const gpu = await openGpu();
    const x = Tensor.full([2, 5], 1);
    await step(() => { relu(x); });
    gpu.close();`;
  const told = (DEBUG: string): string => {
    const argv = ['--import', import.meta.resolve('tsx'), '--input-type=module', '-e', program];
    const run = spawnSync(process.execPath, argv, {
      env: { ...process.env, DEBUG },
      encoding: 'utf8',
      timeout: 60_000,
    });
    assert.is(run.status, 0, run.stderr);
    assert.is(run.stdout, '');
    return run.stderr;
  };
  const levels = [
    /^device: .*^memory: /ms,
    /^step: 1 dispatches in .*unary\.forward OP=RELU/ms,
    /x\[2,5\]/,
    /@compute/,
  ];
  for (const debug of [0, 1, 2, 4]) {
    const text = told(String(debug));
    for (const [i, level] of levels.entries()) assert.is(level.test(text), i < debug, `DEBUG=${debug}: ${text}`);
  }
});

test.run();
