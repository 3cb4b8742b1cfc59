import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Evaluation, evaluate, tables } from '../src/cli/evaluate.ts';
import { withDefaults } from '../src/cli/option.ts';
import { evaluateOptions, predictOptions } from '../src/cli/options.ts';
import { predict } from '../src/cli/predict.ts';
import { Random } from '../src/core/random.ts';
import { step } from '../src/core/step.ts';
import { setSeed } from '../src/core/stepbuffer.ts';
import { noGrad } from '../src/core/tape.ts';
import { AUGMENTATIONS, type AugmentationName, tenCrops } from '../src/data/augment.ts';
import { Batches } from '../src/data/batches.ts';
import { emotions } from '../src/data/rows.ts';
import { drawToyfaces } from '../src/data/toyfaces.ts';
import { useGpu } from '../src/gpu/gpu.ts';
import { createModel } from '../src/models/index.ts';
import * as nn from '../src/nn/index.ts';
import { planOf } from '../src/ops/matrix/plan.ts';
import { prepare } from '../src/ops/matrix/prepare.ts';
import { Evaluator } from '../src/train/evaluator.ts';
import { loadModel, type ModelFacts, saveModel } from '../src/train/modelfile.ts';
import { addPredictions, noSums } from '../src/train/predictions.ts';
import { augmentedTta, once, tenCropTta, type View } from '../src/train/tta.ts';
import { grayPng, scratchFolder } from './files.ts';
import { gpu, gpuTest, messageOf, onDevice } from './gpu.ts';

const { valid: set } = drawToyfaces(14);
const SIZE = 40;
const BATCH = 4;
const normalisation = { mean: [0.5], std: [0.25] };
const options = { batch: BATCH, size: SIZE, normalisation };

const network = (): nn.Module => {
  const random = new Random(1, 1);
  return new nn.Sequential([
    new nn.Conv2d({ inChannels: 1, outChannels: 8, kernel: 3, padding: 1 }, random),
    nn.relu(),
    nn.maxPool2d({ kernel: 4 }),
    nn.flatten(),
    new nn.Linear({ inFeatures: 10 * 10 * 8, outFeatures: 7, std: 0.3 }, random),
  ]).eval();
};

const softmax = (logits: ArrayLike<number>): number[] => {
  const shares = Array.from(logits, Math.exp);
  const sum = shares.reduce((a, b) => a + b, 0);
  return shares.map((share) => share / sum);
};
const mean = (rows: readonly ArrayLike<number>[]): number[] =>
  Array.from(rows[0]!, (_, c) => rows.reduce((sum, row) => sum + row[c]!, 0) / rows.length);

/** Logits of every image, batch by batch, with the views in the order in which an evaluator has them. */
async function logitsOf(model: nn.Module, views: readonly View[]): Promise<Float32Array[][]> {
  const batches = new Batches(set, options);
  const all: Float32Array[][] = Array.from({ length: set.count }, () => []);
  for (let first = 0; first < set.count; first += BATCH) {
    const indices = Array.from({ length: Math.min(BATCH, set.count - first) }, (_, n) => first + n);
    for (const view of views) {
      const y = await step(() => {
        batches.choose(indices);
        return noGrad(() => model.forward(batches.gather(view ?? undefined).x));
      });
      const values = await y.read();
      for (const [n, index] of indices.entries()) all[index]!.push(values.slice(7 * n, 7 * n + 7));
    }
  }
  return all;
}

const started = () => {
  setSeed(4);
};

function assertClose(got: readonly ArrayLike<number>[], want: readonly ArrayLike<number>[]): void {
  assert.is(got.length, want.length);
  for (const [i, row] of want.entries()) {
    for (let c = 0; c < row.length; c++) assert.ok(Math.abs(got[i]![c]! - row[c]!) < 1e-6, `image ${i}, class ${c}`);
  }
}

gpuTest('fast.ai: ¾ of the mean of augmented probabilities and ¼ of the plain ones', async () => {
  const model = network();
  for (const passes of [0, 1.5, Number.NaN])
    assert.throws(
      () => augmentedTta(AUGMENTATIONS.fastai, passes),
      new RegExp(`^augmentedTta: passes is ${passes}; it is a whole number from 1 on\\.`),
    );
  const tta = augmentedTta(AUGMENTATIONS.fastai, 3);
  const evaluator = new Evaluator(set, { ...options, tta });
  started();
  const got = await evaluator.probabilities(model);
  started();
  const logits = await logitsOf(model, [null, ...Array<View>(3).fill(AUGMENTATIONS.fastai)]);
  const want = logits.map(([plain, ...augmented]) => {
    const drawn = mean(augmented.map(softmax));
    return softmax(plain!).map((share, c) => 0.25 * share + 0.75 * drawn[c]!);
  });
  assertClose(got, want);
  const plain = new Evaluator(set, options);
  assert.not.equal(await plain.probabilities(model), got, 'it makes a difference');
});

gpuTest('ten crops: the softmax of the mean logits', async () => {
  const model = network();
  const evaluator = new Evaluator(set, { ...options, tta: tenCropTta });
  const got = await evaluator.probabilities(model);
  const want = (await logitsOf(model, tenCrops(set.side, SIZE))).map((rows) => softmax(mean(rows)));
  assertClose(got, want);

  const predictions = await evaluator.predictions(model);
  for (const [i, { loss, predicted, probability, label }] of predictions.entries()) {
    assert.is(label, set.labels[i]);
    assert.is(probability, Math.max(...want[i]!) === want[i]![predicted] ? probability : -1);
    assert.ok(Math.abs(probability - want[i]![predicted]!) < 1e-6);
    assert.ok(Math.abs(loss + Math.log(want[i]![label]!)) < 1e-4);
  }
});

