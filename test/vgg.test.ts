import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { step } from '../src/core/step.ts';
import { noGrad } from '../src/core/tape.ts';
import { Tensor } from '../src/core/tensor.ts';
import { createModel, MODEL_NAMES, type ModelOptions, type ModelSettings, scaled } from '../src/models/index.ts';
import { readState, writeState } from '../src/nn/index.ts';
import * as ops from '../src/ops/index.ts';
import { fromValues } from './exact.ts';
import { fixture, type Logits, startingImages, startingWeights } from './fixtures/vgg.ts';
import { gpuTest, messageOf } from './gpu.ts';

const options: ModelOptions = { classes: 7, channels: 3, size: 48, width: 1 / 8, head: 'vgg', pool: 1, seed: 1 };
/**
 * Parameters of torchvision's network (full width, 1000 classes, pooled to 7×7), from the shapes of a small one: at an eighth
 * all counts but colours, classes and kernel sides are an eighth, and the first Linear sees 49 times as many features.
 */
function fullCount(name: string): number {
  const full = (extent: number) => (extent === 3 ? 3 : extent === options.classes ? 1000 : 8 * extent);
  return [...createModel(name, options).state()]
    .filter(([, { kind }]) => kind === 'parameter')
    .map(([key, { fileShape }]) => {
      const [k, c, ...kernel] = fileShape as [number, number?, ...number[]];
      const area = key === 'classifier.0.weight' ? 49 : kernel.reduce((product, side) => product * side, 1);
      return full(k) * (c === undefined ? 1 : full(c)) * area;
    })
    .reduce((sum, count) => sum + count, 0);
}

gpuTest('full-width networks have as many parameters as torchvision’s', () => {
  assert.is(fullCount('vgg11_bn'), 132_868_840);
  assert.is(fullCount('vgg13_bn'), 133_053_736);
  assert.is(fullCount('vgg16_bn'), 138_365_992);
  assert.is(fullCount('vgg19_bn'), 143_678_248);
});

test('channel counts are multiples of 8 and at least 8', () => {
  const counts = [1, 0.5, 0.3, 0.01].map((width) => [scaled(64, width), scaled(512, width), scaled(4096, width)]);
  assert.equal(counts, [
    [64, 512, 4096],
    [32, 256, 2048],
    [16, 152, 1232],
    [8, 8, 40],
  ]);
});

gpuTest('state has torchvision’s names, shapes and order', () => {
  const { pool7 } = fixture<Logits>('logits.json');
  const state = createModel('vgg16_bn', { ...options, pool: 7, size: 96 }).state();
  assert.equal(
    [...state].map(([name, { fileShape }]) => [name, [...fileShape]]),
    pool7.tensors.map(([name, shape]) => [name, shape]),
  );
});

gpuTest('with PyTorch’s weights and --pool 7, logits are PyTorch’s', async () => {
  const { seed, imagesTensor, pool7 } = fixture<Logits>('logits.json');
  const { batch, side, width, pool } = pool7;
  const net = createModel('vgg16_bn', { ...options, size: side, width, pool }).eval();
  const weights = new Map(
    [...startingWeights(seed, pool7.tensors)].map(([name, { shape, data }]) => [
      name,
      { shape, data: Float32Array.from(data) },
    ]),
  );
  writeState(net, weights, 'logits.json');
  assert.equal(await readState(net), weights);
  const images = fromValues(startingImages(seed, imagesTensor, batch, side));
  const logits = await (await step(() => noGrad(() => net.forward(images)))).read();
  const [want, wrong] = [pool7.logits.flat(), pool7.unpermuted.flat()];
  const apart = (other: number[]) => Math.max(...other.map((value, i) => Math.abs(logits[i]! - value)));
  const allowed = 1e-4 * Math.max(1, ...want.map(Math.abs));
  assert.ok(apart(want) <= allowed, `${apart(want)} apart`);
  assert.ok(apart(wrong) > 100 * allowed);
});

