import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { halfCopyOf } from '../src/core/halfcopy.ts';
import { step } from '../src/core/step.ts';
import { Tensor } from '../src/core/tensor.ts';
import * as ops from '../src/ops/index.ts';
import * as optim from '../src/optim/index.ts';
import { close } from './check.ts';
import { scaled } from './fixtures/weights.ts';
import { gpuTest, halfTest, messageOf, onDevice } from './gpu.ts';

const SIZES = [70, 3, 130];
const RATES = { lr: 0.3, momentum: 0.5 };
const parameters = () => SIZES.map((n, k) => Tensor.from(scaled(1, k, n), undefined, { requiresGrad: true }));

const values = (tensors: readonly Tensor[]): Promise<number[][]> =>
  Promise.all(tensors.map(async (tensor) => [...(await tensor.read())]));

/** Update `i`: each gradient is another. */
const update = (optimizer: optim.Optimizer, params: readonly Tensor[], i: number, last = 1): Promise<void> =>
  step(() => {
    for (const [k, p] of params.entries()) {
      const gradient = Tensor.from(scaled(2 + i, k, p.size).map((value) => value * last));
      ops.sum(ops.mul(p, gradient)).backward(optimizer.lossScale?.gradient());
    }
    optimizer.step(RATES);
  });

/** The average over weights that were read after each update, in f64. */
function expected(history: readonly number[][][], decay: number): number[][] {
  let average = history[0]!;
  for (const [t, weights] of history.entries()) {
    const d = t === 0 ? 0 : Math.min(decay, (1 + t) / (10 + t));
    average = average.map((part, k) => part.map((e, i) => d * e + (1 - d) * weights[k]![i]!));
  }
  return average;
}

/** Updates with a look at the weights after each. */
async function run(decay: number, count: number, lossScale?: optim.LossScale) {
  const params = parameters();
  const optimizer = new optim.AdamW(params, { ema: decay, ...(lossScale && { lossScale }) });
  const history: number[][][] = [];
  for (let i = 0; i < count; i++) {
    await update(optimizer, params, i);
    history.push(await values(params));
  }
  return { params, optimizer, history, average: await values(optimizer.average!.tensors) };
}

function near(got: readonly number[][], want: readonly number[][], updates: number) {
  // Each update rounds the difference, its product and the sum.
  for (const [k, part] of want.entries()) close(got[k]!, part, { ulps: 3 * updates }, `parameter ${k}`);
}

for (const decay of [0.5, 0.99]) {
  gpuTest(`the average is that of the formula with decay ${decay}`, async () => {
    const { average, history, optimizer } = await run(decay, 25);
    near(average, expected(history, decay), 25);
    assert.equal([...(await optimizer.average!.updates.readInts())], [25]);
    assert.not.equal(average, history.at(-1));
  });
}

gpuTest('the first update copies the weights', async () => {
  const { average, history } = await run(0.9, 1);
  assert.equal(average, history[0]);
});

gpuTest('a parameter that stands still has an average that does, to the bit', async () => {
  const params = parameters();
  const optimizer = new optim.SGD(params, { ema: 0.95 });
  params[0]!.requiresGrad = false;
  for (let i = 0; i < 12; i++) await update(optimizer, params.slice(1), i);
  const [average, weights] = [await values(optimizer.average!.tensors), await values(params)];
  assert.equal(average[0], weights[0]);
  assert.not.equal(average[1], weights[1]);
});

gpuTest('several ranges give the same as one', async () => {
  const whole = (await run(0.9, 5)).average;
  const split = await onDevice({}, async (gpu) => {
    Object.defineProperty(gpu, 'limits', { value: { maxStorageBufferBindingSize: 512, maxBufferSize: 512 } });
    return (await run(0.9, 5)).average;
  });
  assert.equal(split, whole);
});

gpuTest(
  'during: the averages stand in for the weights, and both come back to the bit, also after an error',
  async () => {
    const { params, optimizer, history, average } = await run(0.9, 3);
    const within = await optimizer.average!.during(() => values(params));
    assert.equal(within, average);
    assert.match(
      await messageOf(() =>
        optimizer.average!.during(async () => {
          throw new Error('lost');
        }),
      ),
      /^lost$/,
    );
    assert.equal(await values(params), history.at(-1));
    assert.equal(await values(optimizer.average!.tensors), average);
  },
);

halfTest(
  'with a loss scale: an update that is left out leaves it alone, and f16 copies follow an exchange',
  async () => {
    const lossScale = new optim.LossScale({ initial: 64 });
    const { params, optimizer, history, average } = await run(0.9, 3, lossScale);
    near(average, expected(history, 0.9), 3);
    await update(optimizer, params, 3, Number.POSITIVE_INFINITY);
    assert.is((await lossScale.read()).skipped, 1);
    assert.equal(await values(optimizer.average!.tensors), average);
    assert.equal([...(await optimizer.average!.updates.readInts())], [3]);

    const halves = () => values(params.map((p) => halfCopyOf(p)!));
    const before = await halves();
    await optimizer.average!.during(async () => {
      const within = await halves();
      assert.not.equal(within, before);
      for (const [k, part] of average.entries()) {
        for (const [i, e] of part.entries()) assert.ok(Math.abs(within[k]![i]! - e) <= 2 ** -11 * Math.abs(e));
      }
    });
    assert.equal(await halves(), before);
  },
);

halfTest('a first update that is left out is no first update', async () => {
  const params = parameters();
  const optimizer = new optim.SGD(params, { ema: 0.9, lossScale: new optim.LossScale({ initial: 64 }) });
  await update(optimizer, params, 0, Number.NaN);
  await update(optimizer, params, 1);
  assert.equal(await values(optimizer.average!.tensors), await values(params));
});

gpuTest('a decay that is none is refused', async () => {
  for (const ema of [0, 1, -0.5, Number.NaN]) {
    assert.match(await messageOf(() => new optim.SGD(parameters(), { ema })), /^ema is .*a number between 0 and 1/);
  }
});

gpuTest('it is taken once at a time, of weights that are its optimizer’s, on the GPU in use', async () => {
  const params = parameters();
  const optimizer = new optim.SGD(params, { ema: 0.9 });
  await update(optimizer, params, 0);
  const { average } = optimizer;
  const weights = await values(params);
  const nothing = async () => {};
  assert.match(
    await messageOf(() => average!.during(() => average!.during(nothing))),
    /it runs already; await it before/,
  );
  assert.equal(await values(params), weights);
  const within: Promise<string>[] = [];
  await step(() => void within.push(messageOf(() => average!.during(nothing))));
  assert.match(await within[0]!, /^average\.during: a step would go on with the averages; call it between steps\.$/);
  await onDevice({}, async () => {
    assert.match(await messageOf(() => average!.during(nothing)), /on another GPU than the one in use/);
  });
  await average!.during(nothing);
  const later = new optim.SGD(params);
  assert.match(await messageOf(() => average!.during(nothing)), /a later optimizer has taken over the parameters/);
  assert.equal([await values(params), later.steps], [weights, 0]);
});

test.run();
