import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Tensor } from '../src/core/tensor.ts';
import * as ops from '../src/ops/index.ts';
import { batchNormCases, batchNormInputs, manyChunks } from './cases/batchnorm.ts';
import { gradcheck } from './cases/case.ts';
import { close, u, uniform } from './check.ts';
import { BEYOND_ONE_ROW, equalAtSamples, fromValues, pattern, patternAt } from './exact.ts';
import { gpuTest, gradcheckAll, messageOf, onDevice } from './gpu.ts';
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

gpuTest("with momentum 1 the running statistics are the batch's, however small", async () => {
  const values = Float32Array.from([1, -2, 3, 2, -1, 4], (v) => v / 1024);
  const [mean, variance, one] = [Tensor.full([1], 1), Tensor.full([1], 1), Tensor.full([1], 1)];
  ops.batchNorm(Tensor.from(values, [6, 1]), one, one, mean, variance, { training: true, momentum: 1 });
  const [m, v] = [await mean.item(), await variance.item()];
  assert.ok(Math.abs(m * 1024 * (6 / 7) - 1) < 1e-6, `mean ${m}`);
  assert.ok(Math.abs((v * 1024 ** 2 * 30) / 161 - 1) < 1e-6, `variance ${v}`);
});

gpuTest('the variance of values far from 0 is exact to some units, over one block of rows and many', async () => {
  const one = Tensor.full([3], 1);
  for (const rows of [2, 7, 1000]) {
    const values = Float32Array.from({ length: 3 * rows }, (_, i) => 1e4 + 2 * Math.sin(i * i));
    const variance = Tensor.full([3], 0);
    const x = Tensor.from(values, [rows, 3]);
    ops.batchNorm(x, one, one, Tensor.full([3], 0), variance, { training: true, momentum: 1 });
    const want = ref.channelMoments({ shape: [rows, 3], data: Float64Array.from(values) });
    const got = await variance.read();
    for (const [c, biased] of want.variance.entries()) {
      const apart = Math.abs((got[c]! * (rows - 1)) / rows / biased - 1);
      assert.ok(apart < 16 * u, `channel ${c} of ${rows} rows is ${apart / u} u off`);
    }
  }
});

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

gpuTest('a gradient that somebody else reads too is not written over', async () => {
  const values = [1, 2, -4, 3, 0, 5];
  const given = [3, -1, 2, 5, 1, -2];
  const dy = Tensor.from(given, [3, 2]);
  const normed = (b: Tensor) =>
    ops.batchNorm(b, Tensor.full([2], 1), Tensor.zeros([2]), Tensor.zeros([2]), Tensor.full([2], 1), {
      training: true,
    });
  const [a, b, alone] = [0, 1, 2].map(() => Tensor.from(values, [3, 2], { requiresGrad: true })) as [
    Tensor,
    Tensor,
    Tensor,
  ];
  ops.add(normed(b), a).backward(dy);
  normed(alone).backward(dy);
  assert.equal([...(await a.grad!.read())], given);
  assert.equal([...(await dy.read())], given);
  assert.equal(await b.grad!.read(), await alone.grad!.read());
  // What both operands of a sum pass on is one gradient.
  const [c, d] = [0, 1].map(() => Tensor.from(values, [3, 2], { requiresGrad: true })) as [Tensor, Tensor];
  ops.mul(ops.add(normed(c), normed(d)), dy).backward(Tensor.full([3, 2], 1));
  assert.equal(await c.grad!.read(), await alone.grad!.read());
  assert.equal(await d.grad!.read(), await alone.grad!.read());
});

for (const [shape, relu, withResidual] of [
  [[9, 11, 13, 4], true, false],
  [[9, 11, 13, 4], true, true],
  [[3, 5, 136], true, false],
  [[5, 3], false, true],
] as const) {
  const what = `[${shape}]${relu ? ', ReLU' : ''}${withResidual ? ', residual' : ''}`;
  gpuTest(`the gradient of an input that wants none is not computed, ${what}`, async () => {
    const [x, gamma, beta] = batchNormInputs(shape, 79);
    const c = [shape.at(-1)!];
    const gradients = async (wanted: boolean): Promise<Float32Array[]> => {
      const [input, g, b] = [x, gamma, beta].map((value) => fromValues(value)) as [Tensor, Tensor, Tensor];
      input.requiresGrad = wanted;
      g.requiresGrad = b.requiresGrad = true;
      const residual = withResidual ? fromValues(uniform(shape, 80)) : undefined;
      if (residual) residual.requiresGrad = true;
      const y = ops.batchNorm(input, g, b, Tensor.zeros(c), Tensor.full(c, 1), {
        ...{ training: true, relu },
        ...(residual && { residual }),
      });
      y.backward(fromValues(uniform(shape, 81)));
      const last = y.storage.gpu.stream.latest!.label;
      assert.match(last, wanted ? 'gradientInput' : 'gradientParameters');
      const read = [g, b, ...(residual ? [residual] : [])].map((tensor) => tensor.grad!.read());
      return (await Promise.all(read)) as Float32Array[];
    };
    assert.equal(await gradients(false), await gradients(true));
  });
}

