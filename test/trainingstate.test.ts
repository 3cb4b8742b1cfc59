// A training loop of one's own that is saved, and continued by parts made anew.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../src/core/random.ts';
import { step } from '../src/core/step.ts';
import { setSeed, stepSeed } from '../src/core/stepbuffer.ts';
import { Tensor } from '../src/core/tensor.ts';
import * as nn from '../src/nn/index.ts';
import * as ops from '../src/ops/index.ts';
import * as optim from '../src/optim/index.ts';
import type { OptimizerOptions } from '../src/optim/optimizer.ts';
import { readSafetensors, writeSafetensors } from '../src/train/safetensors.ts';
import { loadTraining, saveTraining, type TrainingParts } from '../src/train/trainingstate.ts';
import { uniform } from './check.ts';
import { fromValues } from './exact.ts';
import { scratchFolder } from './files.ts';
import { gpuTest, halfTest, messageOf } from './gpu.ts';

const scratch = scratchFolder();
test.after(() => scratch.remove());
const path = join(scratch.path, 'training.safetensors');

/** With running statistics, and with dropout: each step draws. */
class Network extends nn.Module {
  readonly layers: nn.Sequential;

  constructor(hidden = 8) {
    super();
    const random = new Random(1, 1);
    this.layers = new nn.Sequential([
      new nn.Linear({ inFeatures: 5, outFeatures: hidden, std: 0.5 }, random),
      new nn.BatchNorm(hidden),
      nn.relu(),
      new nn.Dropout(0.5),
      new nn.Linear({ inFeatures: hidden, outFeatures: 3, std: 0.5 }, random),
    ]);
  }

  override children() {
    return [['layers', this.layers]] as const;
  }

  forward(x: Tensor): Tensor {
    return this.layers.forward(x);
  }
}

const options = { weightDecay: 0.01, clip: 0.5, ema: 0.9 };
const adamw = (model: nn.Module, change: OptimizerOptions = {}): optim.Optimizer =>
  new optim.AdamW(model.parameters().values(), { ...options, ...change });
const partsOf = (change?: OptimizerOptions, model = new Network()): TrainingParts => ({
  model,
  optimizer: adamw(model, change),
});

const inputs = uniform([6, 5], 1, { kinks: [] });
const labels = Uint32Array.of(0, 1, 2, 0, 1, 2);

async function train({ model, optimizer }: TrainingParts, steps: number): Promise<void> {
  const { lossScale } = optimizer;
  for (let i = 0; i < steps; i++) {
    await step(() => {
      const x = ops.cast(fromValues(inputs), lossScale ? 'f16' : 'f32');
      const loss = ops.crossEntropy((model as Network).train().forward(x), Tensor.from(labels));
      loss.backward(lossScale?.gradient());
      optimizer.step({ lr: 0.01 });
    });
  }
}

async function everything({ model, optimizer }: TrainingParts): Promise<unknown> {
  const tensors = [...model.state().values()].map(({ tensor }) => tensor);
  const { average, lossScale } = optimizer;
  const values: Uint32Array[] = [];
  for (const tensor of [...tensors, ...optimizer.state().flat(), ...average!.tensors])
    values.push(await tensor.readInts());
  const averaged = await average!.updates.readInts();
  return { values, averaged, updates: optimizer.steps, scale: (await lossScale?.read()) ?? null };
}

for (const [make, name] of [
  [gpuTest, 'f32'],
  [halfTest, 'f16'],
] as const) {
  make(`a loop that is saved and continued has the bits of one in a go, in ${name}`, async () => {
    const scaled = () => (name === 'f16' ? { lossScale: new optim.LossScale() } : {});
    setSeed(7);
    const whole = partsOf(scaled());
    await train(whole, 5);

    setSeed(7);
    const first = partsOf(scaled());
    await train(first, 2);
    await saveTraining(path, first, { epoch: 2, order: [1, 0] });
    const then = await everything(first);

    setSeed(1);
    await train(partsOf(scaled()), 1);
    const second = partsOf(scaled());
    assert.equal(loadTraining(path, second), { epoch: 2, order: [1, 0] });
    assert.is(stepSeed(), 7);
    assert.equal(await everything(second), then);
    await train(second, 3);
    assert.equal(await everything(second), await everything(whole));
    assert.not.equal(await everything(second), then);
  });
}

