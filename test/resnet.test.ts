import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { step } from '../src/core/step.ts';
import { Tensor } from '../src/core/tensor.ts';
import {
  activationBytes,
  createModel,
  headsOf,
  MODEL_NAMES,
  type ModelOptions,
  smallestBatch,
} from '../src/models/index.ts';
import * as ops from '../src/ops/index.ts';
import { gpuTest, messageOf } from './gpu.ts';

const options: ModelOptions = { classes: 7, channels: 3, size: 32, width: 1 / 8, head: 'linear', pool: 1, seed: 1 };
const names = MODEL_NAMES.filter((name) => name.startsWith('resnet'));

/**
 * Parameters of torchvision's network (full width, 1000 classes), from the shapes of a small one: at an eighth all counts but
 * colours, classes and kernel sides are an eighth.
 */
function fullCount(name: string): number {
  const full = (extent: number) => (extent === 3 ? 3 : extent === options.classes ? 1000 : 8 * extent);
  return [...createModel(name, options).state()]
    .filter(([, { kind }]) => kind === 'parameter')
    .map(([, { fileShape }]) => {
      const [k, c, ...kernel] = fileShape as [number, number?, ...number[]];
      return full(k) * (c === undefined ? 1 : full(c)) * kernel.reduce((product, side) => product * side, 1);
    })
    .reduce((sum, count) => sum + count, 0);
}

gpuTest('full-width networks have as many parameters as torchvision’s', () => {
  assert.is(fullCount('resnet18'), 11_689_512);
  assert.is(fullCount('resnet34'), 21_797_672);
});

gpuTest('state has torchvision’s names in its order', () => {
  const state = [...createModel('resnet18', options).state().keys()];
  const norm = (name: string) => ['weight', 'bias', 'running_mean', 'running_var'].map((part) => `${name}.${part}`);
  const block = (name: string, changes: boolean) => [
    `${name}.conv1.weight`,
    ...norm(`${name}.bn1`),
    `${name}.conv2.weight`,
    ...norm(`${name}.bn2`),
    ...(changes ? [`${name}.downsample.0.weight`, ...norm(`${name}.downsample.1`)] : []),
  ];
  const stages = [1, 2, 3, 4].flatMap((i) => [...block(`layer${i}.0`, i > 1), ...block(`layer${i}.1`, false)]);
  assert.equal(state, ['conv1.weight', ...norm('bn1'), ...stages, 'fc.weight', 'fc.bias']);
});

for (const name of names) {
  for (const [head, channels] of [
    ['linear', 3],
    ['fastai', 1],
  ] as const) {
    gpuTest(
      `${name} with the ${head} head and ${channels} input channels gives every parameter a gradient`,
      async () => {
        const net = createModel(name, { ...options, head, channels, dropout: 0 });
        const x = Tensor.from(
          Float32Array.from({ length: 2 * 32 * 32 * channels }, (_, i) => Math.sin(i * 0.7)),
          [2, 32, 32, channels],
        );
        await step(() => {
          const logits = net.forward(x);
          assert.equal(logits.shape, [2, 7]);
          ops.crossEntropy(logits, Tensor.from(Uint32Array.of(1, 6))).backward();
        });
        for (const [key, p] of net.parameters()) assert.ok(p.grad, `${key} has no gradient`);
        const first = await net.parameters().get('conv1.weight')!.grad!.read();
        assert.ok(first.some((value) => value !== 0) && first.every(Number.isFinite));
      },
    );
  }
}

test('a batch norm of one value an image needs two of them: of 32 px, and in the fastai head', () => {
  const least = (change: Partial<ModelOptions>) => smallestBatch('resnet18', { ...options, ...change });
  assert.equal([least({}), least({ size: 33 }), least({ size: 64, head: 'fastai' })], [2, 1, 2]);
});

test('the largest tensor of an image is what the stem makes, or in a narrow network the image', () => {
  const bytes = (width: number) => activationBytes('resnet18', { ...options, size: 48, width });
  assert.equal([bytes(1), bytes(1 / 8)], [4 * 24 * 24 * 64, 4 * 48 * 48 * 3]);
});

gpuTest('what cannot be is refused', async () => {
  assert.match(await messageOf(() => createModel('resnet18', { ...options, size: 31 })), /needs at least 32/);
  assert.match(await messageOf(() => createModel('resnet18', { ...options, head: 'vgg' })), /there are linear, fastai/);
  assert.match(await messageOf(() => createModel('vgg16_bn', options)), /^head linear is no head of vgg16_bn/);
  assert.equal(headsOf('resnet34'), ['linear', 'fastai']);
});

test.run();