gpuTest('one value a channel, or another number of channels, is refused', async () => {
  const one = (size: number) => Tensor.full([size], 1);
  const norm = (shape: number[], c: number, training = true) =>
    ops.batchNorm(Tensor.zeros(shape), one(c), one(c), one(c), one(c), { training });
  assert.match(await messageOf(() => norm([1, 1, 1, 8], 8)), /one value per channel, whose variance is 0/);
  assert.match(await messageOf(() => norm([4, 8], 7)), /has 8 channels but gamma is \[7\]/);
  norm([1, 8], 8, false);
  const x = Tensor.zeros([2, 8]);
  const residual = Tensor.zeros([2, 4]);
  assert.match(
    await messageOf(() => ops.batchNorm(x, one(8), one(8), one(8), one(8), { training: true, residual })),
    /x is f32 \[2,8\] but the residual f32 \[2,4\]/,
  );
});

/** Barriers take software drivers long to compile: these are few. Columns of all kinds, empty lanes, several chunks, many. */
const TREE_CASES = [
  '[9,11,13,4], training, ReLU',
  '[30,5,8], training, residual, ReLU',
  '[9,11,13,4], training, residual, ReLU',
  '[294,252], training',
  '[5,3]',
];

const withTree = (run: () => Promise<void>): Promise<void> =>
  onDevice({}, (other) => {
    Object.defineProperty(other, 'adapter', { value: { ...other.adapter, software: false } });
    return run();
  });

const passes = (name: string): Promise<void> => {
  const { make, what } = [...batchNormCases, manyChunks].find((one) => one.what === `batchNorm ${name}`)!;
  return gradcheck({ ...make(), what });
};

for (const name of TREE_CASES) {
  gpuTest(`the tree of a hardware adapter passes ${name}`, () => withTree(() => passes(name)), 180_000);
}

/** Only here does a lane of the tree walk more than a block of rows, and a block hold more than four: 18 rows a lane, in blocks of 8. */
async function manyRowsOfALane(): Promise<void> {
  const [rows, channels] = [9001, 70];
  const shape = [rows, channels];
  const [x, dy] = [1, 2].map((seed) => uniform(shape, seed)) as [ref.Values, ref.Values];
  for (let i = 0; i < x.data.length; i++) x.data[i] = Math.fround(x.data[i]! + Math.sin(i >> 12));
  const tensor = (values: ArrayLike<number>, of: number[]) =>
    Tensor.from(Float32Array.from(values), of, { requiresGrad: true });
  const [input, gamma] = [tensor(x.data, shape), tensor(new Float32Array(channels).fill(1), [channels])];
  // Far from where ReLU cuts.
  const beta = tensor(new Float32Array(channels).fill(8), [channels]);
  const [mean, variance] = [Tensor.zeros([channels]), Tensor.zeros([channels])];
  const y = ops.batchNorm(input, gamma, beta, mean, variance, { training: true, momentum: 1, eps: 0, relu: true });
  y.backward(Tensor.from(Float32Array.from(dy.data), shape));

  const want = ref.channelMoments(x);
  const columnSums = (term: (i: number) => number): number[] => {
    const sums = new Array<number>(channels).fill(0);
    for (let i = 0; i < x.data.length; i++) sums[i % channels]! += term(i);
    return sums;
  };
  const deviation = want.variance.map(Math.sqrt);
  const normal = x.data.map((value, i) => (value - want.mean[i % channels]!) / deviation[i % channels]!);
  const product = (i: number): number => dy.data[i]! * normal[i]!;
  const [dbeta, dgamma] = [columnSums((i) => dy.data[i]!), columnSums(product)];
  const dx = dy.data.map((g, i) => {
    const c = i % channels;
    return (g - (dbeta[c]! + normal[i]! * dgamma[c]!) / rows) / deviation[c]!;
  });
  const unbiased = want.variance.map((value) => (value * rows) / (rows - 1));
  const sum = (term: (i: number) => number) => ({ ulps: 8, terms: columnSums((i) => Math.abs(term(i))) });
  close(
    await mean.read(),
    want.mean,
    sum((i) => x.data[i]! / rows),
    'mean',
  );
  close(await variance.read(), unbiased, { ulps: 16 }, 'variance');
  close(
    await beta.grad!.read(),
    dbeta,
    sum((i) => dy.data[i]!),
    'dβ',
  );
  close(await gamma.grad!.read(), dgamma, sum(product), 'dγ');
  const some = (values: ArrayLike<number>): number[] => Array.from(values).filter((_, i) => i % 97 === 0);
  close(
    some(await y.read()),
    some(normal).map((value) => value + 8),
    { ulps: 16 },
    'y',
  );
  close(some(await input.grad!.read()), some(dx), { ulps: 16 }, 'dx');
}

gpuTest(
  'the tree passes [3,70], training, ReLU, and many rows of a lane',
  () =>
    withTree(async () => {
      await passes('[3,70], training, ReLU');
      await manyRowsOfALane();
    }),
  180_000,
);

gpuTest('the variance of many rows is exact to some units, wherever the first row lies', async () => {
  const rows = 20_000;
  const values = Float32Array.from({ length: 4 * rows }, (_, i) => (i < 4 ? 20 : 3 + Math.sin(i)));
  const variance = Tensor.full([4], 0);
  const one = Tensor.full([4], 1);
  ops.batchNorm(Tensor.from(values, [rows, 4]), one, one, Tensor.full([4], 0), variance, {
    training: true,
    momentum: 1,
  });
  const want = ref.channelMoments({ shape: [rows, 4], data: Float64Array.from(values) });
  const unbiased = want.variance.map((value) => (value * rows) / (rows - 1));
  close(await variance.read(), { shape: [4], data: unbiased }, { ulps: 16 }, 'variance');
});

test.run();