const vggs = MODEL_NAMES.filter((name) => name.startsWith('vgg'));
const variants = [
  ...vggs.map((name) => ({ name, head: 'vgg', channels: 3 }) as const),
  ...vggs.map((name) => ({ name, head: 'fastai', channels: 1 }) as const),
];
for (const { name, head, channels } of variants) {
  gpuTest(`${name} with the ${head} head and ${channels} input channels gives every parameter a gradient`, async () => {
    const net = createModel(name, { ...options, width: 1 / 16, size: 32, channels, head, dropout: 0 });
    const size = 2 * 32 * 32 * channels;
    const x = Tensor.from(
      Float32Array.from({ length: size }, (_, i) => Math.sin(i * 0.7)),
      [2, 32, 32, channels],
    );
    await step(() => {
      const logits = net.forward(x);
      assert.equal(logits.shape, [2, 7]);
      ops.crossEntropy(logits, Tensor.from(Uint32Array.of(1, 6))).backward();
    });
    for (const [key, p] of net.parameters()) assert.ok(p.grad, `${key} has no gradient`);
    const first = await net.parameters().get('features.0.weight')!.grad!.read();
    assert.ok(first.some((value) => value !== 0) && first.every(Number.isFinite));
  });
}

gpuTest('the same seed gives the same weights, another seed others', async () => {
  const first = (seed: number) =>
    [
      ...createModel('vgg11_bn', { ...options, width: 1 / 16, size: 32, seed })
        .parameters()
        .values(),
    ][0]!.read();
  assert.equal(await first(1), await first(1));
  assert.not.equal(await first(1), await first(2));
});

gpuTest('heads are drawn as torchvision’s and as fast.ai’s, whose norms begin with a β of 0.001', async () => {
  const drawn = async (head: 'vgg' | 'fastai') => {
    const state = await readState(createModel('vgg11_bn', { ...options, width: 1 / 4, head }));
    return (name: string) => state.get(`classifier.${name}`)?.data;
  };
  const std = (values: Float32Array) => Math.sqrt(values.reduce((sum, value) => sum + value ** 2, 0) / values.length);
  const near = (values: Float32Array | undefined, want: number) =>
    assert.ok(Math.abs(std(values!) / want - 1) < 0.03, `${std(values!)}, not ${want}`);
  const [vgg, fastai] = [await drawn('vgg'), await drawn('fastai')];
  near(vgg('0.weight'), 0.01);
  near(vgg('3.weight'), 0.01);
  assert.equal([...new Set(vgg('0.bias'))], [0]);
  near(fastai('2.weight'), Math.sqrt(2 / 256));
  near(fastai('6.weight'), Math.sqrt(2 / 512));
  assert.is(fastai('2.bias'), undefined);
  for (const norm of ['0', '4'])
    assert.equal([...new Set(fastai(`${norm}.weight`)), ...new Set(fastai(`${norm}.bias`))], [1, Math.fround(0.001)]);
});

gpuTest('names and sizes that cannot be are refused', async () => {
  assert.match(
    await messageOf(() => createModel('vgg17_bn', options)),
    /^unknown architecture 'vgg17_bn'; there are vgg11_bn/,
  );
  assert.match(await messageOf(() => createModel('vgg16_bn', { ...options, size: 31 })), /needs at least 32/);
  for (const [what, value] of [
    ['pool', 1.5],
    ['pool', 0],
    ['classes', Number.NaN],
  ] as const)
    assert.match(
      await messageOf(() => createModel('vgg16_bn', { ...options, [what]: value })),
      new RegExp(`^${what} ${value}: it is a whole number from 1 on\\.$`),
    );
  for (const width of [0, -1, Number.NaN, Number.POSITIVE_INFINITY])
    assert.is(
      await messageOf(() => createModel('vgg16_bn', { ...options, width })),
      `width ${width}: it is a number above 0.`,
    );
  const two = { ...options, channels: 2 } as unknown as ModelOptions;
  assert.is(await messageOf(() => createModel('vgg16_bn', two)), 'channels 2: there are 1 or 3.');
});

gpuTest('settings that are undefined are those that are left out', async () => {
  const unsaid = { channels: undefined, head: undefined, pool: undefined, seed: undefined };
  const settings = { classes: 7, size: 32, width: 1 / 16 };
  const weights = async (of: ModelSettings) => [...(await readState(createModel('vgg11_bn', of)))];
  assert.equal(await weights({ ...settings, ...unsaid }), await weights(settings));
});

test.run();
