import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../src/core/random.ts';
import { setSeed } from '../src/core/stepbuffer.ts';
import type { Tensor } from '../src/core/tensor.ts';
import { AUGMENTATIONS, inputSide } from '../src/data/augment.ts';
import { selectImages } from '../src/data/dataset.ts';
import { drawToyfaces } from '../src/data/toyfaces.ts';
import type { Gpu } from '../src/gpu/gpu.ts';
import { Profile } from '../src/gpu/profile.ts';
import { createModel } from '../src/models/index.ts';
import * as nn from '../src/nn/index.ts';
import { planOf } from '../src/ops/matrix/plan.ts';
import { loadCheckpoint, saveCheckpoint } from '../src/train/checkpoint.ts';
import type { TrainConfig } from '../src/train/config.ts';
import { Evaluator } from '../src/train/evaluator.ts';
import { prepareKernels } from '../src/train/kernels.ts';
import { Trainer } from '../src/train/trainer.ts';
import { scratchFolder } from './files.ts';
import { gpu, gpuTest, halfTest, messageOf, onDevice } from './gpu.ts';

const config: TrainConfig = {
  ...{ arch: 'none', width: 1, head: 'vgg', pool: 1, dropout: 0, size: 16, channels: 1 },
  ...{ pretrained: null, freezeEpochs: 0, lrMult: 1, decay: 'all' },
  ...{ epochs: 1, batch: 16, accumulate: 1, optimizer: 'sgd', nesterov: false, lr: 0.05, momentum: 0.9 },
  ...{
    weightDecay: 0,
    schedule: 'constant',
    warmup: 0,
    labelSmoothing: 0.1,
    mixup: 0,
    classWeights: 'none',
    clip: null,
    ema: 0,
    augment: 'none',
    seed: 4,
    precision: 'f32',
  },
};

/** Convolution, pool, Linear: no batch norm, whose statistics are of the batch. */
function network(): nn.Module {
  const random = new Random(1, 1);
  return new nn.Sequential([
    new nn.Conv2d({ inChannels: 1, outChannels: 8, kernel: 3, padding: 1 }, random),
    nn.relu(),
    nn.maxPool2d({ kernel: 2 }),
    nn.flatten(),
    new nn.Linear({ inFeatures: 8 * 8 * 8, outFeatures: 7, std: 0.05 }, random),
  ]);
}

const values = async (tensors: Iterable<Tensor>) => {
  const all: number[] = [];
  for (const tensor of tensors) all.push(...(await tensor.read()));
  return all;
};

/** Momentum, which after one step is the gradient, and weights after `steps` steps. */
async function trained(change: Partial<TrainConfig>, steps: number, model = network(), images?: Uint32Array) {
  const { train: all, valid } = drawToyfaces(64);
  const train = images ? selectImages(all, images) : all;
  const parts = { model, config: { ...config, ...change }, train, valid, normalisation: { mean: [0.5], std: [0.25] } };
  const trainer = new Trainer(parts, 7);
  await trainer.run({
    afterStep: async ({ step }) => step === steps,
    progress: () => {},
    epochEnd: async () => {},
  });
  return { momentum: await values(trainer.optimizer.state()[0]!), weights: await values(model.parameters().values()) };
}

gpuTest('before the first step kernels are chosen for validation, too, where it has fewer images than a batch', () =>
  onDevice({}, async (other) => {
    const { train, valid } = drawToyfaces(64);
    const five = selectImages(valid, Uint32Array.from([0, 1, 2, 3, 4]));
    const parts = { model: network(), config, train, valid: five, normalisation: { mean: [0.5], std: [0.25] } };
    const trainer = new Trainer(parts, 7);
    const chosen = () => [...planOf(other).used()];
    await prepareKernels(other, () => trainer.rehearse(), 'usual');
    const before = chosen();
    await trainer.validate();
    assert.equal(chosen(), before);
    assert.is(before.length, 7, 'of the convolution, whose input has no gradient, 2, of Linear 3, of five images 2');
  }),
);

gpuTest('each epoch has an order of its own, by the seed', async () => {
  const { train, valid } = drawToyfaces(32);
  const parts = { model: network(), config: { ...config, epochs: 3 }, train, valid };
  const trainer = new Trainer({ ...parts, normalisation: { mean: [0.5], std: [0.25] } }, 7);
  const asked: number[][] = [];
  const { order } = trainer.train;
  trainer.train.order = (epoch, seed) => {
    asked.push([epoch, seed!]);
    return order.call(trainer.train, epoch, seed);
  };
  await trainer.run({ afterStep: async () => false, progress: () => {}, epochEnd: async () => {} });
  assert.equal(asked, [[0, 4], [1, 4], [2, 4]]); // biome-ignore format: pairs
  const unordered = { ...parts, config: { ...config, seed: 0.5 }, normalisation };
  assert.throws(() => new Trainer(unordered, 7), /^seed 0\.5: it is a whole number \(0 to 4294967295\)\.$/);
});

const linear = (side: number) =>
  new nn.Sequential([nn.flatten(), new nn.Linear({ inFeatures: side * side, outFeatures: 7 }, new Random(1, 1))]);