gpuTest('a loop is saved between updates: with none under way, and no gradients that wait', async () => {
  const parts = partsOf();
  await train(parts, 1);
  const saving = saveTraining(path, parts);
  const going = train(parts, 1);
  assert.match(await messageOf(() => saving), /^the training went on while its state was read: await that before/);
  await going;
  const x = fromValues(inputs);
  await step(() => ops.crossEntropy((parts.model as Network).forward(x), Tensor.from(labels)).backward());
  const waiting =
    /^saveTraining: gradients wait to be added to\. Call it after the update, or `zeroGrad\(\)` before\.$/;
  assert.match(await messageOf(() => saveTraining(path, parts)), waiting);
  parts.optimizer.zeroGrad();
  await saveTraining(path, parts);
  // Those of a body that the optimizer does not train wait for nothing.
  const head = [...parts.model.parameters().values()].slice(-2);
  const { model } = parts;
  const few = { model, optimizer: new optim.AdamW(head) };
  await train(few, 1);
  await saveTraining(path, few);
});

gpuTest('one bit that changed on the disk is noticed, be it of a weight or of a counter', async () => {
  const saved = partsOf();
  await train(saved, 1);
  await saveTraining(path, saved);
  const whole = readFileSync(path);
  const { metadata, tensors } = readSafetensors(path);
  const damaged = join(scratch.path, 'damaged.safetensors');
  for (const at of [whole.length - 1, whole.indexOf('gpuSteps') + 'gpuSteps\\":'.length]) {
    const bytes = Uint8Array.from(whole);
    bytes[at]! ^= 1;
    writeFileSync(damaged, bytes);
    readSafetensors(damaged);
    assert.match(
      await messageOf(() => loadTraining(damaged, partsOf())),
      /damaged\.safetensors: is damaged: it does not /,
    );
  }
  // An earlier version wrote no digest.
  writeSafetensors(damaged, tensors, { training: metadata.training! });
  assert.is(loadTraining(damaged, partsOf()), null);
});

async function refusedBy(parts: TrainingParts, pattern: RegExp, file = path): Promise<void> {
  const states = () => Promise.all([...parts.model.state().values()].map(({ tensor }) => tensor.readInts()));
  const before = await states();
  const message = await messageOf(() => loadTraining(file, parts));
  assert.match(message, pattern);
  assert.not.match(message, /\n/);
  assert.equal([await states(), parts.optimizer.steps], [before, 0]);
}

gpuTest('what was saved for another network or optimizer is refused, and nothing is changed', async () => {
  const saved = partsOf();
  await train(saved, 1);
  await saveTraining(path, saved);
  const sgd = new Network();
  const withoutMoments = { model: sgd, optimizer: new optim.SGD(sgd.parameters().values(), { ema: 0.9 }) };
  await refusedBy(
    withoutMoments,
    /tensor 'optimizer\.1\.\S+' is nothing that this optimizer keeps\. It is of another /,
  );
  await refusedBy(partsOf({ ema: undefined }), /tensor 'optimizer\.average\.\S+' is nothing that this optimizer keeps/);
  await refusedBy(partsOf({}, new Network(9)), /tensor 'layers\.0\.weight' is \[8,5\] but the network's is \[9,5\]/);

  await saveTraining(path, withoutMoments);
  await refusedBy(partsOf(), /tensor 'optimizer\.1\.\S+' is missing\. It is of another optimizer/);

  const { tensors } = readSafetensors(path);
  const other = join(scratch.path, 'other.safetensors');
  for (const training of ['', '{', 'null', '{}']) {
    writeSafetensors(other, tensors, { training });
    await refusedBy(
      partsOf(),
      /other\.safetensors: is no state of a training\. Give a file that saveTraining wrote\.$/,
      other,
    );
  }

  const elsewhere = { model: new Network(), optimizer: adamw(new Network()) };
  assert.match(
    await messageOf(() => saveTraining(path, elsewhere)),
    /^the optimizer trains a parameter of shape 8×5 that the module does not have/,
  );
});

halfTest('a loss scale is missing neither from the file nor from the optimizer', async () => {
  const scaled = () => partsOf({ lossScale: new optim.LossScale() });
  for (const [saved, other, pattern] of [
    [
      partsOf(),
      scaled(),
      /training\.safetensors: has no loss scale, so it was not trained in f16\. Leave out lossScale\.$/,
    ],
    [
      scaled(),
      partsOf(),
      /training\.safetensors: has a loss scale, so it was trained in f16\. Give the optimizer a lossScale\.$/,
    ],
  ] as const) {
    await train(saved, 1);
    await saveTraining(path, saved);
    await refusedBy(other, pattern);
  }
});

test.run();
