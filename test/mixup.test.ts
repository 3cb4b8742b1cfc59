import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../src/core/random.ts';
import { step } from '../src/core/step.ts';
import { setSeed, setStepCounter } from '../src/core/stepbuffer.ts';
import { Tensor } from '../src/core/tensor.ts';
import { AUGMENTATIONS } from '../src/data/augment.ts';
import { Batches } from '../src/data/batches.ts';
import type { ImageSet } from '../src/data/dataset.ts';
import { drawMixup } from '../src/data/mixup.ts';
import { batchLoss } from '../src/train/loss.ts';
import { PredictionBuffer } from '../src/train/predictions.ts';
import { fixture } from './fixtures/vgg.ts';
import { scaled } from './fixtures/weights.ts';
import { gpuTest, messageOf } from './gpu.ts';
import { crossEntropy } from './reference/softmax.ts';
import { values } from './reference/values.ts';

const COUNT = 9;
const SIDE = 8;
const set: ImageSet = {
  pixels: Uint8Array.from({ length: COUNT * SIDE * SIDE }, (_, i) => (i * 37 + ((i * i) % 91)) & 255),
  labels: Uint8Array.from({ length: COUNT }, (_, n) => n),
  ...{ count: COUNT, side: SIDE, channels: 1 },
};
const normalisation = { mean: [0.4], std: [0.25] };
const order = [4, 0, 8, 2, 6];

/** The cumulative distribution of Beta(α, α), for α that have one in closed form. */
const beta: [alpha: number, cumulative: (x: number) => number][] = [
  [0.5, (x) => (2 / Math.PI) * Math.asin(Math.sqrt(x))],
  [1, (x) => x],
  [2, (x) => x * x * (3 - 2 * x)],
  [3, (x) => x ** 3 * (10 - 15 * x + 6 * x * x)],
];

const drawn = (alpha: number, many: number) => {
  const random = new Random(3, 1);
  return drawMixup(alpha, many, () => (random.integer(2 ** 32) + 0.5) / 2 ** 32);
};

/** A number first, and then others. */
const firstly = (value: number) => {
  const random = new Random(1, 1);
  let first = true;
  return () => {
    const next = first ? value : (random.integer(2 ** 32) + 0.5) / 2 ** 32;
    first = false;
    return next;
  };
};

test('shares have the spread of a Beta distribution, whose larger half is kept; partners are a permutation', () => {
  for (const alpha of [0.01, 0.4, 1, 8]) {
    const many = 20_000;
    const { partner, share } = drawn(alpha, many);
    assert.equal(
      [...partner].sort((a, b) => a - b),
      [...partner.keys()],
    );
    assert.ok(share.every((value) => value >= 0.5 && value <= 1));
    // (λ − ½)² is the same for λ and 1 − λ: its mean is the variance, 1/(4·(2α + 1)), and it lies between 0 and ¼.
    const variance = share.reduce((sum, value) => sum + (value - 0.5) ** 2, 0) / many;
    const expected = 1 / (4 * (2 * alpha + 1));
    assert.ok(Math.abs(variance - expected) < (4 * 0.125) / Math.sqrt(many), `α ${alpha}: ${variance}, ${expected}`);
  }
  // An image of a random permutation stays by itself as often as with any other.
  assert.equal(
    [0.1, 0.9].map((value) => [...drawMixup(1, 2, firstly(value)).partner]),
    [
      [1, 0],
      [0, 1],
    ],
  );
  const { partner, share } = drawMixup(0.4, 1, () => 0.3);
  assert.equal([[...partner], share.length], [[0], 1]);
});

test('shares are distributed as the larger of λ and 1 − λ', () => {
  const many = 200_000;
  for (const [alpha, cumulative] of beta) {
    const share = drawn(alpha, many).share.sort();
    // Kolmogorov's distance, which one sample in a hundred exceeds.
    const distance = share.reduce(
      (most, value, n) => Math.max(most, Math.abs(cumulative(value) - cumulative(1 - value) - (n + 0.5) / many)),
      0,
    );
    assert.ok(distance < 1.63 / Math.sqrt(many), `α ${alpha}: ${distance}`);
  }
});

/** A batch and its parts on the CPU, in step 8 of a seed. */
async function batchOf(mixup: number, seed = 2, indices: readonly number[] = order, steps = 7) {
  setSeed(seed);
  setStepCounter(steps);
  const batches = new Batches(set, { batch: order.length, size: 12, normalisation, mixup });
  const { x, labels, others, share } = await step(() => {
    const { x, labels, mixed } = batches.take(indices);
    return { x, labels, others: mixed?.labels, share: mixed?.share };
  });
  return {
    x: await x.read(),
    labels: await labels.readInts(),
    others: await others?.readInts(),
    share: await share?.read(),
  };
}

gpuTest('an image keeps its share of itself, and the rest is its partner', async () => {
  const plain = await batchOf(0);
  const mixed = await batchOf(0.4);
  assert.is(plain.others, undefined);
  assert.equal([...mixed.labels], order);
  assert.equal([...mixed.others!].sort(), [...order].sort());
  const size = 12 * 12;
  for (let n = 0; n < order.length; n++) {
    const partner = order.indexOf(mixed.others![n]!);
    const share = mixed.share![n]!;
    for (let i = 0; i < size; i++) {
      const want = share * plain.x[n * size + i]! + (1 - share) * plain.x[partner * size + i]!;
      const got = mixed.x[n * size + i]!;
      assert.ok(Math.abs(got - want) <= 16 * 2 ** -24 * 4, `image ${n}, pixel ${i}: ${got}, expected ${want}`);
    }
  }
  assert.ok(mixed.share!.some((share) => share < 0.999));
  assert.equal(await batchOf(0.4), mixed, 'the same seed and step');
  assert.not.equal((await batchOf(0.4, 3)).share, mixed.share, 'another seed');
  assert.not.equal((await batchOf(0.4, 2, order, 8)).share, mixed.share, 'another step');
});

