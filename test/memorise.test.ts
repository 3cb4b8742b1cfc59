import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { step } from '../src/core/step.ts';
import { setSeed } from '../src/core/stepbuffer.ts';
import { noGrad } from '../src/core/tape.ts';
import { Tensor } from '../src/core/tensor.ts';
import { createModel } from '../src/models/index.ts';
import * as ops from '../src/ops/index.ts';
import * as optim from '../src/optim/index.ts';
import { integers, uniform } from './check.ts';
import { fromValues } from './exact.ts';
import { gpuTest, halfTest, onDevice } from './gpu.ts';

const IMAGES = 64;
const EPOCHS = 100;

/** Noise with labels drawn at random: there is nothing to learn, only to remember. */
const images = uniform([IMAGES, 32, 32, 3], 1, { kinks: [] });
const answers = Uint32Array.from(integers([IMAGES], 2, 0, 7).data);

/** Loss and right answers in evaluation mode after at most so many epochs of one batch each; stops when both are there. */
async function memorise(dtype: 'f32' | 'f16' = 'f32'): Promise<{ epochs: number; loss: number; right: number }> {
  setSeed(1);
  const net = createModel('vgg16_bn', {
    classes: 7,
    channels: 3,
    size: 32,
    width: 1 / 16,
    head: 'fastai',
    pool: 1,
    dropout: 0,
    seed: 1,
  });
  const lossScale = dtype === 'f16' ? new optim.LossScale() : undefined;
  const optimizer = new optim.AdamW(net.parameters().values(), { lossScale });
  const x = ops.cast(fromValues(images), dtype);
  const labels = Tensor.from(answers);
  const result = { epochs: 0, loss: Number.POSITIVE_INFINITY, right: 0 };
  while (result.epochs < EPOCHS && (result.loss >= 0.05 || result.right < IMAGES)) {
    net.train();
    for (let i = 0; i < 5; i++) {
      await step(() => {
        ops.crossEntropy(net.forward(x), labels).backward(lossScale?.gradient());
        optimizer.step({ lr: 3e-3, momentum: 0.9 });
      });
      result.epochs++;
    }
    net.eval();
    const { loss, logits } = await step(() =>
      noGrad(() => {
        const y = net.forward(x);
        return { logits: y, loss: ops.crossEntropy(y, labels) };
      }),
    );
    result.loss = await loss.item();
    const scores = await logits.read();
    result.right = answers.filter((label, n) => {
      const row = scores.subarray(7 * n, 7 * n + 7);
      return row.indexOf(Math.max(...row)) === label;
    }).length;
  }
  return result;
}

async function check(dtype: 'f32' | 'f16' = 'f32'): Promise<void> {
  const { epochs, loss, right } = await memorise(dtype);
  assert.ok(loss < 0.05 && right === IMAGES, `loss ${loss}, ${right} of ${IMAGES} right after ${epochs} epochs`);
}

const LIMIT_MS = 240_000;

gpuTest('VGG16_bn at a sixteenth of the width memorises 64 images of noise', () => check(), LIMIT_MS);
gpuTest('and does so with the fast flags', () => onDevice({ flags: 'fast' }, () => check()), LIMIT_MS);
halfTest('and does so in f16', () => check('f16'), LIMIT_MS);

test.run();
