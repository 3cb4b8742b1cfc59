import { f16round } from '@petamoriken/float16';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { halfCopyOf } from '../src/core/halfcopy.ts';
import { step } from '../src/core/step.ts';
import { Tensor } from '../src/core/tensor.ts';
import * as ops from '../src/ops/index.ts';
import * as optim from '../src/optim/index.ts';
import { halfTest, messageOf, onDevice } from './gpu.ts';

const parameter = (values: ArrayLike<number>): Tensor =>
  Tensor.from(Float32Array.from(values), undefined, { requiresGrad: true });

const RATES = { lr: 0.1, momentum: 0.9 };

/** One update of `p` with the gradient `factors`, as a scaled loss gives it. */
const updateWith = (optimizer: optim.Optimizer, p: Tensor, factors: ArrayLike<number>): Promise<void> =>
  step(() => {
    const loss = ops.sum(ops.mul(p, Tensor.from(Float32Array.from(factors))));
    loss.backward(optimizer.lossScale?.gradient());
    optimizer.step(RATES);
  });

/** All that an optimizer changes: weights, their copy in f16, its state. */
async function everything(optimizer: optim.Optimizer, p: Tensor): Promise<number[]> {
  const tensors = [p, ...optimizer.state().flat()];
  const values: number[] = [];
  for (const tensor of tensors) values.push(...(await tensor.read()));
  return [...values, ...(await copyOf(p))];
}

/** What a network in f16 takes for the weights `p`. */
const copyOf = (p: Tensor): Promise<Float32Array> => halfCopyOf(p)!.read();

const START = [1, -2, 0.1, 3];
const GRADIENT = [0.5, 0.25, -1 / 3, 1e-6];
const OVERFLOW = [0.5, Number.POSITIVE_INFINITY, 0, 0];

const makers = {
  SGD: (p: Tensor[], lossScale?: optim.LossScale) => new optim.SGD(p, { weightDecay: 0.01, lossScale }),
  AdamW: (p: Tensor[], lossScale?: optim.LossScale) => new optim.AdamW(p, { weightDecay: 0.01, lossScale }),
};

for (const [name, make] of Object.entries(makers)) {
  for (const [what, bad] of [
    ['infinite', OVERFLOW],
    ['NaN', [0, 0, Number.NaN, 1]],
  ] as const) {
    halfTest(`${name}: an update with an ${what} gradient changes no bit and halves the scale`, async () => {
      const p = parameter(START);
      const lossScale = new optim.LossScale({ initial: 1024 });
      const optimizer = make([p], lossScale);
      await updateWith(optimizer, p, GRADIENT);
      const before = await everything(optimizer, p);
      await updateWith(optimizer, p, bad);
      assert.equal(await everything(optimizer, p), before);
      assert.equal(await lossScale.read(), { scale: 512, good: 0, updates: 1, skipped: 1 });
      await updateWith(optimizer, p, GRADIENT);
      assert.not.equal(await everything(optimizer, p), before);
      assert.equal(await lossScale.read(), { scale: 512, good: 1, updates: 2, skipped: 1 });
    });
  }

  halfTest(`${name}: updates are those without a scale, however many were left out between them`, async () => {
    const run = async (lossScale: optim.LossScale | undefined, gradients: readonly (readonly number[])[]) => {
      const p = parameter(START);
      const optimizer = make([p], lossScale);
      for (const gradient of gradients) await updateWith(optimizer, p, gradient);
      return [...(await p.read())];
    };
    const good = [GRADIENT, [1, 1, 1, 1], [-0.3, 0.2, 0.1, 0]];
    const scaled = await run(new optim.LossScale(), good);
    const skipping = await run(new optim.LossScale(), [good[0]!, OVERFLOW, good[1]!, OVERFLOW, OVERFLOW, good[2]!]);
    assert.equal(skipping, scaled);
    const plain = await run(undefined, good);
    for (const [i, value] of plain.entries()) {
      assert.ok(Math.abs(scaled[i]! - value) <= 4e-7 * Math.max(1, Math.abs(value)), `${scaled[i]} for ${value}`);
    }
  });
}

