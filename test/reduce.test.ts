import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Tensor } from '../src/core/tensor.ts';
import * as ops from '../src/ops/index.ts';
import { reduceCases } from './cases/reduce.ts';
import { u } from './check.ts';
import { BEYOND_ONE_ROW, exactOnIntegers, pattern } from './exact.ts';
import { gpuTest, gradcheckAll, messageOf } from './gpu.ts';
import * as ref from './reference.ts';

gradcheckAll(reduceCases);

gpuTest('sum is exact on whole numbers', () =>
  exactOnIntegers(
    ([x]) => ops.sum(x!, [0, 2]),
    ([x]) => ref.sum(x!, [0, 2]),
    [[9, 4, 70]],
  ),
);

gpuTest('max and min share the gradient of a tie', async () => {
  const x = Tensor.from([5, 1, 5, 5, 1, 2], [2, 3], { requiresGrad: true });
  ops.max(x).backward(Tensor.from([6]));
  assert.equal([...(await x.grad!.read())], [2, 0, 2, 2, 0, 0]);
  x.grad = null;
  ops.min(x, 1).backward(Tensor.from([6, 8]));
  assert.equal([...(await x.grad!.read())], [0, 6, 0, 0, 8, 0]);
});

gpuTest('max and min give NaN where there is one', async () => {
  const x = Tensor.from([1, Number.NaN, 3, 4, 5, 6], [2, 3]);
  assert.equal([...(await ops.max(x, 1).read())], [Number.NaN, 6]);
  assert.equal([...(await ops.min(x, 1).read())], [Number.NaN, 4]);
});

gpuTest('the mean of values of one sign is as near as two levels allow', async () => {
  const size = 300_000;
  const data = Float32Array.from({ length: size }, (_, i) => 1 + (i % 7) / 8);
  const mean = data.reduce((total, value) => total + value, 0) / size;
  const got = await ops.mean(Tensor.from(data)).item();
  assert.ok(Math.abs(got - mean) <= 16 * u * mean, `${got} for ${mean}`);
});

gpuTest('reaches past 65,535 workgroups, forward and backward', async () => {
  const data = pattern(BEYOND_ONE_ROW);
  const x = Tensor.from(data, [BEYOND_ONE_ROW], { requiresGrad: true });
  const y = ops.sum(x);
  assert.is(
    await y.item(),
    data.reduce((total, value) => total + value, 0),
  );
  y.backward();
  assert.ok((await x.grad!.read()).every((value) => value === 1));
});

gpuTest('axes that are not there or named twice are refused', async () => {
  const x = Tensor.zeros([2, 3]);
  assert.match(await messageOf(() => ops.sum(x, 2)), /^sum: axis 2 is not in \[2,3\]/);
  assert.match(await messageOf(() => ops.max(x, [0, -2])), /^max: axes \[0,-2\] name a dimension twice/);
});

test.run();