const normalisation = { mean: [0.5], std: [0.25] };

gpuTest('the loss of an epoch is that of all its images, of however many batches it has', async () => {
  const { train, valid } = drawToyfaces(140);
  const change = { batch: 1, lr: 1e-30, labelSmoothing: 0 };
  const trainer = new Trainer({ model: linear(16), config: { ...config, ...change }, train, valid, normalisation }, 7);
  const losses: number[] = [];
  await trainer.run({
    afterStep: async () => false,
    progress: () => {},
    epochEnd: async ({ train }) => void losses.push(train.loss, train.count),
  });
  const all = await new Evaluator(train, { batch: 20, size: 16, channels: 1, normalisation }).predictions(linear(16));
  const want = all.reduce((sum, { loss }) => sum + loss, 0);
  assert.is(losses[1], train.count);
  assert.ok(Math.abs(losses[0]! / want - 1) < 1e-5, `${losses[0]}, not ${want}`);
});

gpuTest('validation sees what the augmentation starts from, of which nothing is drawn', async () => {
  const { train, valid } = drawToyfaces(28);
  for (const augment of ['crop', 'fastai', 'fer'] as const) {
    const change = { size: null, augment } as const;
    const side = inputSide(AUGMENTATIONS[augment], valid.side);
    const model = linear(side);
    const trainer = new Trainer({ model, config: { ...config, ...change }, train, valid, normalisation }, 7);
    const { framing } = AUGMENTATIONS[augment];
    const shared = { batch: 16, size: side, channels: 1, normalisation, framing } as const;
    assert.equal(await trainer.validate(), await new Evaluator(valid, shared).predictions(model), augment);
  }
});

const apart = (a: readonly number[], b: readonly number[]) => Math.max(...a.map((value, i) => Math.abs(value - b[i]!)));
const largest = (a: readonly number[]) => Math.max(...a.map(Math.abs));

gpuTest('--accumulate 2 with batch 8 has the gradients of batch 16, and --accumulate 4 with batch 4', async () => {
  const whole = await trained({}, 1);
  const later = await trained({}, 3);
  for (const accumulate of [2, 4]) {
    const parts = { batch: 16 / accumulate, accumulate };
    const first = await trained(parts, 1);
    assert.ok(apart(first.momentum, whole.momentum) <= 1e-6 * largest(whole.momentum), 'gradients');
    const third = await trained(parts, 3);
    assert.ok(apart(third.weights, later.weights) <= 1e-5 * largest(later.weights), 'weights after three steps');
  }
  const half = await trained({ batch: 8 }, 1);
  assert.ok(
    apart(half.momentum, whole.momentum) > 1e-2 * largest(whole.momentum),
    'half the batch is another gradient',
  );
});

gpuTest('so it has with class weights, whose mean divides by what all images of an update weigh', async () => {
  const { labels } = drawToyfaces(64).train;
  // Of each class one more than of the one before.
  const many = Array.from(labels.keys()).filter(
    (i) => labels.slice(0, i).filter((c) => c === labels[i]).length <= labels[i]!,
  );
  const unequal = Uint32Array.from(many).slice(0, 16);
  const weighted = { classWeights: 'balanced', schedule: 'constant' } as const;
  for (const precision of gpu.adapter.features.has('shader-f16') ? (['f32', 'f16'] as const) : (['f32'] as const)) {
    const whole = await trained({ ...weighted, precision }, 1, network(), unequal);
    const parts = await trained({ ...weighted, precision, batch: 4, accumulate: 4 }, 1, network(), unequal);
    const bound = precision === 'f32' ? 1e-6 : 1e-2;
    assert.ok(apart(parts.momentum, whole.momentum) <= bound * largest(whole.momentum), precision);
  }
});

/** Counts the calls of `forward` between two steps. */
class Counted extends nn.Sequential {
  readonly calls: number[] = [];
  private count = 0;

  override forward(x: Tensor): Tensor {
    this.count++;
    return super.forward(x);
  }

  stepDone(): void {
    this.calls.push(this.count);
    this.count = 0;
  }
}

/** Three epochs with their validations: weights, losses, and where the network's code ran. */
async function epochs({ stream }: Gpu, change: Partial<TrainConfig>, eager: boolean) {
  const { train, valid } = drawToyfaces(112);
  const random = new Random(1, 1);
  const model = new Counted([
    new nn.Conv2d({ inChannels: 1, outChannels: 8, kernel: 3, padding: 1 }, random),
    new nn.BatchNorm(8, { relu: true }),
    nn.maxPool2d({ kernel: 2 }),
    nn.flatten(),
    new nn.Dropout(0.25),
    new nn.Linear({ inFeatures: 8 * 8 * 8, outFeatures: 7, std: 0.05 }, random),
  ]);
  setSeed(1);
  const recipe: Partial<TrainConfig> = { epochs: 3, batch: 8, schedule: 'one-cycle', augment: 'crop', ...change };
  const parts = { model, config: { ...config, ...recipe }, train, valid, normalisation: { mean: [0.5], std: [0.25] } };
  const trainer = new Trainer(parts, 7);
  const losses: number[] = [];
  // Under a profile every step is eager.
  stream.profile = eager ? new Profile() : null;
  await trainer.run({
    afterStep: async () => {
      model.stepDone();
      return false;
    },
    progress: () => {},
    epochEnd: async ({ train, valid }) => {
      losses.push(train.loss, valid.loss);
      model.stepDone();
    },
  });
  stream.profile = null;
  const state = [...model.state().values()].map(({ tensor }) => tensor);
  return { losses, values: await values([...state, ...trainer.optimizer.state().flat()]), calls: model.calls };
}

