// What a program may get wrong is refused in words, or comes to the same; none of it goes on with other numbers.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { kernel } from '../src/core/kernel.ts';
import { repeated } from '../src/core/repeat.ts';
import { keep, step } from '../src/core/step.ts';
import { Tensor } from '../src/core/tensor.ts';
import * as nn from '../src/nn/index.ts';
import * as ops from '../src/ops/index.ts';
import * as optim from '../src/optim/index.ts';
import { gpuTest, halfTest, messageOf, onDevice } from './gpu.ts';

const parameter = (values: readonly number[], shape = [values.length]): Tensor =>
  Tensor.from(values, shape, { requiresGrad: true });
const brokenKernel = (name: string) =>
  kernel(
    name,
    'main',
    `@group(0) @binding(0) var<storage, read_write> y: array<f32>;\n@compute @workgroup_size(1) fn main() { y[0] = ; }`,
  );

gpuTest('a step reads nothing: what it sets later would come too late', async () => {
  const p = parameter([1]);
  const optimizer = new optim.SGD([p]);
  const messages: Promise<string>[] = [];
  for (const lr of [0.1, 0.01]) {
    await step(() => {
      const loss = ops.sum(p);
      messages.push(messageOf(() => loss.item()));
      loss.backward();
      optimizer.step({ lr, momentum: 0 });
    });
  }
  for (const message of messages) assert.match(await message, /^read: a step reads nothing; return the tensor from it/);
  assert.ok(Math.abs((await p.item()) - 0.89) < 1e-6);
});

gpuTest('dropout goes back in its own step', async () => {
  const x = parameter(new Array(64).fill(1));
  const y = await step(() => keep(ops.sum(ops.dropout(x, 0.5, { training: true }))));
  const message = await messageOf(() => step(() => y.backward()));
  assert.match(message, /^dropout: backward\(\) would draw another mask in another step/);
});

gpuTest('what a repeated step recorded before it threw is done, as in any step', async () => {
  const p = parameter([1]);
  const optimizer = new optim.SGD([p]);
  let fails = false;
  const once = repeated(
    (lr: number, failing: boolean) => {
      optimizer.prepare({ lr, momentum: 0 });
      fails = failing;
    },
    () => {
      ops.sum(ops.mul(p, p)).backward();
      if (fails) throw new Error('in the middle');
      optimizer.apply();
    },
  );
  assert.is(await messageOf(() => once(0.25, true)), 'in the middle');
  assert.is(await p.grad!.item(), 2);
  // The gradient that is there is added to.
  await once(0.25, false);
  assert.is(await p.item(), 1 - 0.25 * 4);
});

gpuTest('a kernel that does not compile takes no other command with it', async () => {
  const p = parameter([1, 2, 3]);
  const optimizer = new optim.SGD([p]);
  const y = Tensor.zeros([4]);
  brokenKernel('broken_among_others')({}, { y }, {}, 1);
  const other = Tensor.zeros([4]).fill(5);
  assert.match(await messageOf(() => y.read()), /broken_among_others/);
  assert.equal([...(await other.read())], [5, 5, 5, 5]);
  assert.equal([...(await p.read())], [1, 2, 3]);
  assert.is(optimizer.steps, 0);
});

gpuTest('a gradient that summed to zero and was written over has a bias gradient', async () => {
  const values = Float32Array.from({ length: 24 }, (_, i) => Math.sin(3 * i));
  const [one, zero] = [Tensor.full([3], 1), Tensor.zeros([3])];
  const [mean, variance] = [Tensor.full([3], 0.1), Tensor.full([3], 0.7)];
  const biasOf = async (between: (y: Tensor) => Tensor) => {
    const bias = parameter([0.1, 0.2, 0.3]);
    const x = Tensor.from(values, [8, 3]);
    const weight = parameter([1, 0.2, 0.1, 0, 1, 0.3, 0.5, 0, 1], [3, 3]);
    const evaluated = ops.batchNorm(ops.linear(x, weight, bias), one, zero, mean, variance, {
      training: false,
      relu: true,
    });
    const trained = ops.batchNorm(between(evaluated), one, zero, mean.detach(), variance.detach(), {
      training: true,
      momentum: 0,
    });
    ops.sum(ops.mul(trained, Tensor.from(values.map(Math.cos), [8, 3]))).backward();
    return bias.grad!.read();
  };
  const [plain, apart] = [await biasOf((y) => y), await biasOf((y) => ops.mul(y, 1))];
  assert.ok(apart.some((value) => Math.abs(value) > 0.1));
  for (const [c, value] of plain.entries()) assert.ok(Math.abs(value - apart[c]!) < 1e-4, `${[...plain]}`);
});