halfTest('Adam’s corrections are as exact after many updates as after the first', async () => {
  const [a, b] = [parameter([1]), parameter([1])];
  const lossScale = new optim.LossScale();
  const [scaled, plain] = [new optim.Adam([a], { lossScale }), new optim.Adam([b])];
  for (const updates of [0, 9, 99, 999, 9999]) {
    plain.steps = updates;
    lossScale.restore({ scale: 1, good: 0, updates, skipped: 0 });
    await updateWith(scaled, a, [0.5]);
    await updateWith(plain, b, [0.5]);
    const [got, want] = [await a.item(), await b.item()];
    assert.ok(Math.abs(got - want) < 2e-7, `after ${updates}: ${got}, want ${want}`);
  }
});

halfTest('a row of good updates doubles the scale; a bad one starts a new row', async () => {
  const p = parameter(START);
  const lossScale = new optim.LossScale({ initial: 8, growthInterval: 3 });
  const optimizer = new optim.SGD([p], { lossScale });
  const scales: number[] = [];
  for (const gradient of [GRADIENT, GRADIENT, OVERFLOW, GRADIENT, GRADIENT, GRADIENT, GRADIENT]) {
    await updateWith(optimizer, p, gradient);
    scales.push((await lossScale.read()).scale);
  }
  assert.equal(scales, [8, 8, 4, 4, 4, 8, 8]);
  assert.equal(await lossScale.read(), { scale: 8, good: 1, updates: 6, skipped: 1 });
  // From a run whose rows were longer.
  lossScale.restore({ scale: 8, good: 7, updates: 9, skipped: 1 });
  await updateWith(optimizer, p, GRADIENT);
  assert.equal(await lossScale.read(), { scale: 16, good: 0, updates: 10, skipped: 1 });
});

for (const [name, make] of Object.entries(makers)) {
  halfTest(`${name}: what is frozen, or has no gradient this time, is neither looked at nor updated`, async () => {
    const [p, q] = [parameter(START), parameter(START)];
    const lossScale = new optim.LossScale();
    const optimizer = make([p, q], lossScale);
    await updateWith(optimizer, q, OVERFLOW);
    assert.is((await lossScale.read()).skipped, 1);
    const before = await everything(optimizer, q);
    // The slot of q still holds infinity.
    await updateWith(optimizer, p, GRADIENT);
    assert.is((await lossScale.read()).skipped, 1);
    assert.equal([...(await q.read()), ...(await copyOf(q))], [...before.slice(0, 4), ...before.slice(-4)]);
    assert.not.equal([...(await p.read())], [...(await q.read())]);
  });
}

halfTest('a cleared state counts updates anew, as without a scale; the scale stays', async () => {
  const after = async (lossScale?: optim.LossScale) => {
    const p = parameter(START);
    const optimizer = new optim.Adam([p], { lossScale });
    for (let i = 0; i < 3; i++) await updateWith(optimizer, p, GRADIENT);
    optimizer.clearState();
    await updateWith(optimizer, p, [3, -1, 1, 2]);
    return [...(await p.read())];
  };
  const lossScale = new optim.LossScale({ initial: 8, growthInterval: 3 });
  const [scaled, plain] = [await after(lossScale), await after()];
  for (const [i, value] of plain.entries()) assert.ok(Math.abs(scaled[i]! - value) <= 1e-6, `${scaled} for ${plain}`);
  assert.equal(await lossScale.read(), { scale: 16, good: 1, updates: 1, skipped: 0 });
});

halfTest('the scale stays between 2⁻²⁴ and 2⁴⁰, and a share of it can be asked for', async () => {
  const p = parameter(START);
  const lossScale = new optim.LossScale({ initial: 2 ** 40, growthInterval: 1 });
  const optimizer = new optim.SGD([p], { lossScale });
  assert.is(await lossScale.gradient(0.25).item(), 2 ** 38);
  await updateWith(optimizer, p, [0, 0, 0, 0]);
  assert.is((await lossScale.read()).scale, 2 ** 40);
  lossScale.restore({ scale: 2 ** -24, good: 0, updates: 0, skipped: 0 });
  await updateWith(optimizer, p, OVERFLOW);
  assert.is((await lossScale.read()).scale, 2 ** -24);
});

