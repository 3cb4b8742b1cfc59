import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { step } from '../src/core/step.ts';
import { Tensor } from '../src/core/tensor.ts';
import { createModel } from '../src/models/index.ts';
import * as ops from '../src/ops/index.ts';
import { SGD } from '../src/optim/index.ts';
import { gpuTest, onDevice } from './gpu.ts';

const BATCH = 64;
const SIZE = 48;
/** The null backend has 512 MiB, so the network is built at a quarter of its width. */
const WIDTH = 1 / 4;
/** VGG16_bn of torchvision with 7 classes and 48 px images averaged to 1×1. */
const FULL_PARAMETERS = 33_634_375;

gpuTest('a step of VGG16_bn at full width, batch 64, 48 px, takes at most 0.8 GB', () =>
  // The null backend allocates and counts, but computes nothing.
  onDevice({ adapter: 'null', flags: 'checked' }, async (gpu) => {
    Object.defineProperty(gpu, 'adapter', { value: { ...gpu.adapter, software: true } });
    const model = createModel('vgg16_bn', { classes: 7, size: SIZE, width: WIDTH });
    const optimizer = new SGD(model.parameters().values());
    await step(() => {
      const x = Tensor.empty([BATCH, SIZE, SIZE, 3]);
      ops.crossEntropy(model.train().forward(x), Tensor.empty([BATCH], 'u32')).backward();
      optimizer.step({ lr: 0.1, momentum: 0.9 });
    });
    // Parameters, gradients, momentum.
    const owned = 3 * 4;
    const activations = gpu.pool.stats.peakBytes - owned * model.parameterCount();
    const full = activations / WIDTH + owned * FULL_PARAMETERS;
    assert.ok(full <= 0.8e9, `${(full / 1e9).toFixed(3)} GB`);
  }),
);

test.run();
