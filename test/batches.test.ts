import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { step } from '../src/core/step.ts';
import { setSeed, setStepCounter } from '../src/core/stepbuffer.ts';
import { AUGMENTATIONS } from '../src/data/augment.ts';
import { Batches, NO_IMAGE } from '../src/data/batches.ts';
import { onHardware } from './families.ts';
import { gpu, gpuTest, messageOf } from './gpu.ts';

const COUNT = 5;
const set = {
  pixels: Uint8Array.from({ length: COUNT * 9 }, (_, i) => i),
  labels: Uint8Array.from({ length: COUNT }, (_, n) => n),
  count: COUNT,
  side: 3,
  channels: 1 as const,
};

for (const streamed of [false, true]) {
  gpuTest(`indices name images, no others, in a set ${streamed ? 'on the CPU' : 'on the GPU'}`, async () => {
    const { limits } = gpu;
    const limit = (value: object) => Object.defineProperty(gpu, 'limits', { value, configurable: true });
    if (streamed) limit({ maxStorageBufferBindingSize: 40, maxBufferSize: limits.maxBufferSize });
    const batches = new Batches(set, { batch: 3, normalisation: { mean: [0], std: [1 / 255] } });
    limit(limits);
    assert.is((batches as unknown as { streamed: boolean }).streamed, streamed);
    const { x, labels } = await step(() => batches.take([4, 0]));
    assert.equal(
      [...(await x.read())].slice(0, 18).map((value) => Math.round(value)),
      [36, 37, 38, 39, 40, 41, 42, 43, 44, 0, 1, 2, 3, 4, 5, 6, 7, 8],
    );
    assert.equal([...(await labels.readInts())], [4, 0, NO_IMAGE]);
    for (const bad of [COUNT, -1, 0.5, Number.NaN, NO_IMAGE]) {
      assert.is(
        await messageOf(() => step(() => batches.take([0, bad]))),
        `Batches: there is no image ${bad}; the set has 5, numbered from 0.`,
      );
    }
    assert.match(await messageOf(() => batches.choose([0, 1, 2, 3])), /^Batches: 4 indices are more than a batch of 3/);
  });
}

gpuTest('the order is each epoch’s and seed’s own; epochs are of whole batches, one after another', async () => {
  const batches = new Batches(set, { batch: 2 });
  const orders = [batches.order(0), batches.order(1), batches.order(0, 2)].map((order) => [...order]);
  assert.is(new Set(orders.map(String)).size, 3);
  for (const order of orders) assert.equal([...order].sort(), [0, 1, 2, 3, 4]);
  const wholes = [...batches.epochs(2)].map((indices) => [...indices]);
  const expected = [0, 1].flatMap((epoch) => [orders[epoch]!.slice(0, 2), orders[epoch]!.slice(2, 4)]);
  assert.equal(wholes, expected);
  assert.equal([[...batches.order(0)], [batches.full, batches.all]], [orders[0], [2, 3]]);
});

gpuTest('options that would make a batch NaN, or normalise its channels by those of others, are refused', async () => {
  const make = (options: object) => () => new Batches(set, { batch: 2, ...options });
  const numbers =
    /^Batches: normalisation has mean \[.*\] and std \[.*\]; they are a number for each channel, of which there are [13], or one for all; std not 0\.$/;
  for (const [mean, std] of [
    [[0], [0]],
    [[Number.NaN], [1]],
    [[], []],
    [
      [0, 0, 0],
      [1, 1, 1],
    ],
    [[0], [1, 1, 1]],
  ])
    assert.match(await messageOf(make({ normalisation: { mean, std } })), numbers);
  assert.match(await messageOf(make({ mixup: Number.NaN })), /^mixup NaN: α of the Beta distribution/);
});

gpuTest('a step takes several batches, each of its own images', async () => {
  const batches = new Batches(set, { batch: 2, normalisation: { mean: [0], std: [1 / 255] } });
  const taken = await step(() => [[4, 0], [1], [2, 3]].map((indices) => batches.take(indices).x));
  const first = await Promise.all(taken.map(async (x) => (await x.read()).filter((_, i) => i % 9 === 0)));
  assert.equal(
    first.map((values) => [...values].map(Math.round)),
    [
      [36, 0],
      [9, 0],
      [18, 27],
    ],
  );
  // What was chosen last is so in the next step, too.
  const { labels } = await step(() => batches.gather());
  assert.equal([...(await labels.readInts())], [2, 3]);
});

gpuTest('a batch has the same bits where each pixel is an invocation of its own, as on hardware', async () => {
  const look = async (): Promise<number[]> => {
    setSeed(1);
    setStepCounter(3);
    const batches = new Batches(set, { batch: 3, size: 5, channels: 3, augmentation: AUGMENTATIONS.crop });
    const { x, labels } = await step(() => batches.take([4, 0]));
    return [...(await x.read()), ...(await labels.readInts())];
  };
  const want = await look();
  await onHardware(async () => assert.equal(await look(), want));
});

gpuTest(
  'an image of one pixel is that pixel, however it is moved, less the mean and by the deviation of each channel',
  async () => {
    const pixel = { pixels: Uint8Array.of(51, 51), labels: new Uint8Array(2), count: 2, side: 1, channels: 1 as const };
    const augmentation = { ...AUGMENTATIONS.fastai, pLighting: 0 };
    const normalisation = { mean: [0.1, 0.2, 0.3], std: [0.5, 1, 2] };
    const batches = new Batches(pixel, { batch: 2, size: 3, channels: 3, normalisation, augmentation });
    const { x } = await step(() => batches.take([0, 1]));
    const want = [0.2, 0, -0.05];
    assert.ok((await x.read()).every((value, i) => Math.abs(value - want[i % 3]!) < 1e-6));
  },
);

test.run();
