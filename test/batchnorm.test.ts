import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Tensor } from '../src/core/tensor.ts';
import * as ops from '../src/ops/index.ts';
import { batchNormCases, batchNormInputs } from './cases/batchnorm.ts';
import { close } from './check.ts';
import { BEYOND_ONE_ROW, equalAtSamples, fromValues, pattern, patternAt } from './exact.ts';
import { gpuTest, gradcheckAll, messageOf } from './gpu.ts';
import * as ref from './reference.ts';

gradcheckAll(batchNormCases);

for (const [shape, momentum, offset] of [
  [[4, 3, 3, 5], 0.1, 0],
  [[2, 1], 0.1, 0],
  [[40, 13, 70], 0.25, 0],
  [[4, 5, 5, 3], 0.1, 1000],
] as const) {
  gpuTest(`running statistics of [${shape}] move as PyTorch's, momentum ${momentum}, mean near ${offset}`, async () => {
    const inputs = batchNormInputs(shape, 77, offset);
    const [x, gamma, beta, mean, variance] = inputs.map((value) => fromValues(value)) as [
      Tensor,
      Tensor,
      Tensor,
      Tensor,
      Tensor,
    ];
    ops.batchNorm(x, gamma, beta, mean, variance, { training: true, momentum });
    const want = ref.batchNorm(...inputs, { training: true, momentum });
    close(await mean.read(), want.runningMean, { ulps: 16 }, 'running mean');
    // σ² is the mean of squares of x − μ: its terms are |x − μ|², and μ's error counts in second order only.
    close(await variance.read(), want.runningVar, { ulps: 16 }, 'running variance');
  });
}

gpuTest('evaluation leaves the running statistics alone', async () => {
  const inputs = batchNormInputs([6, 3], 78);
  const [x, gamma, beta, mean, variance] = inputs.map((value) => fromValues(value)) as [
    Tensor,
    Tensor,
    Tensor,
    Tensor,
    Tensor,
  ];
  ops.batchNorm(x, gamma, beta, mean, variance, { training: false });
  assert.equal([...(await mean.read())], [...inputs[3].data]);
  assert.equal([...(await variance.read())], [...inputs[4].data]);
});

gpuTest('a constant channel gives β, and no NaN', async () => {
  const x = Tensor.from(new Float32Array(12).fill(3), [4, 3], { requiresGrad: true });
  const one = Tensor.full([3], 1);
  const y = ops.batchNorm(x, one, Tensor.from([1, -2, 5]), Tensor.zeros([3]), Tensor.full([3], 1), { training: true });
  assert.equal([...(await y.read())].slice(0, 3), [1, -2, 5]);
  ops.sum(y).backward();
  assert.ok((await x.grad!.read()).every(Number.isFinite));
});

gpuTest('reaches past 65,535 workgroups', async () => {
  const channels = 3;
  const size = channels * Math.ceil(BEYOND_ONE_ROW / channels);
  const x = Tensor.from(pattern(size), [size / channels, channels]);
  const [gamma, mean, variance] = [Tensor.full([channels], 2), Tensor.full([channels], 1), Tensor.full([channels], 4)];
  const y = ops.batchNorm(x, gamma, Tensor.zeros([channels]), mean, variance, { training: false, eps: 0, relu: true });
  equalAtSamples(await y.read(), (i) => Math.max(patternAt(i) - 1, 0));
});

gpuTest('one value a channel, or another number of channels, is refused', async () => {
  const one = (size: number) => Tensor.full([size], 1);
  const norm = (shape: number[], c: number, training = true) =>
    ops.batchNorm(Tensor.zeros(shape), one(c), one(c), one(c), one(c), { training });
  assert.match(await messageOf(() => norm([1, 1, 1, 8], 8)), /one value per channel, whose variance is 0/);
  assert.match(await messageOf(() => norm([4, 8], 7)), /has 8 channels but gamma is \[7\]/);
  norm([1, 8], 8, false);
});

test.run();