gpuTest('one parameter as scale and shift of a batch norm gets both gradients', async () => {
  const x = Tensor.from([1, 2, 3, 5], [4, 1]);
  const gradientOf = async (same: boolean) => {
    const gamma = parameter([0.5]);
    const beta = same ? gamma : parameter([0.5]);
    new optim.SGD(new Set([gamma, beta]));
    const [mean, variance] = [Tensor.zeros([1]), Tensor.full([1], 1)];
    await step(() => {
      const y = ops.batchNorm(x, gamma, beta, mean, variance, { training: true });
      ops.sum(ops.mul(y, Tensor.from([1, 2, 4, 8], [4, 1]))).backward();
    });
    return (await gamma.grad!.item()) + (same ? 0 : await beta.grad!.item());
  };
  assert.ok(Math.abs((await gradientOf(true)) - (await gradientOf(false))) < 1e-4);
});

gpuTest('updates that would come to nothing, or to anything, are refused', async () => {
  const p = parameter([1]);
  const adam = new optim.AdamW([p]);
  const unprepared = () =>
    step(() => {
      ops.sum(p).backward();
      adam.apply();
    });
  assert.match(await messageOf(unprepared), /^apply: the numbers of this update are not set\. Call `prepare\(rates\)`/);
  const forgotten = repeated(
    (_: number) => {},
    () => {
      ops.sum(p).backward();
      adam.apply();
    },
  );
  for (let i = 0; i < 4; i++) {
    if (i < 3) adam.prepare({ lr: 0.1 });
    const message = i < 3 ? null : await messageOf(() => forgotten(i));
    if (message === null) await forgotten(i);
    else assert.match(message, /^apply: the numbers/, 'a replay notices it, too');
  }
  const refused: [() => unknown, RegExp][] = [
    [() => new optim.SGD([p], { weightDecay: -1 }), /^the optimizer: weightDecay is -1; it is 0 or more\.$/],
    [() => new optim.Adam([p], { beta2: 1 }), /^the optimizer: beta2 is 1; /],
    [() => new optim.Adam([p], { eps: -1 }), /^the optimizer: eps is -1; /],
    [() => new optim.SGD([p], { clip: -1 }), /clip/],
    [() => new optim.SGD([p], { ema: 1 }), /^ema is 1; /],
    [() => new optim.SGD([{ params: [p], lrScale: Number.NaN }]), /^the optimizer: lrScale is NaN; it is a number\.$/],
    [() => new optim.SGD([p], { weightDecay: Number.POSITIVE_INFINITY }), /^the optimizer: weightDecay is Infinity; /],
    [
      () => new optim.SGD([ops.mul(p, 2)]),
      /^a parameter \[1\] was computed from others, .* give the optimizer those\.$/,
    ],
    [
      () => adam.prepare({ lr: 0.1, momentum: 1 }),
      /^the optimizer's step has momentum 1, which is β₁; it is 0 or more, /,
    ],
    [() => adam.prepare({ lr: 0.1, momentum: Number.NaN }), /^the optimizer's step has momentum NaN, which is β₁; /],
  ];
  for (const [act, message] of refused) assert.match(await messageOf(act), message);
  // None of those has taken the parameter over.
  await step(() => {
    ops.sum(p).backward();
    adam.step({ lr: 0.1 });
  });
});

gpuTest('an optimizer’s options may be undefined, and its layers are those that a step has rates for', async () => {
  const [p, q] = [parameter([1]), parameter([1])];
  const groups = [{ params: [p], lrScale: undefined, weightDecay: undefined } as unknown as optim.ParamGroup];
  assert.equal(new optim.AdamW(groups).groups, [{ params: [p], lrScale: 1, weightDecay: 0.01, layer: 0 }]);
  const none = { weightDecay: undefined, beta2: undefined } as unknown as optim.AdamOptions;
  assert.is(new optim.AdamW([p], none).groups[0]!.weightDecay, 0.01);
  assert.is(optim.fastaiAdam([p], none).groups[0]!.weightDecay, 0.01);
  const sgd = new optim.SGD([{ params: [p] }, { params: [q], layer: 2 }]);
  const message = await messageOf(() => sgd.prepare({ lr: 0.1, layerLrs: [0.1, 0.2] }));
  assert.is(message, 'the optimizer has parameters of layer 2; layerLrs has 2 rates.');
  const flat = new optim.SGD([p, q]);
  assert.is(
    await messageOf(() => flat.prepare({ lr: 0.1, layerLrs: [0.1, 0.2] })),
    "the optimizer's parameters are of no layers, and layerLrs has 2 rates. Give it the groups of `train.paramGroups(model)`.",
  );
  flat.prepare({ lr: 0.1, layerLrs: [0.2] });
  new optim.SGD([{ params: [q], layer: 0 }]).prepare({ lr: 0.1, layerLrs: [0.1, 0.2] });
});

gpuTest('an optimizer is made for parameters of the GPU in use', async () => {
  const here = parameter([1, 2]);
  await onDevice({}, async () => {
    const refusal = /^a parameter is on another GPU than the one in use; `useGpu` says which that is\.$/;
    assert.match(await messageOf(() => new optim.SGD([here])), refusal);
    assert.match(await messageOf(() => new optim.SGD([parameter([3]), here])), refusal);
  });
  assert.equal([...(await here.read())], [1, 2]);
});

gpuTest('tensors that an operation cannot take are named', async () => {
  const logits = Tensor.zeros([2, 3]);
  const labels = Tensor.from(Uint32Array.of(0, 1));
  const scalar = Tensor.zeros([]);
  const fields = Array.from({ length: 65 }, (_, i) => `p${i}: u32`);
  const code = `struct Params { ${fields.join(', ')} }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(1) fn main() { y[0] = f32(params.p64); }`;
  const tooMany = kernel('too_many_fields', 'main', code);
  const values = Object.fromEntries(fields.map((_, i) => [`p${i}`, i]));
  const seven = (of: number) => new Array<number>(7).fill(of);
  const deep = Tensor.zeros(seven(2));
  const normed = (x: Tensor, options: object) => () =>
    ops.batchNorm(x, ...([3, 3, 3, 3].map((c) => Tensor.zeros([c])) as [Tensor, Tensor, Tensor, Tensor]), {
      training: true,
      ...options,
    });
  const refused: [() => unknown, RegExp][] = [
    [() => ops.softmax(scalar), /^softmax: a tensor \[\] has no dimension/],
    [() => ops.logSoftmax(scalar), /^logSoftmax: a tensor \[\] has no dimension/],
    [() => ops.crossEntropy(scalar, labels), /^crossEntropy: a tensor \[\] has no dimension/],
    [() => ops.flatten(scalar), /^flatten: a tensor \[\] has no dimension/],
    [() => ops.linear(scalar, logits, null), /^linear: x is \[\] and w \[2,3\]; they are \[N,in\] and \[out,in\]/],
    [() => ops.linear(logits, labels, null), /^linear: x is \[2,3\] and w \[2\]; they are/],
    [
      () => ops.linear(Tensor.zeros([2, 5, 3]), logits, null),
      /^linear: w \[2,3\] takes \[N,3\] but x is \[2,5,3\]\. Reshape it to \[-1,3\] before, and the result back after\.$/,
    ],
    [normed(scalar, {}), /^batchNorm: a tensor \[\] has no channels/],
    [normed(logits, { momentum: Number.NaN }), /^batchNorm: momentum is NaN; it is a share from 0 to 1/],
    [normed(logits, { eps: -1 }), /^batchNorm: eps is -1; it is 0 or more/],
    [
      () => ops.permute(deep, [6, 5, 4, 3, 2, 1, 0]),
      /^permute: \[2,2,2,2,2,2,2\] has 7 dimensions that do not lie side by side; at most 6/,
    ],
    [() => ops.slice(Tensor.zeros(seven(3)), seven(0), deep.shape), /^slice: .* has 7 dimensions that .*; at most 6/],
    [() => ops.pad(deep, seven(1), seven(0)), /^pad: .* has 7 dimensions that .*; at most 6/],
    [() => Tensor.from(new Array<number>(3)), /^Tensor\.from: a plain array is one of numbers/],
    [() => Tensor.from(Int32Array.of(1), [1], { requiresGrad: true }), /^requiresGrad: i32 values have no gradient/],
    [() => Object.assign(labels, { requiresGrad: true }), /^requiresGrad: u32 values have no gradient/],
    [() => ops.slice(logits, [1], [1]), /^slice: \[1\] and \[1\] must give a start and a size for each dimension/],
    [() => new nn.BatchNorm(-2), /^nn: a parameter \[-2\]; extents are whole numbers from 1 on/],
    [
      () => ops.crossEntropy(logits, labels, { reduction: 'batchmean' as 'mean' }),
      /^crossEntropy: reduction is batchmean;/,
    ],
    [() => ops.crossEntropy(Tensor.zeros([2, 4, 4, 3]), labels), /Reshape maps to \[-1,C\], and make labels of/],
    [
      () => ops.matmul(Tensor.zeros([2, 3, 4]), logits),
      /^matmul: .*must be matrices\. Reshape them, or multiply slices\.$/,
    ],
    [() => ops.crossEntropy(logits, labels, { labelSmoothing: 2 }), /^crossEntropy: labelSmoothing is 2; /],
    [() => labels.fill(0.5), /^Tensor\.fill: the tensor is u32, which has no 0\.5\.$/],
    [() => labels.fill(-1), /^Tensor\.fill: the tensor is u32, which has no -1\.$/],
    [() => tooMany({}, { y: logits }, values, 1), /Params has 65 fields; at most 64/],
  ];
  for (const [act, message] of refused) assert.match(await messageOf(act), message);
});

gpuTest('a sum over no axis is a copy; values over shared memory are taken', async () => {
  const x = Tensor.from([1, 2]);
  const sum = ops.sum(x, []);
  x.fill(7);
  assert.equal([...(await sum.read())], [1, 2]);
  const shared = new Float32Array(new SharedArrayBuffer(12), 4);
  shared.set([3, 4]);
  assert.equal([...(await Tensor.from(shared).read())], [3, 4]);
});

halfTest('parameters are f32; a loss scale is one optimizer’s, and has to be used', async () => {
  const half = Tensor.from([1, 2], [2], { dtype: 'f16', requiresGrad: true });
  assert.match(await messageOf(() => new optim.SGD([half])), /^a parameter \[2\] is f16; parameters are f32/);
  const [p, q] = [parameter([1]), parameter([1])];
  const lossScale = new optim.LossScale();
  const [first, second] = [p, q].map((one) => new optim.SGD([one], { lossScale })) as [optim.SGD, optim.SGD];
  const update = (one: Tensor, optimizer: optim.SGD, dy?: Tensor) =>
    step(() => {
      ops.sum(one).backward(dy);
      optimizer.step({ lr: 0.1 });
    });
  assert.match(await messageOf(() => update(p, first)), /^a later optimizer has taken over the loss scale of this one/);
  const unscaled = /^the gradients are not scaled, and would be divided/;
  assert.match(await messageOf(() => update(q, second)), unscaled);
  second.zeroGrad();
  await update(q, second, lossScale.gradient());
  assert.match(await messageOf(() => update(q, second)), unscaled, 'each update asks for it anew');
});

test('f16 where the adapter does not compute in it is refused', () =>
  onDevice({ adapter: 'null' }, async ({ device, adapter }) => {
    const features = { value: new Set() };
    Object.defineProperty(device, 'features', features);
    Object.defineProperty(adapter, 'features', features);
    const mend = /: .* has no shader-f16\. Use f32, or an adapter that has it/;
    assert.match(await messageOf(() => ops.cast(Tensor.zeros([4]), 'f16')), mend);
    assert.match(await messageOf(() => new optim.LossScale()), mend);
  }));

test.run();