gpuTest('α below 0 is refused', async () => {
  assert.match(await messageOf(() => batchOf(-0.5)), /^mixup -0\.5: .* must be above 0\.$/);
});

gpuTest('partners are augmented as they are for themselves', async () => {
  setSeed(5);
  const shared = { batch: order.length, size: 12, normalisation, augmentation: AUGMENTATIONS.fastai };
  const looks = async (mixup: number) => {
    setStepCounter(7);
    const batches = new Batches(set, { ...shared, mixup });
    const { x, others, share } = await step(() => {
      const { x, mixed } = batches.take(order);
      return { x, others: mixed?.labels, share: mixed?.share };
    });
    return { x: await x.read(), others: await others?.readInts(), share: await share?.read() };
  };
  const [plain, mixed] = [await looks(0), await looks(1)];
  for (const n of order.keys()) {
    const partner = order.indexOf(mixed.others![n]!);
    const share = mixed.share![n]!;
    const want = share * plain.x[n * 144 + 50]! + (1 - share) * plain.x[partner * 144 + 50]!;
    assert.ok(Math.abs(mixed.x[n * 144 + 50]! - want) <= 1e-5);
  }
});

gpuTest('a batch that is not full is mixed with what is there', async () => {
  const { labels, others, share, x } = await batchOf(1, 2, [3, 5]);
  assert.equal([...labels], [3, 5, ...Array(3).fill(0xffffffff)]);
  assert.equal([...others!.subarray(0, 2)].sort(), [3, 5]);
  assert.equal([...share!.subarray(2)], [1, 1, 1]);
  assert.ok(x.subarray(2 * 144).every((value) => value === 0));
});

gpuTest(
  'the loss is that of both labels by their shares, its gradient too, and the predictions have it without label smoothing',
  async () => {
    const [N, C] = [6, 5];
    const random = new Random(9, 1);
    const logits = Float32Array.from({ length: N * C }, () => 2 * random.normal());
    const labels = [0, 3, 1, 4, 2, 2];
    const others = [3, 0, 2, 1, 2, 4];
    const share = Float32Array.of(0.5, 0.73, 1, 0.91, 0.6, 0.55);
    const labelSmoothing = 0.1;
    const rows = (x: ArrayLike<number>, labelSmoothing = 0) => {
      const options = { labelSmoothing, reduction: 'none' } as const;
      const own = crossEntropy(values([N, C], x), labels, options).data;
      const other = crossEntropy(values([N, C], x), others, options).data;
      return own.map((loss, n) => share[n]! * loss + (1 - share[n]!) * other[n]!);
    };
    const meanOf = (x: ArrayLike<number>) => rows(x, labelSmoothing).reduce((sum, loss) => sum + loss, 0) / N;

    const x = Tensor.from(logits, [N, C], { requiresGrad: true });
    const batch = {
      labels: Tensor.from(Uint32Array.from(labels)),
      mixed: { labels: Tensor.from(Uint32Array.from(others)), share: Tensor.from(share) },
    };
    const buffer = new PredictionBuffer(N, 1);
    const loss = await step(() => {
      const loss = batchLoss(x, batch, { labelSmoothing });
      loss.backward();
      buffer.next();
      buffer.write(x, batch);
      return loss;
    });
    const close = (got: number, want: number, what: string) =>
      assert.ok(Math.abs(got - want) <= 3e-6 * Math.max(1, Math.abs(want)), `${what}: ${got}, expected ${want}`);
    close(await loss.item(), meanOf(logits), 'loss');
    const gradient = await x.grad!.read();
    const h = 1e-5;
    for (const i of logits.keys()) {
      const moved = (by: number) => meanOf(Float64Array.from(logits, (value, j) => (j === i ? value + by : value)));
      close(gradient[i]!, (moved(h) - moved(-h)) / (2 * h), `gradient ${i}`);
    }
    const predictions = await buffer.take();
    for (const [n, want] of rows(logits).entries()) close(predictions[n]!.loss, want, `tallied loss ${n}`);
    assert.equal(
      predictions.map(({ label }) => label),
      labels,
      'predictions are held against the images’ own labels',
    );
  },
);

gpuTest('the loss and its gradient are those of fast.ai’s formula in PyTorch, with label smoothing too', async () => {
  const { classes, labels, others, share, runs } = fixture<{
    classes: number;
    labels: number[];
    others: number[];
    share: number[];
    runs: { labelSmoothing: number; loss: number; gradient: number[] }[];
  }>('mixup.json');
  const N = labels.length;
  for (const { labelSmoothing, loss: want, gradient } of runs) {
    const x = Tensor.from(scaled(9, 0, N * classes, 0, 3), [N, classes], { requiresGrad: true });
    const batch = {
      labels: Tensor.from(Uint32Array.from(labels)),
      mixed: { labels: Tensor.from(Uint32Array.from(others)), share: Tensor.from(Float32Array.from(share)) },
    };
    const loss = await step(() => {
      const loss = batchLoss(x, batch, { labelSmoothing });
      loss.backward();
      return loss;
    });
    assert.ok(Math.abs((await loss.item()) - want) <= 3e-6 * want, `${await loss.item()}, PyTorch has ${want}`);
    for (const [i, value] of (await x.grad!.read()).entries()) {
      assert.ok(Math.abs(value - gradient[i]!) <= 1e-6, `gradient ${i}: ${value}, PyTorch has ${gradient[i]}`);
    }
  }
});

test.run();
