// A fine-tuning run in the trainer: its two phases, and what continues it between and within them.
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { setSeed } from '../src/core/stepbuffer.ts';
import { drawToyfaces } from '../src/data/toyfaces.ts';
import { Profile } from '../src/gpu/profile.ts';
import { createModel } from '../src/models/index.ts';
import { readState } from '../src/nn/index.ts';
import { planOf } from '../src/ops/matrix/plan.ts';
import { loadCheckpoint, saveCheckpoint } from '../src/train/checkpoint.ts';
import type { TrainConfig } from '../src/train/config.ts';
import { readSafetensors } from '../src/train/safetensors.ts';
import { type EpochResult, Trainer } from '../src/train/trainer.ts';
import { scratchFolder } from './files.ts';
import { gpuTest, halfTest, onDevice } from './gpu.ts';

const scratch = scratchFolder();
test.after(() => scratch.remove());

const config: TrainConfig = {
  ...{ arch: 'vgg11_bn', width: 1 / 64, head: 'fastai', pool: null, dropout: 0.25, size: 32, channels: 3 },
  ...{ pretrained: null, freezeEpochs: 1, lrMult: 100, decay: 'weights', weightDecay: 0.01, lr: 2e-3, momentum: 0.95 },
  ...{
    epochs: 2,
    batch: 16,
    accumulate: 1,
    optimizer: 'fastai-adam',
    nesterov: false,
    schedule: 'one-cycle',
    warmup: 0,
  },
  ...{
    labelSmoothing: 0,
    mixup: 0,
    classWeights: 'none',
    clip: null,
    ema: 0,
    augment: 'crop',
    seed: 4,
    precision: 'f32',
  },
};
/** Of 64 images. */
const STEPS = 4;

function trainer(change: Partial<TrainConfig> = {}): Trainer {
  const { train, valid } = drawToyfaces(64);
  setSeed(3);
  const model = createModel('vgg11_bn', { classes: 7, size: 32, width: 1 / 64, head: 'fastai', dropout: 0.25 });
  const all = { ...config, ...change };
  return new Trainer({ model, config: all, train, valid, normalisation: { mean: [0.5], std: [0.25] } }, 7);
}

/** Runs until `steps` steps of the run are done, or to the end; `epochEnd` is called as that of a run is. */
const until = (one: Trainer, steps: number, epochEnd: (result: EpochResult) => Promise<void> = async () => {}) =>
  one.run({ afterStep: async () => one.steps === steps, progress: () => {}, epochEnd });

async function everything({ model, optimizer, lossScale }: Trainer): Promise<unknown> {
  const tensors = [...[...model.state().values()].map(({ tensor }) => tensor), ...optimizer.state().flat()];
  const values: Uint32Array[] = [];
  for (const tensor of tensors) values.push(await tensor.readInts());
  return { values, updates: optimizer.steps, scale: (await lossScale?.read()) ?? null };
}

const path = join(scratch.path, 'checkpoint.safetensors');
const facts = { seconds: 0, epochSeconds: 0, best: null };

for (const precision of ['f32', 'f16'] as const) {
  (precision === 'f16' ? halfTest : gpuTest)(
    `${precision}: a fine-tuning continued within either phase and between them has the bits of one in a go`,
    async () => {
      const whole = trainer({ precision });
      const last = 3 * STEPS - 1;
      await until(whole, last);
      const want = await everything(whole);
      if (precision === 'f16') {
        const { updates, skipped } = await whole.lossScale!.read();
        assert.is(updates, last - STEPS - skipped, 'updates are counted anew in the second phase');
      }
      const rates = whole.rates();
      // Within the frozen phase, at its end before and after the validation, and within the second one.
      const stops = precision === 'f32' ? ([2, STEPS, 'between', STEPS + 2] as const) : (['between'] as const);
      for (const stop of stops) {
        const first = trainer({ precision });
        if (stop === 'between') {
          await until(first, STEPS + 1, ({ epoch }) => {
            assert.is(epoch, 1);
            return saveCheckpoint(path, first, facts);
          });
        } else {
          await until(first, stop);
          await saveCheckpoint(path, first, facts);
        }
        const second = trainer({ precision });
        loadCheckpoint(path, second);
        assert.is(second.steps, stop === 'between' ? STEPS : stop);
        await until(second, last);
        assert.equal(await everything(second), want, `stopped at ${stop}`);
        assert.equal(second.rates(), rates);
      }
    },
  );
}

gpuTest('a checkpoint names optimizer state by its parameter, whatever groups those are in', async () => {
  const one = trainer();
  await until(one, STEPS + 1);
  await saveCheckpoint(path, one, facts);
  const { tensors } = readSafetensors(path);
  for (const [name, { shape }] of one.model.parameters()) {
    for (const k of [0, 1]) assert.equal(tensors.get(`optimizer.${k}.${name}`)?.shape, [...shape], name);
  }
  const order = one.optimizer.groups.flatMap(({ params }) => params);
  const last = order.indexOf(one.model.parameters().get('classifier.6.weight')!);
  const saved = tensors.get('optimizer.1.classifier.6.weight')!.data;
  assert.equal(saved, await one.optimizer.state()[1]![last]!.read());
});

