import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Tensor } from '../src/core/tensor.ts';
import * as ops from '../src/ops/index.ts';
import { binaryCases } from './cases/binary.ts';
import { BEYOND_ONE_ROW, equalAtSamples, exactOnIntegers, pattern, patternAt } from './exact.ts';
import { gpuTest, gradcheckAll, halfTest, messageOf } from './gpu.ts';
import * as ref from './reference.ts';

gradcheckAll(binaryCases);

gpuTest('add, sub and mul are exact on whole numbers, broadcast or not', async () => {
  for (const shapes of [
    [
      [3, 5],
      [3, 5],
    ],
    [
      [4, 1, 3],
      [5, 1],
    ],
  ]) {
    await exactOnIntegers(
      ([a, b]) => ops.add(a!, b!),
      ([a, b]) => ref.add(a!, b!),
      shapes,
    );
    await exactOnIntegers(
      ([a, b]) => ops.sub(a!, b!),
      ([a, b]) => ref.sub(a!, b!),
      shapes,
    );
    await exactOnIntegers(
      ([a, b]) => ops.mul(a!, b!),
      ([a, b]) => ref.mul(a!, b!),
      shapes,
    );
  }
});

gpuTest('a number stands for a tensor on either side', async () => {
  const x = Tensor.from([1, 2, 4]);
  assert.equal([...(await ops.sub(10, x).read())], [9, 8, 6]);
  assert.equal([...(await ops.div(x, 2).read())], [0.5, 1, 2]);
  assert.equal([...(await ops.maximum(x, 3).read())], [3, 3, 4]);
});

gpuTest('the gradient of div is right where the square of the divisor leaves f32', async () => {
  const a = Tensor.from([2 ** 66, 2 ** -70], [2], { requiresGrad: true });
  const b = Tensor.from([2 ** 67, 2 ** -75], [2], { requiresGrad: true });
  ops.div(a, b).backward(Tensor.full([2], 1));
  const got = [...(await a.grad!.read()), ...(await b.grad!.read())];
  for (const [i, want] of [2 ** -67, 2 ** 75, -(2 ** -68), -(2 ** 80)].entries()) {
    assert.ok(Math.abs(got[i]! / want - 1) < 1e-6, `${got[i]} for ${want}`);
  }
});

gpuTest('maximum and minimum share the gradient of a tie', async () => {
  for (const op of [ops.maximum, ops.minimum]) {
    const a = Tensor.from([2, 1], [2], { requiresGrad: true });
    const b = Tensor.from([2, 5], [2], { requiresGrad: true });
    op(a, b).backward(Tensor.from([8, 8]));
    const left = op === ops.maximum ? [4, 0] : [4, 8];
    assert.equal([...(await a.grad!.read())], left);
    assert.equal(
      [...(await b.grad!.read())],
      left.map((d) => 8 - d),
    );
  }
});

gpuTest('maximum and minimum hand on NaN from either side, and both gradients there, as PyTorch', async () => {
  const left = Float32Array.of(Number.NaN, 1, Number.NaN, 1, -0, Number.NEGATIVE_INFINITY);
  const right = Float32Array.of(1, Number.NaN, Number.NaN, 2, -1, Number.NaN);
  for (const op of [ops.maximum, ops.minimum]) {
    const [a, b] = [left, right].map((data) => Tensor.from(data, [6], { requiresGrad: true })) as [Tensor, Tensor];
    const y = op(a, b);
    y.backward(Tensor.full([6], 8));
    const [low, high] = op === ops.maximum ? [0, 8] : [8, 0];
    const extremes = op === ops.maximum ? [2, -0] : [1, -1];
    assert.equal([...(await y.read())], [Number.NaN, Number.NaN, Number.NaN, ...extremes, Number.NaN]);
    assert.equal([...(await a.grad!.read())], [8, 8, 8, low, high, 8]);
    assert.equal([...(await b.grad!.read())], [8, 8, 8, high, low, 8]);
    assert.ok(Number.isNaN((await op(a, 0).read())[0]));
  }
});

gpuTest('one tensor on both sides gets both gradients', async () => {
  const x = Tensor.from([3, -2], [2], { requiresGrad: true });
  ops.mul(x, x).backward(Tensor.from([1, 10]));
  assert.equal([...(await x.grad!.read())], [6, -40]);
  const y = Tensor.from([3, -2], [2], { requiresGrad: true });
  ops.sub(y, y).backward(Tensor.from([1, 10]));
  assert.equal([...(await y.grad!.read())], [0, 0]);
});

halfTest('f16 and f32 meet in f32, and each gets a gradient of its own type', async () => {
  for (const op of [ops.add, ops.sub]) {
    const a = Tensor.from([1, 2], [2], { dtype: 'f16', requiresGrad: true });
    const b = Tensor.from([3, 4], [2], { requiresGrad: true });
    const y = op(a, b);
    y.backward(Tensor.from([5, 6]));
    assert.equal([y.dtype, a.grad!.dtype, b.grad!.dtype], ['f32', 'f16', 'f32']);
    assert.equal([...(await a.grad!.read())], [5, 6]);
  }
});

gpuTest('two numbers make an f32', async () => {
  const product = ops.mul(1e6, 3);
  assert.is(product.dtype, 'f32');
  assert.is(await product.item(), 3e6);
});

gpuTest('reaches past 65,535 workgroups, broadcast or not', async () => {
  const a = Tensor.from(pattern(BEYOND_ONE_ROW));
  equalAtSamples(await ops.add(a, a).read(), (i) => 2 * patternAt(i));
  equalAtSamples(await ops.mul(a, Tensor.from([3])).read(), (i) => 3 * patternAt(i));
});

gpuTest('shapes that do not broadcast are refused', async () => {
  const message = await messageOf(() => ops.add(Tensor.zeros([2, 3]), Tensor.zeros([2])));
  assert.match(message, /^add: \[2,3\] and \[2\] do not broadcast/);
  const seven = [Tensor.zeros([2, 1, 2, 1, 2, 1, 2]), Tensor.zeros([2, 1, 2, 1, 2, 1])] as const;
  assert.match(await messageOf(() => ops.mul(...seven)), /^mul: .* has 7 dimensions that do not lie .*; at most 6/);
});

test.run();
