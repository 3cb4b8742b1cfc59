// What may come between the batches of an evaluation, and between evaluations.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../src/core/random.ts';
import { step } from '../src/core/step.ts';
import { Tensor } from '../src/core/tensor.ts';
import type { ImageSet } from '../src/data/dataset.ts';
import * as nn from '../src/nn/index.ts';
import { Evaluator } from '../src/train/evaluator.ts';
import { tenCropTta } from '../src/train/tta.ts';
import { gpuTest, messageOf } from './gpu.ts';

const [COUNT, SIDE, CLASSES] = [10, 8, 3];
const set: ImageSet = {
  pixels: Uint8Array.from({ length: COUNT * SIDE * SIDE }, (_, i) => (i * 37 + ((i * i) % 91)) & 255),
  labels: Uint8Array.from({ length: COUNT }, (_, n) => n % CLASSES),
  ...{ count: COUNT, side: SIDE, channels: 1 },
};
const options = { batch: 4, normalisation: { mean: [0.4], std: [0.25] } };

const network = (outputs = CLASSES, inputs = SIDE * SIDE) =>
  new nn.Sequential([
    nn.flatten(),
    new nn.Linear({ inFeatures: inputs, outFeatures: outputs }, new Random(3)),
    new nn.BatchNorm(outputs),
  ]);

gpuTest('a call that failed, or that a callback ended, leaves nothing behind', async () => {
  const [evaluator, model] = [new Evaluator(set, options), network()];
  const right = await evaluator.predictions(model);
  assert.is(right.length, COUNT);
  assert.match(await messageOf(() => evaluator.predictions(network(CLASSES, 5))), /^linear: w \[3,5\]/);
  assert.equal(await evaluator.predictions(model), right);
  const stop = (done: number) => {
    if (done === 2) throw new Error('enough');
  };
  assert.is(await messageOf(() => evaluator.predictions(model, stop)), 'enough');
  assert.equal(await evaluator.predictions(model), right);
});

gpuTest('the accuracy is the share of the predictions that are right', async () => {
  const [evaluator, model] = [new Evaluator(set, options), network()];
  const right = (await evaluator.predictions(model)).filter(({ predicted, label }) => predicted === label).length;
  assert.ok(right > 0 && right < COUNT);
  assert.is(await evaluator.accuracy(model), right / COUNT);
});

gpuTest('loss, prediction and its probability are those of the class probabilities', async () => {
  const [evaluator, model] = [new Evaluator(set, options), network()];
  const all = await evaluator.probabilities(model);
  for (const [i, { loss, predicted, probability, label }] of (await evaluator.predictions(model)).entries()) {
    const shares = [...all[i]!];
    assert.equal([label, predicted], [set.labels[i], shares.indexOf(Math.max(...shares))]);
    assert.ok(Math.abs(probability - shares[predicted]!) < 1e-6, `${probability} of ${shares}`);
    assert.ok(Math.abs(loss + Math.log(shares[label]!)) < 1e-5, `${loss} of ${shares}`);
  }
});

gpuTest('of equal outputs the first is the prediction, however often an image is seen', async () => {
  const ties = new nn.Lambda('ties', (x) => Tensor.full([x.shape[0]!, CLASSES], 0.5));
  for (const tta of [{}, { tta: tenCropTta }]) {
    const predictions = await new Evaluator(set, { ...options, ...tta }).predictions(ties);
    assert.ok(predictions.every(({ predicted, loss }) => predicted === 0 && Math.abs(loss - Math.log(CLASSES)) < 1e-6));
  }
});

gpuTest('calls on one evaluator wait for each other', async () => {
  const [evaluator, model, other] = [new Evaluator(set, options), network(), network(CLASSES + 1)];
  const [alone, others] = [await evaluator.predictions(model), await evaluator.predictions(other)];
  const both = await Promise.all([evaluator.predictions(model), evaluator.predictions(other)]);
  assert.equal(both, [alone, others]);
});

gpuTest('training steps that nobody waited for are over before the network is evaluated', async () => {
  const train = (model: nn.Module) => step(() => void model.train().forward(Tensor.full([4, SIDE, SIDE, 1], 0.5)));
  const after = async (wait: boolean) => {
    const [evaluator, model] = [new Evaluator(set, options), network()];
    const steps = [train(model), train(model), train(model)];
    if (wait) await Promise.all(steps);
    const predictions = await evaluator.predictions(model);
    assert.not(model.training);
    return [predictions, await nn.readState(model)];
  };
  assert.equal(await after(false), await after(true));
});

gpuTest('a network without an output for a class of the set is refused', async () => {
  const refused =
    /^Evaluator: the set has images of class 2, and the network 2 outputs\. Give one with an output for each/;
  assert.match(await messageOf(() => new Evaluator(set, options).predictions(network(2))), refused);
  const augmented = new Evaluator(set, { ...options, tta: tenCropTta });
  assert.match(await messageOf(() => augmented.predictions(network(2))), refused);
  const more = await new Evaluator(set, options).predictions(network(5));
  assert.is(more.length, COUNT);
});

test.run();
