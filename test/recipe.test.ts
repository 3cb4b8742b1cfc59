// What the options of a run make of schedule and optimizer, and what ends it.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../src/core/random.ts';
import { drawToyfaces } from '../src/data/toyfaces.ts';
import * as nn from '../src/nn/index.ts';
import * as optim from '../src/optim/index.ts';
import type { TrainConfig } from '../src/train/config.ts';
import { optimizerOf, phasesOf } from '../src/train/recipe.ts';
import { type EpochResult, Trainer } from '../src/train/trainer.ts';
import { gpuTest, messageOf } from './gpu.ts';

const config: TrainConfig = {
  ...{ arch: 'none', width: 1, head: 'vgg', pool: 1, dropout: 0, size: 16, channels: 1 },
  ...{ pretrained: null, freezeEpochs: 0, lrMult: 1, decay: 'all', weightDecay: 0.01 },
  ...{ epochs: 2, batch: 16, accumulate: 1, optimizer: 'sgd', nesterov: false, lr: 0.1, momentum: 0.9 },
  ...{ schedule: 'constant', warmup: 0, labelSmoothing: 0, mixup: 0, classWeights: 'none', clip: null, ema: 0 },
  ...{ augment: 'none', seed: 4, precision: 'f32' },
};

const network = () =>
  new nn.Sequential([
    nn.flatten(),
    new nn.BatchNorm(256),
    new nn.Linear({ inFeatures: 256, outFeatures: 7, std: 0.05 }, new Random(1, 1)),
  ]);

gpuTest('momentum falls by 0.1 up to the peak of one-cycle; a warm-up counts epochs', () => {
  const rates = (change: Partial<TrainConfig>, steps: readonly number[]) => {
    const [{ schedule }] = phasesOf({ ...config, ...change }, network(), 10) as [ReturnType<typeof phasesOf>[0]];
    return steps.map((step) => schedule(step, 20)).map(({ lr, momentum }) => [lr, momentum]);
  };
  const near = (got: number[][], want: number[][]) =>
    assert.equal(
      got.map((pair) => pair.map((value) => Number(value.toFixed(9)))),
      want,
    );
  near(rates({ schedule: 'one-cycle' }, [0, 5, 20]), [[0.004, 0.9], [0.1, 0.8], [0.000001, 0.9]]); // biome-ignore format: pairs
  near(rates({ schedule: 'one-cycle', momentum: 0.05 }, [5]), [[0.1, 0]]);
  near(rates({ warmup: 0.5 }, [0, 4, 5]), [[0.02, 0.9], [0.1, 0.9], [0.1, 0.9]]); // biome-ignore format: pairs
});

gpuTest('the optimizer is what the options say', async () => {
  const made = (change: Partial<TrainConfig>) => optimizerOf({ ...config, ...change }, network(), null);
  const kinds = (['sgd', 'adam', 'adamw', 'fastai-adam'] as const).map((optimizer) => made({ optimizer }));
  assert.equal(
    kinds.map((one) => one.constructor),
    [optim.SGD, optim.Adam, optim.AdamW, optim.AdamW],
  );
  const decays = (change: Partial<TrainConfig>) => made(change).groups.map(({ weightDecay }) => weightDecay);
  assert.equal([decays({}), decays({ decay: 'weights' })], [[0.01], [0.01, 0]]);
  assert.equal([made({}).average, made({ ema: 0.9 }).average?.tensors.length], [null, 4]);
  const { train, valid } = drawToyfaces(32);
  const weights = async (nesterov: boolean) => {
    const parts = { model: network(), config: { ...config, nesterov }, train, valid };
    const trainer = new Trainer({ ...parts, normalisation: { mean: [0.5], std: [0.25] } }, 7);
    await trainer.run({ afterStep: async () => true, progress: () => {}, epochEnd: async () => {} });
    return [...parts.model.parameters().values()][0]!.read();
  };
  assert.not.equal(await weights(true), await weights(false));
});

async function trained(change: Partial<TrainConfig>): Promise<{ trainer: Trainer; results: EpochResult[] }> {
  const { train, valid } = drawToyfaces(32);
  const parts = { model: network(), config: { ...config, ...change }, train, valid };
  const trainer = new Trainer({ ...parts, normalisation: { mean: [0.5], std: [0.25] } }, 7);
  const results: EpochResult[] = [];
  await trainer.run({
    afterStep: async () => false,
    progress: () => {},
    epochEnd: async (result) => void results.push(result),
  });
  return { trainer, results };
}

gpuTest('a plateau is one of the validation accuracy', async () => {
  const { trainer, results } = await trained({ schedule: 'plateau' });
  const best = Math.max(...results.map(({ valid }) => valid.correct / valid.count));
  assert.is(trainer.position.plateau.best, best);
});

gpuTest('a loss that is absurd ends the training, and so does one that the last update made no number', async () => {
  const message = (change: Partial<TrainConfig>) => messageOf(() => trained(change));
  assert.match(await message({ lr: 1e6 }), /^training diverged in epoch 1, near step 2: the loss is \d/);
  assert.match(
    await message({ lr: 1e38, momentum: 0, batch: 32, epochs: 1 }),
    /^training diverged in epoch 1, near step 1: the loss is not a number\. Lower the learning rate \(it was 1e\+38\)\.$/,
  );
});

test.run();