halfTest('several ranges are looked at before any is updated', () =>
  onDevice({}, async (gpu) => {
    Object.defineProperty(gpu, 'limits', { value: { maxStorageBufferBindingSize: 1024, maxBufferSize: 1024 } });
    const params = [70, 3, 200, 64, 1, 130].map((size) => parameter(new Float32Array(size).fill(2)));
    const lossScale = new optim.LossScale();
    const optimizer = new optim.SGD(params, { lossScale });
    const update = (last: number) =>
      step(() => {
        for (const p of params) {
          const factor = p === params.at(-1) ? last : 1;
          ops.sum(ops.mul(p, Tensor.full([1], factor))).backward(lossScale.gradient());
        }
        optimizer.step(RATES);
      });
    const distinct = async (read: (p: Tensor) => Promise<Float32Array>) =>
      Promise.all(params.map(async (p) => [...new Set(await read(p))]));
    const each = (value: number) => params.map(() => [value]);
    await update(Number.POSITIVE_INFINITY);
    assert.equal(await distinct((p) => p.read()), each(2));
    await update(1);
    assert.equal(await distinct((p) => p.read()), each(Math.fround(2 - Math.fround(0.1))));
    assert.equal(await distinct(copyOf), each(f16round(1.9)));
  }),
);

halfTest('the copy in f16 follows updates, writes and fills, and its gradient comes in f32', async () => {
  const w = Tensor.from([0.1, 0.2, 0.3], [1, 3], { requiresGrad: true });
  const lossScale = new optim.LossScale({ initial: 1 });
  const optimizer = new optim.SGD([w], { lossScale });
  const x = Tensor.from([1, 2 ** -11, 1 / 3], [1, 3], { dtype: 'f16' });
  const y = ops.linear(x, w, null);
  assert.is(y.dtype, 'f16');
  const products = [1, 2 ** -11, f16round(1 / 3)].map((value, i) => value * f16round([0.1, 0.2, 0.3][i]!));
  assert.is(await y.item(), f16round(products.reduce((a, b) => a + b)));
  await step(() => ops.linear(x, w, null).backward(Tensor.from([1 + 2 ** -10], [1, 1], { dtype: 'f16' })));
  assert.is(w.grad!.dtype, 'f32');
  // The product of two f16 has up to 22 bits.
  assert.is((await w.grad!.read())[2], Math.fround((1 + 2 ** -10) * f16round(1 / 3)));
  optimizer.zeroGrad();
  w.write(Float32Array.of(5, 6, 7));
  assert.equal([...(await copyOf(w))], [5, 6, 7]);
  assert.is(await ops.linear(x, w, null).item(), f16round(5 + 6 * 2 ** -11 + 7 * f16round(1 / 3)));
  w.fill(0.1);
  assert.equal([...(await copyOf(w))], new Array(3).fill(f16round(0.1)));
});

halfTest('a graph that has yet to read a copy in f16 notices that it was updated', async () => {
  const w = Tensor.from([1, 2, 3], [1, 3], { requiresGrad: true });
  const lossScale = new optim.LossScale();
  const optimizer = new optim.SGD([w], { lossScale });
  const x = Tensor.from([1, 1, 1], [1, 3], { dtype: 'f16', requiresGrad: true });
  const losses = [0, 1].map(() => ops.linear(x, w, null));
  const dy = Tensor.from([1], [1, 1], { dtype: 'f16' });
  lossScale.gradient();
  losses[0]!.backward(dy);
  optimizer.step(RATES);
  assert.match(await messageOf(() => losses[1]!.backward(dy)), /^backward: it reads a tensor \[1,3\] that was changed/);
});

halfTest('what a loss scale cannot be is refused', async () => {
  assert.match(await messageOf(() => new optim.LossScale({ initial: 3 })), /initial is 3; it is a power of two/);
  assert.match(await messageOf(() => new optim.LossScale({ growthInterval: 0 })), /a whole number from 1 on/);
});

test.run();
