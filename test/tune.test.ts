import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../src/core/random.ts';
import { step } from '../src/core/step.ts';
import { setSeed, stepCounter } from '../src/core/stepbuffer.ts';
import { Tensor } from '../src/core/tensor.ts';
import * as nn from '../src/nn/index.ts';
import * as ops from '../src/ops/index.ts';
import { planOf } from '../src/ops/matrix/plan.ts';
import * as optim from '../src/optim/index.ts';
import * as train from '../src/train/index.ts';
import { scratchFolder } from './files.ts';
import { gpuTest, onDevice } from './gpu.ts';

gpuTest('a loop of one’s own is tuned before its first step; weights, random numbers and gradients stay', async () => {
  const scratch = scratchFolder();
  try {
    await onDevice({}, async (other) => {
      setSeed(5);
      const random = new Random(1, 1);
      const model = new nn.Sequential([
        new nn.Conv2d({ inChannels: 16, outChannels: 32, kernel: 3, padding: 1, bias: false }, random),
        new nn.BatchNorm(32),
        nn.flatten(),
        new nn.Dropout(0.5),
        new nn.Linear({ inFeatures: 12 * 12 * 32, outFeatures: 7 }, random),
      ]);
      const optimizer = new optim.AdamW(model.parameters().values());
      const [x, labels] = [Tensor.full([8, 12, 12, 16], 0.5), Tensor.from(new Uint32Array(8).fill(3), [8])];
      // Nobody's parameter, with a gradient.
      const scale = Tensor.from([2], [1], { requiresGrad: true });
      const loss = () => ops.mul(ops.crossEntropy(model.forward(x), labels), scale);
      await step(() => ops.mul(scale, scale).backward());
      const everything = async () => {
        const tensors = [...model.state().values()].map(({ tensor }) => tensor);
        return [stepCounter(), optimizer.steps, ...(await Promise.all(tensors.map((tensor) => tensor.readInts())))];
      };
      const before = await everything();
      const lines = await train.tune(loss);
      assert.match(lines.join('\n'), /^Tuned \d of 5 matrix kernels in \d+\.\d s\.$/);
      assert.equal(await everything(), before);
      assert.not.ok([...model.parameters().values()].some(({ grad }) => grad !== null));
      assert.is(await scale.grad!.item(), 4);
      const met = [...planOf(other).used()];
      await step(() => {
        loss().backward();
        optimizer.step({ lr: 1e-3, momentum: 0.9 });
      });
      assert.equal([...planOf(other).used()], met);
      assert.equal(await train.tune(loss), [], 'what is known is not timed again');
    });
  } finally {
    scratch.remove();
  }
});

test.run();