gpuTest('it is the same again from the same seed, and what is drawn depends on it', async () => {
  const model = network();
  const draw = async (seed: number) => {
    const evaluator = new Evaluator(set, { ...options, tta: augmentedTta(AUGMENTATIONS.fer, 2) });
    setSeed(seed);
    const all = await evaluator.probabilities(model);
    return all;
  };
  const first = await draw(1);
  assert.equal(await draw(1), first);
  assert.not.equal(await draw(2), first);
});

gpuTest('without it, predictions and probabilities are of the same pass', async () => {
  const model = network();
  const evaluator = new Evaluator(set, { ...options, tta: once });
  const shares = await evaluator.probabilities(model);
  for (const [i, { predicted, probability }] of (await evaluator.predictions(model)).entries()) {
    assert.ok(Math.abs(shares[i]![predicted]! - probability) < 1e-6);
  }
});

// The commands -----------------------------------------------------------------------------------------------------------

const scratch = scratchFolder();
test.after(() => scratch.remove());
const adapter = process.env.DAWNGRAD_ADAPTER || 'auto';

/** A network of random weights whose file says that its training images were augmented so. */
async function modelFile(augment: AugmentationName): Promise<string> {
  const network = { classes: 7, channels: 1, size: SIZE, width: 1 / 16, head: 'fastai', pool: 1, seed: 1 } as const;
  const path = join(scratch.path, `${augment}.safetensors`);
  const facts: ModelFacts = {
    arch: 'vgg11_bn',
    options: network,
    classes: emotions,
    normalisation,
    storedSide: 48,
    augment,
  };
  await saveModel(path, createModel('vgg11_bn', network), facts, 0);
  return path;
}

gpuTest('a rehearsal meets what is computed, in every view, and changes nothing', () =>
  onDevice({}, async (own) => {
    const model = network();
    for (const tta of [once, tenCropTta, augmentedTta(AUGMENTATIONS.fastai, 2)]) {
      const evaluator = new Evaluator(set, { ...options, tta });
      setSeed(1);
      const before = await evaluator.probabilities(model);
      const problems = [...planOf(own).used().keys()];
      const { dispatches } = own.stream.stats;
      const other = new Evaluator(set, { ...options, tta });
      setSeed(1);
      const met = await prepare(own, () => other.rehearse(model));
      assert.equal([met.problems, own.stream.stats.dispatches], [problems, dispatches]);
      assert.equal(await other.probabilities(model), before);
    }
  }),
);

/** What a command prints. */
async function printed(run: () => Promise<void>): Promise<string> {
  const { log, error } = console;
  const lines: string[] = [];
  console.log = (line: string) => void lines.push(line);
  console.error = () => {};
  try {
    await run();
  } finally {
    Object.assign(console, { log, error });
  }
  return lines.join('\n');
}

const evaluated = async (model: string, tta: string | null, out: string | null = null): Promise<Evaluation> => {
  const given = { model, data: 'toyfaces', limit: 6, batch: 4, adapter, tta, out, json: true };
  const text = await printed(() => evaluate(withDefaults(evaluateOptions, given)));
  useGpu(gpu);
  return JSON.parse(text);
};

gpuTest(
  'evaluate shows a network what its training’s validation saw, and says which augmentation it used',
  async () => {
    const plain = await evaluated(await modelFile('none'), null);
    const model = await modelFile('fastai');
    const centred = await evaluated(await modelFile('fer'), null);
    const cornered = await evaluated(model, null);
    assert.is(new Set([plain.loss, centred.loss, cornered.loss]).size, 3);
    assert.is(cornered.tta, null);
    const { framing } = AUGMENTATIONS.fastai;
    const evaluator = new Evaluator(drawToyfaces(6).valid, {
      batch: 4,
      size: SIZE,
      channels: 1,
      normalisation,
      framing,
    });
    const { loss, count } = addPredictions(noSums(), await evaluator.predictions(loadModel(model).model));
    assert.ok(Math.abs(loss / count - cornered.loss) < 1e-5);

    const drawn = await evaluated(model, '2', join(scratch.path, 'page'));
    const page = readFileSync(join(scratch.path, 'page', 'report.html'), 'utf8');
    assert.match(page, ' · test-time augmentation: 2 passes augmented by fastai and one as it is</p>');
    assert.equal(drawn.tta, { kind: 'augmented', augment: 'fastai', passes: 2, beta: 0.25 });
    assert.is.not(drawn.loss, cornered.loss);
    assert.match(tables(drawn).join('\n'), /^Test-time augmentation: 2 passes augmented by fastai and one as it is$/m);
    const trained = tables({ ...drawn, split: 'train', seen: { trained: 4, validated: 0 }, images: 6 });
    assert.is(trained[1], '4 of the 6 images were trained on.');
  },
);

gpuTest('predict takes ten crops; what there is nothing to draw for is refused', async () => {
  const model = await modelFile('none');
  const message = await messageOf(() => evaluated(model, '4'));
  assert.match(message, /^--tta 4: the model's file names no augmentation .* Use --tta ten-crop\.$/);
  const images = [scratch.write('a.png', grayPng(1))];
  const predicted = await printed(() =>
    predict(withDefaults(predictOptions, { model, images, adapter, tta: 'ten-crop', json: true })),
  );
  assert.is(JSON.parse(predicted).length, 1);
  for (const wrong of ['0', '-1', '1.5', '101', 'five-crop']) assert.not.ok(evaluateOptions.tta.kind.has(wrong), wrong);
  assert.ok(evaluateOptions.tta.kind.has('100'));
});

test.run();