gpuTest(
  'the first phase trains the head and the norms, the second all; epochs and rates count through both',
  async () => {
    const one = trainer();
    assert.equal([one.epochs, one.totalSteps], [3, 3 * STEPS]);
    const before = await readState(one.model);
    const results: EpochResult[] = [];
    const frozen = new Map<string, boolean>();
    await until(one, -1, async (result) => {
      results.push(result);
      if (result.epoch > 1) return;
      assert.is(one.optimizer.steps, STEPS);
      for (const [name, { data }] of await readState(one.model)) {
        frozen.set(name, data.join() === before.get(name)!.data.join());
      }
    });
    for (const [name, still] of frozen) assert.is(still, /^features\.(0|4|8|11|15|18|22|25)\./.test(name), name);
    assert.equal(
      results.map(({ epoch, step }) => [epoch, step]),
      [1, 2, 3].map((epoch) => [epoch, epoch * STEPS]),
    );
    assert.is(one.optimizer.steps, 2 * STEPS, 'the second phase begins with a cleared optimizer');
    const after = await readState(one.model);
    // A bias in front of a norm has no gradient, and no decay.
    for (const [name, { data }] of after) {
      const idle = /^features\.(0|4|8|11|15|18|22|25)\.bias$/.test(name);
      assert.is(data.join() === before.get(name)!.data.join(), idle, name);
    }

    const lrs = (step: number) => one.rates(step).layerLrs!.map((lr) => Number(lr.toPrecision(10)));
    assert.equal(lrs(0), [8e-6, 8e-6, 8e-5]);
    assert.equal(lrs(STEPS), [2e-6, 2e-5, 2e-4]);
    assert.is(one.rates(STEPS).momentum, 0.95);
    assert.is(results[0]!.lr, one.rates(STEPS - 1).lr);
  },
);

gpuTest('recorded steps of both phases have the bits of eager ones', async () => {
  const run = async (eager: boolean) =>
    onDevice({}, async ({ stream }) => {
      const one = trainer();
      // Under a profile every step is eager.
      stream.profile = eager ? new Profile() : null;
      await until(one, 3 * STEPS - 1);
      stream.profile = null;
      return everything(one);
    });
  assert.equal(await run(false), await run(true));
});

gpuTest('what is prepared before the first step is what both phases compute', async () => {
  const problems = await onDevice({}, async (own) => {
    const one = trainer();
    one.rehearse();
    const rehearsed = [...planOf(own).used()].map(([problem]) => problem).sort();
    await until(one, -1);
    const used = [...planOf(own).used()].map(([problem]) => problem).sort();
    return { rehearsed, used };
  });
  assert.ok(
    problems.rehearsed.some((problem) => /wgrad/.test(problem)),
    problems.rehearsed.join(),
  );
  const gradients = (list: string[]) => list.filter((problem) => /wgrad|dgrad/.test(problem));
  assert.equal(gradients(problems.used), gradients(problems.rehearsed));
});

gpuTest('without a frozen phase, rates rise evenly by layer with --lr-mult, whatever the schedule', async () => {
  const lrs = (change: Partial<TrainConfig>, step = 0) => {
    const { lr, layerLrs } = trainer({ freezeEpochs: 0, ...change }).rates(step);
    return [lr, ...(layerLrs ?? [])].map((rate) => Number(rate.toPrecision(10)));
  };
  assert.equal(lrs({ schedule: 'cosine' }), [2e-3, 2e-5, 2e-4, 2e-3]);
  assert.equal(lrs({ schedule: 'step', epochs: 3 }, STEPS), [2e-4, 2e-6, 2e-5, 2e-4]);
  for (const epochs of [1, 4, 5, 7]) {
    const steps = epochs * STEPS;
    const rates = Array.from({ length: steps }, (_, step) => lrs({ schedule: 'step', epochs, lrMult: 1 }, step)[0]);
    const third = Math.ceil(steps / 3);
    assert.equal(
      rates,
      Array.from(rates, (_, step) => (step < third ? 2e-3 : step < 2 * third ? 2e-4 : 2e-5)),
    );
  }
  assert.equal(lrs({ schedule: 'one-cycle' }), [8e-5, 8e-7, 8e-6, 8e-5]);
  assert.equal(lrs({ schedule: 'cosine', lrMult: 1 }), [2e-3]);
  const plateau = trainer({ freezeEpochs: 0, schedule: 'plateau' });
  plateau.resumeAt({ ...plateau.position, plateau: { factor: 0.5, best: 1, bad: 0 } });
  const { lr, layerLrs } = plateau.rates();
  assert.equal([lr, ...layerLrs!.map((rate) => Number(rate.toPrecision(10)))], [1e-3, 1e-5, 1e-4, 1e-3]);
});

test.run();
