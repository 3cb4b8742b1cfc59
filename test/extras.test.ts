// Class weights, clipping and the moving average as the trainer uses them; test/clip.test.ts and test/average.test.ts have the numbers.
import { createHash } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../src/core/random.ts';
import { step } from '../src/core/step.ts';
import { setSeed, setStepCounter } from '../src/core/stepbuffer.ts';
import { Tensor } from '../src/core/tensor.ts';
import { drawToyfaces } from '../src/data/toyfaces.ts';
import * as nn from '../src/nn/index.ts';
import * as ops from '../src/ops/index.ts';
import { SGD } from '../src/optim/index.ts';
import { loadCheckpoint, saveCheckpoint } from '../src/train/checkpoint.ts';
import { balancedWeights } from '../src/train/classweights.ts';
import type { TrainConfig } from '../src/train/config.ts';
import { stateTensors } from '../src/train/modelfile.ts';
import { readSafetensors, toF32, writeSafetensors } from '../src/train/safetensors.ts';
import { type EpochResult, Trainer } from '../src/train/trainer.ts';
import { close } from './check.ts';
import { scratchFolder } from './files.ts';
import { gpuTest, halfTest, messageOf } from './gpu.ts';

const config: TrainConfig = {
  ...{ arch: 'none', width: 1, head: 'vgg', pool: 1, dropout: 0, size: 16, channels: 1 },
  ...{ epochs: 3, batch: 8, accumulate: 1, optimizer: 'sgd', nesterov: false, lr: 0.05, momentum: 0.9 },
  ...{ weightDecay: 0, schedule: 'constant', warmup: 0, labelSmoothing: 0, augment: 'none', seed: 4 },
  ...{ classWeights: 'none', clip: null, ema: 0, precision: 'f32' },
  ...{ pretrained: null, freezeEpochs: 0, lrMult: 1, decay: 'all', mixup: 0 },
};

function network(): nn.Module {
  const random = new Random(1, 1);
  return new nn.Sequential([
    new nn.Conv2d({ inChannels: 1, outChannels: 8, kernel: 3, padding: 1 }, random),
    new nn.BatchNorm(8, { relu: true }),
    nn.maxPool2d({ kernel: 4 }),
    nn.flatten(),
    new nn.Dropout(0.25),
    new nn.Linear({ inFeatures: 8 * 4 * 4, outFeatures: 7, std: 0.05 }, random),
  ]);
}

/** Faces of which the classes are not equally many. */
const faces = (() => {
  const { train, valid } = drawToyfaces(70);
  const kept = Uint32Array.from([...train.labels.keys()].filter((i) => train.labels[i] !== 3 || i % 3 === 0));
  const bytes = train.side * train.side;
  const pixels = new Uint8Array(kept.length * bytes);
  for (const [k, i] of kept.entries()) pixels.set(train.pixels.subarray(i * bytes, (i + 1) * bytes), k * bytes);
  const labels = Uint8Array.from(kept, (i) => train.labels[i]!);
  return { train: { ...train, pixels, labels, count: kept.length }, valid };
})();

const normalisation = { mean: [0.5], std: [0.25] };

function trainerOf(change: Partial<TrainConfig>): Trainer {
  setSeed(7);
  return new Trainer({ model: network(), config: { ...config, ...change }, ...faces, normalisation }, 7);
}

const values = async (tensors: Iterable<Tensor>): Promise<number[]> => {
  const all: number[] = [];
  for (const tensor of tensors) all.push(...(await tensor.read()));
  return all;
};

/** Thousands of numbers as a line, which a failed assertion shows whole. */
const hash = (all: readonly number[]) => createHash('sha256').update(Float64Array.from(all)).digest('hex');
const weightsOf = async ({ model }: Trainer) =>
  hash(await values([...model.state().values()].map(({ tensor }) => tensor)));
const averagesOf = async ({ optimizer }: Trainer) => hash(await values(optimizer.average!.tensors));

/** Trains until so many steps are done, or to the end. */
async function run(trainer: Trainer, steps = Number.POSITIVE_INFINITY): Promise<EpochResult[]> {
  const results: EpochResult[] = [];
  await trainer.run({
    afterStep: async () => trainer.steps >= steps,
    progress: () => {},
    epochEnd: async (result) => void results.push(result),
  });
  return results;
}

test('balanced class weights are N/(C·n_c), as scikit-learn has them', () => {
  // compute_class_weight('balanced', classes=[0, 1, 2], y=[0, 0, 1, 2, 2, 2, 2, 0])
  close(balancedWeights([0, 0, 1, 2, 2, 2, 2, 0], 3), [8 / 9, 8 / 3, 2 / 3], { ulps: 1 }, 'weights');
  assert.equal([...balancedWeights([0, 1, 1, 0], 2)], [1, 1]);
});

test('a class without a training image has no weight, and the line names it', async () => {
  const labels = [0, 2, 2];
  const line = /^balanced class weights: no training image is of class 'fear', whose weight .* Take more images, or /;
  assert.match(await messageOf(() => balancedWeights(labels, 3, ['sad', 'fear', 'glad'])), line);
  assert.match(await messageOf(() => balancedWeights(labels, 4)), /of class 1, /);
});