const mixing = { mixup: 0.4, augment: 'fastai' } as const;

const recipes: Partial<TrainConfig>[] = [
  {},
  { accumulate: 3, optimizer: 'adamw' },
  mixing,
  { accumulate: 2, classWeights: 'balanced', clip: 0.5, ema: 0.9 },
];
for (const change of recipes) {
  gpuTest(`recorded steps have the bits of eager ones: ${JSON.stringify(change)}`, async () => {
    // On devices of their own: memory that is collected after other tests would be taken into a recording.
    const eager = await onDevice({}, (own) => epochs(own, change, true));
    const recorded = await onDevice({}, (own) => epochs(own, change, false));
    assert.equal(recorded.losses, eager.losses);
    assert.equal(recorded.values, eager.values);
    assert.ok(eager.calls.every((count) => count > 0));
    // Each kind of pass runs twice, and in the first validation two batches.
    const { accumulate = 1 }: Partial<TrainConfig> = change;
    const steps = (recorded.calls.length - 3) / 3;
    assert.ok(steps > 3);
    const expected = recorded.calls.map((_, i) => (i < 2 ? accumulate : i === steps ? 2 : 0));
    assert.equal(recorded.calls, expected);
  });
}

/** Stops after `steps` steps of the run; a divergence, or any other error, is thrown. */
const until = (trainer: Trainer, steps: number) =>
  trainer.run({ afterStep: async () => trainer.steps === steps, progress: () => {}, epochEnd: async () => {} });

halfTest(
  'f16: a run continued from a checkpoint has the bits of one in a go, updates left out on the way included',
  async () => {
    const scratch = scratchFolder();
    const { train, valid } = drawToyfaces(64);
    const start = () => {
      setSeed(7);
      const model = createModel('vgg11_bn', { classes: 7, size: 32, width: 1 / 16, head: 'fastai', dropout: 0.5 });
      const change = {
        size: 32,
        channels: 3,
        epochs: 2,
        optimizer: 'adamw',
        lr: 1e-3,
        precision: 'f16',
        ...mixing,
      } as const;
      const parts = {
        model,
        config: { ...config, ...change },
        train,
        valid,
        normalisation: { mean: [0.5], std: [0.25] },
      };
      return new Trainer(parts, 7);
    };
    const everything = async ({ model, optimizer, lossScale }: Trainer) => ({
      scale: await lossScale!.read(),
      values: await values([...[...model.state().values()].map(({ tensor }) => tensor), ...optimizer.state().flat()]),
    });
    // So high that the first gradients overflow.
    const high = { scale: 2 ** 21, good: 0, updates: 0, skipped: 0 };
    try {
      const whole = start();
      whole.lossScale!.restore(high);
      await until(whole, 7);
      const want = await everything(whole);
      const { skipped, updates } = want.scale;
      assert.ok(skipped >= 2 && updates >= 2 && skipped + updates === 7, `${skipped} left out, ${updates} made`);

      const first = start();
      first.lossScale!.restore(high);
      await until(first, 2);
      const path = scratch.write('checkpoint.safetensors', '');
      await saveCheckpoint(path, first, { seconds: 0, epochSeconds: 0, best: null });
      const second = start();
      loadCheckpoint(path, second);
      assert.equal(await second.lossScale!.read(), await first.lossScale!.read());
      await until(second, 7);
      assert.equal(await everything(second), want);
    } finally {
      scratch.remove();
    }
  },
);

halfTest('f16: --accumulate 2 has the gradients of one batch, and those are nearly f32’s', async () => {
  const whole = await trained({ precision: 'f16' }, 1);
  const halves = await trained({ precision: 'f16', batch: 8, accumulate: 2 }, 1);
  const plain = await trained({}, 1);
  assert.ok(apart(halves.momentum, whole.momentum) <= 1e-6 * largest(whole.momentum), 'gradients');
  // Two values of a pool's window that f16 makes equal send a gradient another way, so only all of them together are near.
  const norm = (a: readonly number[]) => Math.sqrt(a.reduce((sum, value) => sum + value * value, 0));
  const off = norm(plain.momentum.map((value, i) => value - whole.momentum[i]!)) / norm(plain.momentum);
  assert.ok(off < 0.05, `${off} of the gradients in f32`);
});

const features = gpu.adapter.features.has('shader-f16');
(features ? test.skip : test)('an adapter without f16 is refused before anything is made', async () => {
  assert.match(
    await messageOf(() => trained({ precision: 'f16' }, 1)),
    /^precision f16: .* has no shader-f16\. Use precision f32/,
  );
});

test.run();
