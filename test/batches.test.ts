import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { step } from '../src/core/step.ts';
import { Batches, NO_IMAGE } from '../src/data/batches.ts';
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

gpuTest('options that would make all of a batch NaN are refused', async () => {
  const make = (options: object) => () => new Batches(set, { batch: 2, ...options });
  const numbers =
    /^Batches: normalisation has mean \[.*\] and std \[.*\]; they are numbers for each channel, std not 0\.$/;
  for (const [mean, std] of [
    [[0], [0]],
    [[Number.NaN], [1]],
    [[], []],
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

test.run();
