import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { halfCopyOf } from '../src/core/halfcopy.ts';
import { step } from '../src/core/step.ts';
import { setSeed, setStepCounter, stepCounter } from '../src/core/stepbuffer.ts';
import { Tensor } from '../src/core/tensor.ts';
import { AUGMENTATIONS } from '../src/data/augment.ts';
import { Batches } from '../src/data/batches.ts';
import { createModel } from '../src/models/index.ts';
import * as nn from '../src/nn/index.ts';
import * as ops from '../src/ops/index.ts';
import { AdamW, LossScale, type Optimizer, SGD } from '../src/optim/index.ts';
import { type RangeTestOptions, rangeTest } from '../src/train/rangetest.ts';
import { suggest } from '../src/train/suggest.ts';
import { gpuTest, halfTest, messageOf } from './gpu.ts';

const BATCH = 8;

/** A small network with dropout and batch norm on images of noise, everything from the same seed. */
function scene(make: (model: nn.Module) => Optimizer, dtype: 'f32' | 'f16' = 'f32') {
  setSeed(3);
  const count = 3 * BATCH;
  const pixels = Uint8Array.from({ length: count * 32 * 32 }, (_, i) => (i * 2654435761) >>> 24);
  const labels = Uint8Array.from({ length: count }, (_, i) => i % 7);
  const batches = new Batches(
    { pixels, labels, count, side: 32, channels: 1 },
    { batch: BATCH, augmentation: AUGMENTATIONS.crop, dtype },
  );
  const options = { classes: 7, channels: 1, size: 32, width: 1 / 16, head: 'fastai' } as const;
  const model = createModel('vgg11_bn', options);
  return { model, optimizer: make(model), batches };
}

async function train({ model, optimizer, batches }: ReturnType<typeof scene>, steps: number): Promise<void> {
  for (let i = 0; i < steps; i++) {
    await step(() => {
      const { x, labels } = batches.take(Uint32Array.from({ length: BATCH }, (_, n) => n));
      ops.crossEntropy(model.train().forward(x), labels).backward(optimizer.lossScale?.gradient());
      optimizer.step({ lr: 0.01, momentum: 0.9 });
    });
  }
}

async function everything({ model, optimizer }: ReturnType<typeof scene>): Promise<Uint32Array[]> {
  const tensors = [...[...model.state().values()].map(({ tensor }) => tensor), ...optimizer.state().flat()];
  if (optimizer.lossScale) tensors.push(optimizer.lossScale.words);
  if (optimizer.average) tensors.push(...optimizer.average.tensors, optimizer.average.updates);
  for (const parameter of model.parameters().values()) tensors.push(halfCopyOf(parameter) ?? parameter);
  const values: Uint32Array[] = [];
  for (const tensor of tensors) values.push(await tensor.readInts());
  return values;
}

const makers: [string, (model: nn.Module) => Optimizer][] = [
  ['SGD', (model) => new SGD(model.parameters().values(), { weightDecay: 1e-3 })],
  ['AdamW with a moving average', (model) => new AdamW(model.parameters().values(), { ema: 0.9, clip: 1 })],
];
const inHalf = (model: nn.Module) => new SGD(model.parameters().values(), { lossScale: new LossScale() });
const kinds = [...makers.map(([name, make]) => [name, make, 'f32'] as const), ['SGD in f16', inHalf, 'f16'] as const];
for (const [name, make, dtype] of kinds) {
  (dtype === 'f16' ? halfTest : gpuTest)(
    `a range test with ${name} leaves everything as it was, to the bit, and the next steps too`,
    async () => {
      const parts = scene(make, dtype);
      await train(parts, 2);
      const [before, steps, counter] = [await everything(parts), parts.optimizer.steps, stepCounter()];
      parts.model.eval();
      const points = await rangeTest(parts, { steps: 20, startLr: 1e-3, endLr: 1 });
      assert.ok(points.length > 5);
      assert.is(parts.model.training, false);
      assert.equal(await everything(parts), before);
      assert.is(parts.optimizer.steps, steps);
      assert.is(stepCounter(), counter);

      await train(parts, 2);
      const tested = await everything(parts);
      // The step counter is the device's: the same steps are drawn again from where it stood.
      const twin = scene(make, dtype);
      setStepCounter(counter - 2);
      await train(twin, 4);
      assert.equal(await everything(twin), tested);
    },
  );
}

gpuTest('rates are evenly spaced in log, losses smoothed; the test ends at four times the best loss', async () => {
  const parts = scene(makers[0]![1]);
  const seen: number[] = [];
  const points = await rangeTest(parts, { steps: 40, startLr: 1e-4, endLr: 1e4, onStep: (_, done) => seen.push(done) });
  assert.ok(points.length < 40, `it went on to the end: ${points.map(({ loss }) => loss)}`);
  assert.equal(
    seen,
    points.map((_, i) => i + 1),
  );
  for (const [i, { lr }] of points.entries()) assert.ok(Math.abs(lr / (1e-4 * 1e8 ** (i / 40)) - 1) < 1e-12);
  const losses = points.map(({ loss }) => loss);
  const best = Math.min(...losses.filter(Number.isFinite));
  assert.ok(losses.slice(0, -1).every((loss) => loss <= 4 * best) && !(losses.at(-1)! <= 4 * best));
  const { model, batches } = scene(makers[0]![1]);
  const first = await step(() => {
    const { x, labels } = batches.take(batches.order(0).subarray(0, BATCH));
    return ops.crossEntropy(model.train().forward(x), labels);
  });
  const loss = await first.item();
  assert.ok(Math.abs(losses[0]! / loss - 1) < 1e-6, `the first is a loss itself: ${losses[0]}, ${loss}`);
});

