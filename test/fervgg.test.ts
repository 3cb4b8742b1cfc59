import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { step } from '../src/core/step.ts';
import { Tensor } from '../src/core/tensor.ts';
import { createModel } from '../src/models/index.ts';
import * as ops from '../src/ops/index.ts';
import { gpuTest, messageOf } from './gpu.ts';

const options = { classes: 7, channels: 1, size: 40, width: 1 / 8 } as const;

gpuTest('at full width it has as many parameters as the original', () => {
  // At an eighth all counts but colours, classes and kernel sides are an eighth.
  const full = (extent: number) => (extent === 1 || extent === 7 ? extent : 8 * extent);
  const count = [...createModel('fer_vgg', options).state().values()]
    .filter(({ kind }) => kind === 'parameter')
    .map(({ fileShape: [k, c = 1, r = 1, s = 1] }) => full(k!) * full(c) * r * s)
    .reduce((sum, size) => sum + size, 0);
  assert.is(count, 29_890_759);
});

gpuTest('names are the original’s; every parameter has a gradient; dropout is off in evaluation', async () => {
  const net = createModel('fer_vgg', { ...options, dropout: 0.5 });
  const names = [...net.parameters().keys()];
  assert.equal(names.slice(0, 6), [
    'conv1a.weight',
    'conv1a.bias',
    'bn1a.weight',
    'bn1a.bias',
    'conv1b.weight',
    'conv1b.bias',
  ]);
  assert.equal(names.slice(-6), ['lin1.weight', 'lin1.bias', 'lin2.weight', 'lin2.bias', 'lin3.weight', 'lin3.bias']);
  const x = Tensor.from(
    Float32Array.from({ length: 2 * 40 * 40 }, (_, i) => Math.sin(i * 0.7)),
    [2, 40, 40, 1],
  );
  await step(() => ops.crossEntropy(net.forward(x), Tensor.from(Uint32Array.of(1, 6))).backward());
  for (const [key, p] of net.parameters()) assert.ok(p.grad, `${key} has no gradient`);
  const logits = async () => [...(await (await step(() => net.forward(x))).read())];
  net.eval();
  assert.equal(await logits(), await logits());
  net.train();
  assert.not.equal(await logits(), await logits());
});

gpuTest('weights and biases are drawn evenly from ±1/√(fan in), PyTorch’s own default', async () => {
  const state = createModel('fer_vgg', { ...options, width: 1 / 4 }).state();
  for (const [name, fanIn] of [
    ['conv2a', 9 * 16],
    ['lin1', 2 * 2 * 128],
    ['lin2', 1024],
  ] as const) {
    for (const part of ['weight', 'bias']) {
      const values = await state.get(`${name}.${part}`)!.tensor.read();
      const [low, high] = [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
      const bound = 1 / Math.sqrt(fanIn);
      assert.ok(high <= bound && low >= -bound, `${name}.${part}: ${low} to ${high}, of ±${bound}`);
      assert.ok(high > 0.8 * bound && low < -0.8 * bound, `${name}.${part}: ${low} to ${high}, of ±${bound}`);
    }
  }
});

gpuTest('a side below 32 is refused', async () => {
  assert.match(await messageOf(() => createModel('fer_vgg', { ...options, size: 31 })), /needs at least 32/);
});

test.run();
