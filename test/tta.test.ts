import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../src/core/random.ts';
import { step } from '../src/core/step.ts';
import { setSeed, setStepCounter } from '../src/core/stepbuffer.ts';
import { noGrad } from '../src/core/tape.ts';
import { AUGMENTATIONS, tenCrops } from '../src/data/augment.ts';
import { Batches } from '../src/data/batches.ts';
import { drawToyfaces } from '../src/data/toyfaces.ts';
import * as nn from '../src/nn/index.ts';
import { Judge } from '../src/train/judge.ts';
import { augmentedTta, type Look, once, tenCropTta } from '../src/train/tta.ts';
import { gpuTest } from './gpu.ts';

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

/** Logits of every image, batch by batch, with the looks in the order in which a judge has them. */
async function logitsOf(model: nn.Module, looks: readonly Look[]): Promise<Float32Array[][]> {
  const batches = new Batches(set, options);
  const all: Float32Array[][] = Array.from({ length: set.count }, () => []);
  for (let first = 0; first < set.count; first += BATCH) {
    const indices = Array.from({ length: Math.min(BATCH, set.count - first) }, (_, n) => first + n);
    for (const look of looks) {
      const y = await step(() => {
        batches.choose(indices);
        return noGrad(() => model.forward(batches.gather(look ?? undefined).x));
      });
      const values = await y.read();
      for (const [n, index] of indices.entries()) all[index]!.push(values.slice(7 * n, 7 * n + 7));
    }
  }
  batches.release();
  return all;
}

const started = () => {
  setSeed(4);
  setStepCounter(0);
};

function assertClose(got: readonly ArrayLike<number>[], want: readonly ArrayLike<number>[]): void {
  assert.is(got.length, want.length);
  for (const [i, row] of want.entries()) {
    for (let c = 0; c < row.length; c++) assert.ok(Math.abs(got[i]![c]! - row[c]!) < 1e-6, `image ${i}, class ${c}`);
  }
}

gpuTest('fast.ai: ¾ of the mean of augmented probabilities and ¼ of the plain ones', async () => {
  const model = network();
  const tta = augmentedTta(AUGMENTATIONS.fastai, 3);
  const judge = new Judge(set, { ...options, tta });
  started();
  const got = await judge.probabilities(model);
  judge.release();
  started();
  const logits = await logitsOf(model, [null, ...Array<Look>(3).fill(AUGMENTATIONS.fastai)]);
  const want = logits.map(([plain, ...augmented]) => {
    const drawn = mean(augmented.map(softmax));
    return softmax(plain!).map((share, c) => 0.25 * share + 0.75 * drawn[c]!);
  });
  assertClose(got, want);
  const plain = new Judge(set, options);
  assert.not.equal(await plain.probabilities(model), got, 'it makes a difference');
  plain.release();
});

gpuTest('ten crops: the softmax of the mean logits', async () => {
  const model = network();
  const judge = new Judge(set, { ...options, tta: tenCropTta });
  const got = await judge.probabilities(model);
  const want = (await logitsOf(model, tenCrops(set.side, SIZE))).map((rows) => softmax(mean(rows)));
  assertClose(got, want);

  const verdicts = await judge.verdicts(model);
  judge.release();
  for (const [i, { loss, prediction, probability, label }] of verdicts.entries()) {
    assert.is(label, set.labels[i]);
    assert.is(probability, Math.max(...want[i]!) === want[i]![prediction] ? probability : -1);
    assert.ok(Math.abs(probability - want[i]![prediction]!) < 1e-6);
    assert.ok(Math.abs(loss + Math.log(want[i]![label]!)) < 1e-4);
  }
});

gpuTest('it is the same again from the same seed, and what is drawn depends on it', async () => {
  const model = network();
  const draw = async (seed: number) => {
    const judge = new Judge(set, { ...options, tta: augmentedTta(AUGMENTATIONS.fer, 2) });
    setSeed(seed);
    setStepCounter(0);
    const all = await judge.probabilities(model);
    judge.release();
    return all;
  };
  const first = await draw(1);
  assert.equal(await draw(1), first);
  assert.not.equal(await draw(2), first);
});

gpuTest('without it, verdicts and probabilities are of the same pass', async () => {
  const model = network();
  const judge = new Judge(set, { ...options, tta: once });
  const shares = await judge.probabilities(model);
  for (const [i, { prediction, probability }] of (await judge.verdicts(model)).entries()) {
    assert.ok(Math.abs(shares[i]![prediction]! - probability) < 1e-6);
  }
  judge.release();
});

test.run();
