// What a run keeps and says, where its training goes as the test wants it.
import { appendFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { resolveDefaults } from '../src/cli/defaults.ts';
import type { TrainOptions } from '../src/cli/options.ts';
import { Tensor } from '../src/core/tensor.ts';
import { loadDataset } from '../src/data/dataset.ts';
import { DivergenceError } from '../src/train/divergence.ts';
import { parseMetricsCsv } from '../src/train/metrics.ts';
import type { ProgressStep } from '../src/train/progress.ts';
import { Run } from '../src/train/run.ts';
import { createRunFolder, openRunFolder } from '../src/train/runfolder.ts';
import { type RunResult, readRecord } from '../src/train/runrecord.ts';
import { type FileTensor, readSafetensors } from '../src/train/safetensors.ts';
import type { TrainerHooks } from '../src/train/trainer.ts';
import { hashOf } from './child.ts';
import { pixelField, scratchFolder } from './files.ts';
import { gpu, gpuTest } from './gpu.ts';
import { smallest } from './said.ts';

const folder = scratchFolder();
test.after(() => folder.remove());
const at = (...names: string[]): string => join(folder.path, ...names);

/** All but one of one class, which a few steps are enough to learn. */
const rows = Array.from(
  { length: 21 },
  (_, i) => `${i === 0 ? 4 : 3},${pixelField(i % 7)},${i < 14 ? 'Training' : 'PublicTest'}`,
);
const csv = folder.write('faces.csv', ['emotion,pixels,Usage', ...rows, ''].join('\n'));

/** A run in folder `name`, to be trained, and the steps that it will show. */
async function runIn(
  name: string,
  given: Partial<TrainOptions>,
  { resume = false, interrupted = false } = {},
): Promise<[Run, ProgressStep[]]> {
  const options = resolveDefaults({ ...smallest, data: csv, ...given }, { software: true, data: csv });
  const data = await loadDataset({ data: csv, seed: options.seed, channels: options.channels });
  const { kind, driver, software, fingerprint, why } = gpu.adapter;
  const steps: ProgressStep[] = [];
  const run = new Run({
    gpu,
    config: options,
    data,
    origin: {
      ...{ commandLine: ['train'], startedAt: '', options: { ...options }, seed: options.seed },
      versions: { dawngrad: '', node: '', webgpu: '' },
      adapter: { kind, name: gpu.adapter.name, driver, software, fingerprint, why },
      data: {
        ...{ name: 'faces.csv', path: csv, classes: data.classes, validName: data.validName },
        counts: { train: data.train.count, valid: data.valid.count, test: null },
        fingerprint: data.fingerprint,
      },
    },
    calledMs: performance.now(),
    openFolder: () => (resume ? openRunFolder(at(name)).folder : createRunFolder(at(name), options.arch)),
    resume,
    createProgress: () => ({ step: (step) => steps.push(step), epochEnd() {}, message() {}, stop() {} }),
    interrupted: () => interrupted,
  });
  return [run, steps];
}

/** Has the run's hooks changed before its trainer gets them. */
function hook({ trainer }: Run, change: (hooks: TrainerHooks) => Partial<TrainerHooks>): void {
  const go = trainer.run.bind(trainer);
  trainer.run = (hooks) => go({ ...hooks, ...change(hooks) });
}

gpuTest(
  'after a divergence within the first epoch the model file has the averages of the last checkpoint',
  async () => {
    const [run] = await runIn('wild', { epochs: 1, batch: 2, checkpointEvery: 1, ema: 0.5, lr: 0.02 });
    hook(run, (hooks) => ({
      async afterStep(position) {
        const stop = await hooks.afterStep(position);
        if (position.step === 5) throw new DivergenceError('epoch 1', Number.NaN, 1);
        return stop;
      },
    }));
    const { trainer } = run;
    const [validate, withAveraged] = [trainer.validate.bind(trainer), trainer.withAveraged.bind(trainer)];
    let averaged = false;
    let validated = 0;
    trainer.withAveraged = async (fn) => {
      averaged = true;
      return withAveraged(fn).finally(() => {
        averaged = false;
      });
    };
    trainer.validate = () => {
      assert.ok(averaged, 'it is the averages that are compared with a guess');
      validated++;
      return validate();
    };
    assert.equal([(await run.train()).status, validated], ['diverged', 1]);
    const model = readSafetensors(at('wild', 'model.safetensors')).tensors;
    const kept = readSafetensors(at('wild', 'last', 'checkpoint.safetensors')).tensors;
    // Those of one dimension lie in a file as they do on the GPU.
    const vectors = [...model].filter(
      ([name, { shape }]) => shape.length === 1 && kept.has(`optimizer.average.${name}`),
    );
    assert.ok(vectors.length > 20);
    const bits = (tensor: FileTensor | undefined): string => [...tensor!.data].join();
    for (const [name, tensor] of vectors) assert.is(bits(tensor), bits(kept.get(`optimizer.average.${name}`)), name);
    assert.ok(vectors.some(([name, tensor]) => bits(tensor) !== bits(kept.get(name))));
  },
);

/**
 * Trains by a clock on which a step takes a second and a validation a thousand, and has as many images right as the test says; it
 * diverges at the end of step `diverges`.
 */
async function byClock(run: Run, right: readonly number[], stopAfter: number, diverges = 0): Promise<RunResult> {
  const { trainer } = run;
  const { now } = performance;
  let ms = Math.ceil(performance.now());
  performance.now = () => ms;
  const validate = trainer.validate.bind(trainer);
  trainer.validate = () => {
    ms += 1_000_000;
    return validate();
  };
  hook(run, (hooks) => ({
    progress() {},
    async afterStep(position) {
      ms += 1000;
      if (trainer.steps === diverges) throw new DivergenceError('epoch 3', Number.NaN, 1);
      hooks.progress({ epoch: position.epoch + 1, step: trainer.steps, loss: 1, accuracy: 0 });
      return (await hooks.afterStep(position)) || trainer.steps === stopAfter;
    },
    epochEnd: (result) => hooks.epochEnd({ ...result, valid: { ...result.valid, correct: right[result.epoch - 1]! } }),
  }));
  try {
    return await run.train();
  } finally {
    performance.now = now;
  }
}

gpuTest(
  'a run in parts that diverges keeps its best epoch, tells it from the last, and its speed is that of training alone',
  async () => {
    const options = { epochs: 3, batch: 2, accumulate: 2, checkpointEvery: 1 } as const;
    const [first, before] = await runIn('clock', options);
    await byClock(first, [5], 5);
    // Killed before the checkpoint that goes with it, a run has written a row too many.
    const { metrics, model, report } = first.folder;
    appendFileSync(metrics, readFileSync(metrics, 'utf8').split('\n')[1]!.replace('1,', '2,'));
    const best = hashOf(model);
    Tensor.empty([2 ** 26]).free('the test');
    const [second, after] = await runIn('clock', options, { resume: true });
    const { status, seconds, imagesPerSecond, bestEpoch, peakGpuBytes } = await byClock(second, [5, 3], 9, 8);
    assert.equal([status, Math.round(seconds), bestEpoch], ['diverged', 2 * 1003 + 2, 1]);
    assert.ok(Math.abs(imagesPerSecond - 4) < 1e-9);
    assert.ok(peakGpuBytes < 2 ** 26, `${peakGpuBytes} bytes: those of before are none of its own`);
    assert.equal([before.length, after.length], [5, 2]);
    for (const step of [...before, ...after]) assert.is(step.imagesPerSecond, 4, `step ${step.step}`);
    const epochs = parseMetricsCsv(readFileSync(metrics, 'utf8'), metrics);
    assert.equal(
      epochs.map((row) => [Math.round(row.seconds), row.imagesPerSecond]),
      Array(2).fill([1003, 4]),
    );
    const page = readFileSync(report, 'utf8');
    assert.match(page, /<dt>Best validation<\/dt><dd>71\.43 %<\/dd>/);
    assert.match(page, /<dt>Last epoch<\/dt><dd>42\.86 %<\/dd>/);
    assert.match(page, '14 train, 7 valid');
    assert.match(page, 'The run diverged before its last epoch.');
    assert.is(hashOf(model), best);
    // Of three steps of two batches.
    const seen = readSafetensors(model).tensors.get('features.1.num_batches_tracked');
    assert.equal([...seen!.data].map(Number), [6]);
  },
);

gpuTest('a run that is interrupted while kernels are chosen leaves the choice to its continuation', async () => {
  const [run] = await runIn('soon', {}, { interrupted: true });
  const { status, steps } = await run.train();
  assert.equal([status, steps, readRecord(run.folder.record).kernelPlan], ['stopped', 0, {}]);
});

test.run();
