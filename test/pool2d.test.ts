import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Tensor } from '../src/core/tensor.ts';
import * as ops from '../src/ops/index.ts';
import { gradcheck } from './cases/case.ts';
import { poolCases } from './cases/pool2d.ts';
import { onHardware } from './families.ts';
import { gpuTest, gradcheckAll, messageOf } from './gpu.ts';

gradcheckAll(poolCases);

gpuTest('on hardware, where several invocations share a row of windows, maxima and their gradients are the same', () =>
  onHardware(async () => {
    for (const { op, what, make } of poolCases) if (op === 'maxPool2d') await gradcheck({ ...make(), what });
  }),
);

gpuTest('of equal maxima the first gets the gradient', async () => {
  const x = Tensor.from([1, 7, 7, 7], [1, 2, 2, 1], { requiresGrad: true });
  ops.maxPool2d(x, { kernel: 2 }).backward(Tensor.from([5], [1, 1, 1, 1]));
  assert.equal([...(await x.grad!.read())], [0, 5, 0, 0]);
});

for (const at of [0, 1, 2, 3]) {
  gpuTest(`a NaN at place ${at} of a window is its maximum`, async () => {
    const x = [1, 2, 3, 4].map((value, i) => (i === at ? Number.NaN : value));
    const y = await ops.maxPool2d(Tensor.from(x, [1, 2, 2, 1]), { kernel: 2 }).read();
    assert.equal([...y], [Number.NaN]);
    const adaptive = await ops.adaptiveMaxPool2d(Tensor.from(x, [1, 2, 2, 1]), 1).read();
    assert.equal([...adaptive], [Number.NaN]);
  });
}

gpuTest('the maximum of nothing but −∞ is −∞, and has a place', async () => {
  const x = Tensor.from(new Float32Array(4).fill(Number.NEGATIVE_INFINITY), [1, 2, 2, 1], { requiresGrad: true });
  const y = ops.maxPool2d(x, { kernel: 2 });
  assert.is(await y.item(), Number.NEGATIVE_INFINITY);
  y.backward();
  assert.equal([...(await x.grad!.read())], [1, 0, 0, 0]);
});

gpuTest('windows that do not fit are refused', async () => {
  const x = Tensor.zeros([1, 4, 4, 2]);
  assert.match(await messageOf(() => ops.maxPool2d(x, { kernel: 5 })), /^maxPool2d: a window of 5 does not fit/);
  assert.match(await messageOf(() => ops.avgPool2d(x, { kernel: 2, padding: 2 })), /more than half the window/);
  assert.match(await messageOf(() => ops.maxPool2d(x, { kernel: 2, stride: 0 })), /whole numbers from 1 on/);
  assert.match(
    await messageOf(() => ops.maxPool2d(x, { kernel: 2, padding: [0, -1] })),
    /padding must be whole numbers/,
  );
  assert.match(await messageOf(() => ops.adaptiveAvgPool2d(x, 0)), /the output size must be whole numbers/);
  assert.match(await messageOf(() => ops.adaptiveMaxPool2d(Tensor.zeros([4, 4]), 1)), /images are \[N,H,W,C\]/);
});

gpuTest('adaptive pooling to the size there is changes nothing, to another along one axis it does', async () => {
  const x = Tensor.from([1, 2, 3, 4], [1, 2, 2, 1]);
  for (const pool of [ops.adaptiveAvgPool2d, ops.adaptiveMaxPool2d]) {
    assert.is(pool(x, 2), x);
    assert.equal(pool(x, [1, 2]).shape, [1, 1, 2, 1]);
    assert.equal(pool(x, [2, 1]).shape, [1, 2, 1, 1]);
  }
});

test.run();
