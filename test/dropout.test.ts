import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ConfigError } from '../src/core/errors.ts';
import { step } from '../src/core/step.ts';
import { setSeed, stepCounter } from '../src/core/stepbuffer.ts';
import { Tensor } from '../src/core/tensor.ts';
import { Dropout } from '../src/nn/index.ts';
import * as ops from '../src/ops/index.ts';
import { dropoutCases, maskAt, maskOf, SEED } from './cases/dropout.ts';
import { BEYOND_ONE_ROW, equalAtSamples } from './exact.ts';
import { gpuTest, gradcheckAll, messageOf } from './gpu.ts';

gradcheckAll(dropoutCases);

const SIZE = 20_000;

/** The masks of `calls` dropouts of ones in the step of rank `rank` after the seed was set. */
async function masks({ seed = 5, p = 0.5, calls = 1, size = SIZE, rank = 1 }): Promise<Float32Array[]> {
  setSeed(seed);
  for (let before = 1; before < rank; before++) await step(() => {});
  try {
    const made = await step(() =>
      Array.from({ length: calls }, () => ops.dropout(Tensor.full([size], 1), p, { training: true })),
    );
    return await Promise.all(made.map((mask) => mask.read()));
  } finally {
    setSeed(SEED);
  }
}

for (const p of [0.1, 0.5, 0.9]) {
  gpuTest(`p ${p} drops that share, and scales the rest`, async () => {
    const [mask] = await masks({ p });
    const kept = mask!.filter((value) => value !== 0);
    // Four standard deviations of a binomial.
    assert.ok(Math.abs(kept.length / SIZE - (1 - p)) < 4 * Math.sqrt((p * (1 - p)) / SIZE), `${kept.length} kept`);
    assert.ok(kept.every((value) => Math.abs(value * (1 - p) - 1) < 1e-6));
  });
}

gpuTest('the mask is that of the CPU’s generator, exactly', async () => {
  const [first, second] = await masks({ calls: 2 });
  const key = { seed: 5, step: 1 };
  assert.equal([...first!], [...maskOf([SIZE], 0.5, { ...key, draw: 0 }).data]);
  assert.equal([...second!], [...maskOf([SIZE], 0.5, { ...key, draw: 1 }).data]);
});

gpuTest('a seed that is set within a step is for what comes after it', async () => {
  const mask = () => ops.dropout(Tensor.full([64], 1), 0.5, { training: true });
  setSeed(5);
  const [before, after] = await step(() => {
    const first = mask();
    setSeed(6);
    return [first, mask()];
  });
  setSeed(SEED);
  assert.equal([...(await before!.read())], [...maskOf([64], 0.5, { seed: 5, step: 1, draw: 0 }).data]);
  assert.equal([...(await after!.read())], [...maskOf([64], 0.5, { seed: 6, step: 0, draw: 0 }).data]);
});

gpuTest('differs from call to call, from step to step and from seed to seed', async () => {
  const [first, second] = await masks({ calls: 2 });
  const [later] = await masks({ rank: 2 });
  const [other] = await masks({ seed: 6 });
  const shared = (a: Float32Array, b: Float32Array) => a.filter((value, i) => value === b[i]).length / SIZE;
  for (const [a, b] of [
    [first!, second!],
    [first!, later!],
    [first!, other!],
  ] as const) {
    // Independent masks of p ½ agree in half of the places.
    assert.ok(Math.abs(shared(a, b) - 0.5) < 0.02, `${shared(a, b)} the same`);
  }
});

gpuTest('after the same seed the same steps draw the same masks', async () => {
  const [once] = await masks({ rank: 3 });
  await step(() => {});
  const [again] = await masks({ rank: 3 });
  assert.equal(again, once);
});

gpuTest('backward draws the mask of forward, also after other calls', async () => {
  const x = Tensor.from(new Float32Array(SIZE).fill(1), [SIZE], { requiresGrad: true });
  const y = await step(() => {
    const dropped = ops.dropout(x, 0.5, { training: true });
    ops.dropout(x, 0.5, { training: true });
    ops.sum(dropped).backward();
    return dropped;
  });
  assert.equal(await x.grad!.read(), await y.read());
});

gpuTest('a seed set outside of a step counts from then on, each time anew', async () => {
  const draw = () => ops.dropout(Tensor.full([SIZE], 1), 0.5, { training: true }).read();
  try {
    await step(() => ops.dropout(Tensor.full([1], 1), 0.5, { training: true }));
    for (let i = 0; i < 2; i++) {
      setSeed(9);
      for (const at of [0, 1])
        assert.equal([...(await draw())], [...maskOf([SIZE], 0.5, { seed: 9, step: stepCounter(), draw: at }).data]);
    }
  } finally {
    setSeed(SEED);
  }
});

gpuTest('does nothing in evaluation and with p 0', async () => {
  const x = Tensor.full([3], 1);
  assert.is(ops.dropout(x, 0.5, { training: false }), x);
  assert.is(ops.dropout(x, 0, { training: true }), x);
  for (const p of [1, -0.1, Number.NaN]) {
    assert.match(await messageOf(() => ops.dropout(x, p, { training: true })), /^dropout: p is .* probability from 0/);
    assert.throws(
      () => new Dropout(p),
      (error: unknown) => error instanceof ConfigError && /^Dropout: p is /.test(error.message),
    );
  }
});

gpuTest('reaches past 65,535 workgroups', async () => {
  const [mask] = await masks({ size: BEYOND_ONE_ROW });
  const key = { seed: 5, step: 1, draw: 0 };
  equalAtSamples(mask!, (i) => maskAt(i, 0.5, key));
});

test.run();
