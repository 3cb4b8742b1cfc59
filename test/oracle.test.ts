import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { fixture, type Logits, startingImages, startingWeights, type Trajectory } from './fixtures/vgg.ts';
import type { Values } from './reference.ts';
import * as ref from './reference.ts';

/** torch.optim's keyword arguments in our spelling. */
const camel = (options: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(options).map(([key, value]) => [key.replace(/_(.)/g, (_, c: string) => c.toUpperCase()), value]),
  );

function near(got: ArrayLike<number>, want: ArrayLike<number>, tolerance: number): void {
  assert.is(got.length, want.length);
  Array.from(want).forEach((value, i) => {
    assert.ok(Math.abs(got[i]! - value) <= tolerance, `[${i}]: got ${got[i]}, want ${value}`);
  });
}

interface Run {
  options: Record<string, unknown>;
  parameter: number[];
  gradients: number[][];
  after: number[][];
}

interface OneCycle {
  options: { epochs: number; stepsPerEpoch: number; lrMax: number };
  lr: number[];
  momentum: number[];
}

const schedules = fixture<{ sgd: Run[]; adam: Run[]; adamw: Run[]; oneCycle: OneCycle[] }>('schedules.json');

const optimizers = { sgd: ref.sgd, adam: ref.adam, adamw: ref.adamw };

for (const name of ['sgd', 'adam', 'adamw'] as const) {
  for (const { options, parameter, gradients, after } of schedules[name]) {
    test(`${name} ${JSON.stringify(options)} takes torch.optim's five steps`, () => {
      const step = optimizers[name] as (s: ref.Slot, gradient: number[], options: unknown) => void;
      const s = ref.slot(parameter);
      gradients.forEach((gradient, i) => {
        step(s, gradient, camel(options));
        near(s.parameter, after[i]!, 1e-14);
      });
    });
  }
}

for (const { options, lr, momentum } of schedules.oneCycle) {
  test(`one cycle over ${options.epochs} × ${options.stepsPerEpoch} steps is fast.ai's`, () => {
    const totalSteps = options.epochs * options.stepsPerEpoch;
    const rates = lr.map((_, step) => ref.oneCycle(step, { ...options, totalSteps }));
    const lrs = rates.map((rate) => rate.lr);
    const momenta = rates.map((rate) => rate.momentum);
    near(lrs, lr, 1e-15);
    near(momenta, momentum, 1e-15);
  });
}

/** vgg16_bn from torchvision's state_dict, in f64 and channels last: logits [N,7]. Trains if it has no running statistics. */
function vgg(images: Values, weights: Map<string, Values>, size: number): Values {
  const at = (name: string): Values => weights.get(name)!;
  let x = images;
  // torchvision's `features` numbers layers one by one: conv, batch norm, ReLU; a pool takes one number.
  let layer = 0;
  for (const convolutions of [2, 2, 3, 3, 3]) {
    for (let i = 0; i < convolutions; i++, layer += 3) {
      const w = ref.permute(at(`features.${layer}.weight`), [0, 2, 3, 1]);
      const y = ref.conv2d(x, w, at(`features.${layer}.bias`), { padding: 1 });
      const bn = `features.${layer + 1}`;
      const gamma = at(`${bn}.weight`);
      const training = !weights.has(`${bn}.running_mean`);
      const mean = training ? ref.values(gamma.shape) : at(`${bn}.running_mean`);
      const variance = training ? ref.values(gamma.shape) : at(`${bn}.running_var`);
      x = ref.batchNorm(y, gamma, at(`${bn}.bias`), mean, variance, { training, relu: true }).y;
    }
    x = ref.maxPool2d(x, { kernel: 2 });
    layer++;
  }
  x = ref.adaptiveAvgPool2d(x, size);
  // The files' Linear reads (c,h,w).
  x = ref.flatten(ref.permute(x, [0, 3, 1, 2]));
  for (const i of [0, 3, 6]) {
    x = ref.linear(x, at(`classifier.${i}.weight`), at(`classifier.${i}.bias`));
    if (i < 6) x = ref.relu(x);
  }
  return x;
}

test("VGG's loss at step 1 of the trajectory is PyTorch's, from weights and images made here", () => {
  const { seed, imagesTensor, batch, side, tensors, sgd } = fixture<Trajectory>('vgg_trajectory.json');
  const y = vgg(startingImages(seed, imagesTensor, batch, side), startingWeights(seed, tensors), 1);
  const labels = Array.from({ length: batch }, (_, i) => i % 7);
  near(ref.crossEntropy(y, labels).data, [sgd.loss[0]!], 1e-11);
});

test("VGG's logits with --pool 7 and running statistics are PyTorch's", () => {
  const { seed, imagesTensor, pool7 } = fixture<Logits>('logits.json');
  const y = vgg(startingImages(seed, imagesTensor, pool7.batch, pool7.side), startingWeights(seed, pool7.tensors), 7);
  near(y.data, pool7.logits.flat(), 1e-11);
});

test.run();