gpuTest('a sweep that cannot be is refused', async () => {
  const refused: [options: RangeTestOptions, message: RegExp][] = [
    [{ steps: 0 }, /^rangeTest: steps is 0; it is a whole number \(2 or more\)\.$/],
    [{ steps: 2.5 }, /^rangeTest: steps is 2\.5; /],
    [{ startLr: 0 }, /^rangeTest: startLr is 0; it is a number \(above 0\)\.$/],
    [{ startLr: 1, endLr: 0.1 }, /^rangeTest: endLr is 0\.1; it is a number \(above 1\)\.$/],
    [{ momentum: 1 }, /^rangeTest: momentum is 1; /],
  ];
  const parts = scene(makers[0]![1]);
  for (const [options, message] of refused) assert.match(await messageOf(() => rangeTest(parts, options)), message);
});

/** Its losses are those that it is told, the labels being 0. */
class Scripted extends nn.Module {
  readonly scale = nn.constant([1], 1);
  private readonly losses: number[];

  constructor(losses: readonly number[]) {
    super();
    this.losses = [...losses];
  }

  override own() {
    return { scale: { tensor: this.scale, kind: 'parameter', fileShape: [1] } as const };
  }

  forward(): Tensor {
    const logit = Math.log(Math.expm1(this.losses.shift()!));
    const logits = Tensor.from([0, logit, 0, logit], [2, 2]);
    return ops.add(logits, ops.mul(this.scale, 0));
  }
}

gpuTest(
  'losses are smoothed from the first on; the test ends after its steps, or far above the best loss',
  async () => {
    const set = { pixels: new Uint8Array(8), labels: new Uint8Array(2), count: 2, side: 2, channels: 1 } as const;
    const tested = async (losses: readonly number[], steps: number) => {
      const model = new Scripted(losses);
      const parts = { model, optimizer: new SGD([model.scale]), batches: new Batches(set, { batch: 2 }) };
      return (await rangeTest(parts, { steps })).map(({ loss }) => loss);
    };
    const near = (got: number[], losses: readonly number[]) => {
      assert.is(got.length, losses.length);
      let average = 0;
      for (const [i, loss] of losses.entries()) {
        average = 0.98 * average + 0.02 * loss;
        const want = average / (1 - 0.98 ** (i + 1));
        assert.ok(Math.abs(got[i]! / want - 1) < 1e-4, `${i}: ${got[i]}, expected ${want}`);
      }
    };
    near(await tested([1, 2, 3, 4, 5], 3), [1, 2, 3]);
    // Means of 4, 2.05, …, 0.88, and then 4.2: above four times the best, not the first.
    const explodes = [4, 0.1, 0.1, 0.1, 0.1, 20];
    near(await tested([...explodes, 1, 1], 8), explodes);
  },
);

/** Points at rates 10^(i/10) with these losses, after ten and before five that no method sees. */
const at = (losses: readonly number[]) => {
  const unseen = (n: number, loss: number) => Array.from({ length: n }, () => loss);
  return [...unseen(10, -99), ...losses, ...unseen(5, -99)].map((loss, i) => ({ lr: 10 ** ((i - 10) / 10), loss }));
};
const rank = (lr: number | undefined): number => Math.round(10 * Math.log10(lr!));

test('suggestions on a valley that falls for thirty points and then rises', () => {
  // Falls by 1 a point, but by 3 from 20 to 21; rises by 2.
  const falling = Array.from({ length: 30 }, (_, i) => 100 - i - (i > 20 ? 2 : 0));
  const losses = [...falling, ...Array.from({ length: 20 }, (_, i) => falling.at(-1)! + 2 * (i + 1))];
  const { valley, steep, minimum, slide } = suggest(at(losses), 100);
  // Thirty points that end at 29, from −1 on: −1 + 10 + 5.
  assert.is(rank(valley), 14);
  assert.is(rank(steep), 20);
  assert.is(rank(minimum), 29 - 10);
  // Slopes are 2 at the right end; a window of 15 first has two equal ones at 34 … 49, so none is slid over.
  assert.is(rank(slide), 34);
});

test('a length that no three divide is rounded down twice; of equals the first counts', () => {
  // Eleven points from −1 on, thirds of 3 2/3: −1 + 3 + 1.
  const falling = Array.from({ length: 11 }, (_, i) => 20 - i);
  assert.is(rank(suggest(at([...falling, 30, 30, 30]), 100).valley), 3);
  const { valley, minimum } = suggest(at([5, 4, 3, 5, 4, 3]), 100);
  assert.equal([rank(valley), rank(minimum)], [-1 + 1, 2 - 10]);
});

test('slide goes left as long as slopes differ', () => {
  // Slope −1 up to 25, then 0: windows whose right end is flat and whose left end falls.
  const losses = Array.from({ length: 41 }, (_, i) => 50 - Math.min(i, 25));
  // From 25 … 40 (slopes −½ and 0) to 10 … 25 (−1 and −½), the last with a difference; 9 … 24 has none.
  assert.is(rank(suggest(at(losses), 100).slide), 10);
});

test('a loss that is no number ends what is looked at; too few points suggest nothing', () => {
  const losses = Array.from({ length: 40 }, (_, i) => (i < 12 ? 20 - i - (i > 5 ? 2 : 0) : Number.NaN));
  const { valley, steep, minimum, slide } = suggest(at(losses), 100);
  assert.is(rank(valley), -1 + 4 + 2);
  assert.is(rank(minimum), 11 - 10);
  assert.is(rank(steep), 5);
  assert.is(slide, undefined);
  assert.equal(suggest([], 100), { valley: undefined, slide: undefined, steep: undefined, minimum: undefined });
});

test.run();