gpuTest(
  '--class-weights balanced trains on the weighted mean, and reports and validates on the plain one',
  async () => {
    const change = { classWeights: 'balanced', labelSmoothing: 0.1, epochs: 1 } as const;
    const trainer = trainerOf(change);
    const labels = faces.train.labels;
    await run(trainer, 2);

    const other = trainerOf({ ...change, classWeights: 'none' });
    const optimizer = new SGD(other.model.parameters().values());
    const weight = Tensor.from(balancedWeights(labels, 7));
    setStepCounter(0);
    const order = other.train.order(0, config.seed);
    for (const i of [0, 1]) {
      await step(() => {
        const { x, labels } = other.train.take(order.subarray(8 * i, 8 * i + 8));
        ops.crossEntropy(other.model.train().forward(x), labels, { weight, labelSmoothing: 0.1 }).backward();
        optimizer.step({ lr: 0.05, momentum: 0.9 });
      });
    }
    assert.equal(await weightsOf(trainer), await weightsOf(other));
    const plain = trainerOf({ ...change, classWeights: 'none' });
    await run(plain, 2);
    assert.not.equal(await weightsOf(plain), await weightsOf(other));

    // Of the first step, before which the weights are the same, the losses shown are.
    const sums: unknown[] = [];
    for (const classWeights of ['balanced', 'none'] as const) {
      const one = trainerOf({ ...change, classWeights });
      await run(one, 1);
      await one.settle();
      sums.push(one.position.sums);
    }
    assert.equal(sums[0], sums[1]);
  },
);

gpuTest('--ema validates the averages and leaves training alone, to the bit', async () => {
  const plain = trainerOf({});
  const before = await run(plain);
  const averaged = trainerOf({ ema: 0.9 });
  const results = await run(averaged);
  assert.equal(await weightsOf(averaged), await weightsOf(plain));
  assert.equal(
    results.map(({ train }) => train),
    before.map(({ train }) => train),
  );
  assert.ok(results.every(({ valid }, i) => valid.loss !== before[i]!.valid.loss));

  // The network with the averages written into it, and the running statistics that it has.
  const averages = await Promise.all(averaged.optimizer.average!.tensors.map((tensor) => tensor.read()));
  for (const [i, parameter] of [...plain.model.parameters().values()].entries()) parameter.write(averages[i]!);
  assert.equal(await plain.validate(), results.at(-1)!.predictions);

  const scratch = scratchFolder();
  const path = scratch.write('model.safetensors', '');
  await averaged.withAveraged(async () => writeSafetensors(path, await stateTensors(averaged.model)));
  const saved = readSafetensors(path).tensors;
  scratch.remove();
  for (const [name, { shape, data }] of await nn.readState(plain.model)) {
    assert.equal([...saved.get(name)!.shape], [...shape]);
    assert.equal(toF32(saved.get(name)!), data, name);
  }
});

for (const [make, change] of [
  [gpuTest, { accumulate: 2 }],
  [halfTest, { precision: 'f16', optimizer: 'adamw' }],
] as const) {
  make(`a run continued from a checkpoint has the bits of one in a go: ${JSON.stringify(change)}`, async () => {
    const scratch = scratchFolder();
    const all = { ...change, classWeights: 'balanced', clip: 0.5, ema: 0.9, augment: 'crop' } as const;
    const everything = async (trainer: Trainer) => [
      await weightsOf(trainer),
      hash(await values(trainer.optimizer.state().flat())),
      await averagesOf(trainer),
      ...(await trainer.optimizer.average!.updates.readInts()),
    ];
    try {
      const whole = trainerOf(all);
      await run(whole, 7);
      const first = trainerOf(all);
      await run(first, 3);
      const path = scratch.write('checkpoint.safetensors', '');
      await saveCheckpoint(path, first, { seconds: 0, epochSeconds: 0, best: null });
      const second = trainerOf(all);
      loadCheckpoint(path, second);
      assert.equal(await everything(second), await everything(first));
      await run(second, 7);
      assert.equal(await everything(second), await everything(whole));
      assert.not.equal(await averagesOf(whole), await averagesOf(first));

      const without = trainerOf({ ...all, ema: 0 });
      await saveCheckpoint(path, without, { seconds: 0, epochSeconds: 0, best: null });
      assert.match(
        await messageOf(() => loadCheckpoint(path, trainerOf(all))),
        /tensor 'optimizer\.average\.\S+' is missing/,
      );
    } finally {
      scratch.remove();
    }
  });
}

gpuTest('--clip shortens what the optimizer sees, and no more', async () => {
  // The first momentum is the gradient.
  const momentum = async (change: Partial<TrainConfig>) => {
    const trainer = trainerOf(change);
    await run(trainer, 1);
    return values(trainer.optimizer.state()[0]!);
  };
  const norm = (a: readonly number[]) => Math.sqrt(a.reduce((sum, value) => sum + value * value, 0));
  const plain = await momentum({});
  const length = norm(plain);
  assert.ok(Math.abs(norm(await momentum({ clip: length / 4 })) - length / 4) < 1e-5 * length);
  assert.equal(await momentum({ clip: 2 * length }), plain);
  const two = { accumulate: 2, batch: 4 };
  const halves = norm(await momentum(two));
  assert.ok(Math.abs(norm(await momentum({ ...two, clip: halves / 4 })) - halves / 4) < 1e-5 * halves);
});

test.run();
