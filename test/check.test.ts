import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { batchNormBounds, crossEntropyBounds, logSoftmaxBounds, softmaxBounds } from './bounds.ts';
import {
  checker,
  close,
  directions,
  gradient,
  integers,
  permutation,
  roundToF16,
  type TestTensor,
  uniform,
} from './check.ts';
import type { Values } from './reference.ts';
import * as ref from './reference.ts';

/** Stands in for the engine: an f32 value, and a backward pass written by each test. */
class Fake implements TestTensor {
  readonly dtype = 'f32';
  grad: Fake | null = null;
  readonly data: Float32Array;
  readonly shape: number[];
  readonly back: (dy: Float32Array) => void;

  constructor(data: Float32Array, shape: number[], back: (dy: Float32Array) => void = () => {}) {
    this.data = data;
    this.shape = shape;
    this.back = back;
  }

  async read(): Promise<Float32Array> {
    return this.data;
  }

  backward(dy?: Fake): void {
    this.back(dy!.data);
  }
}

const { gradcheck } = checker((data, shape) => new Fake(data, shape));

/** y = x·wᵀ in f32 with its gradients, and then whatever `spoil` does to value and gradients. */
function linear(x: Fake, w: Fake, spoil: (y: Float32Array, dx: Float32Array, dw: Float32Array) => void): Fake {
  const [N, I] = x.shape as [number, number];
  const O = w.shape[0]!;
  const y = new Float32Array(N * O);
  const dx = new Float32Array(N * I);
  const dw = new Float32Array(O * I);
  const each = (f: (n: number, o: number, i: number) => void) => {
    for (let n = 0; n < N; n++) for (let o = 0; o < O; o++) for (let i = 0; i < I; i++) f(n, o, i);
  };
  const accumulate = (to: Float32Array, at: number, a: number, b: number) => {
    to[at] = Math.fround(to[at]! + Math.fround(a * b));
  };
  each((n, o, i) => accumulate(y, n * O + o, x.data[n * I + i]!, w.data[o * I + i]!));
  spoil(y, dx, dw);
  return new Fake(y, [N, O], (dy) => {
    dx.fill(0);
    dw.fill(0);
    each((n, o, i) => {
      accumulate(dx, n * I + i, dy[n * O + o]!, w.data[o * I + i]!);
      accumulate(dw, o * I + i, dy[n * O + o]!, x.data[n * I + i]!);
    });
    spoil(y, dx, dw);
    x.grad = new Fake(dx, x.shape);
    w.grad = new Fake(dw, w.shape);
  });
}

const checkLinear = (spoil: (y: Float32Array, dx: Float32Array, dw: Float32Array) => void = () => {}) =>
  gradcheck({
    op: ([x, w]) => linear(x, w, spoil),
    reference: ([x, w]) => ref.linear(x, w, null),
    inputs: [uniform([9, 60], 1), uniform([40, 60], 2)],
    bound: 'sum',
    what: 'linear',
  });

async function messageOf(run: () => Promise<void> | void): Promise<string> {
  try {
    await run();
  } catch (error) {
    return (error as Error).message;
  }
  return 'passed';
}

test('a right f32 linear passes, value and both gradients', () => checkLinear());

test('one wrong value is found and named', async () => {
  const message = await messageOf(() =>
    checkLinear((y) => {
      y[45]! += 1e-3;
    }),
  );
  assert.match(message, /^linear: y: 1 of 360 off; worst at \[1,5\]: got .*, want .*, error 1\.0.* u·S, allowed 8\.00/);
});

for (const index of [0, 1, 777, 1234, 2399]) {
  test(`a gradient wrong by 1e-3 in element ${index} of 2400 is found`, async () => {
    const message = await messageOf(() =>
      checkLinear((_y, _dx, dw) => {
        dw[index]! += 1e-3;
      }),
    );
    assert.match(message, /^linear: gradient of input 1: 1 of 32 off/);
  });
}

test('a NaN is an error in a value and in a gradient', async () => {
  assert.match(await messageOf(() => checkLinear((y) => y.fill(Number.NaN, 3, 4))), /worst at \[0,3\]: got NaN/);
  assert.match(await messageOf(() => checkLinear((_y, dx) => dx.fill(Number.NaN, 300, 301))), /input 0: 1 of 32/);
});

test('a missing gradient and a wrong shape are errors', async () => {
  const inputs = [uniform([2, 3], 1)] as const;
  const reference = ([x]: readonly [Values]) => x;
  const shared = { inputs, reference, bound: 'exact', what: 'same' } as const;
  assert.is(
    await messageOf(() => gradcheck({ ...shared, op: ([x]) => x })),
    'same: gradient of input 0: there is none',
  );
  const message = await messageOf(() => gradcheck({ ...shared, op: ([x]) => new Fake(x.data, [3, 2]) }));
  assert.is(message, 'same: y has shape [3,2], want [2,3]');
});

test("relu's gradient is exact, and a wrong one on the negative side is found", async () => {
  const relu = (x: Fake, below: number) =>
    new Fake(
      x.data.map((v) => Math.max(v, 0)),
      x.shape,
      (dy) => {
        const dx = dy.map((d, i) => (x.data[i]! > 0 ? d : below * d));
        x.grad = new Fake(dx, x.shape);
      },
    );
  const run = (below: number) =>
    gradcheck({
      op: ([x]) => relu(x, below),
      reference: ([x]) => ref.relu(x),
      inputs: [uniform([20, 9], 3)],
      bound: 'exact',
    });
  await run(0);
  assert.match(await messageOf(() => run(1e-6)), /off; worst/);
});

test("'select' accepts a max pool's routing of dy and refuses the wrong winner", async () => {
  const run = (shift: number) =>
    gradcheck({
      op: ([x]) =>
        new Fake(Float32Array.of(Math.max(...x.data)), [1, 1, 1, 1], (dy) => {
          const winner = x.data.indexOf(Math.max(...x.data));
          const dx = new Float32Array(x.data.length);
          dx[(winner + shift) % dx.length] = dy[0]!;
          x.grad = new Fake(dx, x.shape);
        }),
      reference: ([x]) => ref.maxPool2d(x, { kernel: [6, 10] }),
      inputs: [permutation([1, 6, 10, 1], 5)],
      bound: 'select',
    });
  await run(0);
  assert.match(await messageOf(() => run(1)), /gradient of input 0/);
});

test('directions touch every element once', () => {
  for (const [size, count] of [
    [1, 32],
    [32, 32],
    [33, 32],
    [1000, 32],
    [70, 2],
  ] as const) {
    const all = directions(size, count, 9);
    assert.ok(all.length <= count);
    const touched = all.flatMap(({ indices }) => indices).sort((a, b) => a - b);
    assert.equal(
      touched,
      Array.from({ length: size }, (_, i) => i),
    );
  }
});

test('generators keep their promises', () => {
  const x = uniform([1000], 1, { min: -2, max: 2, kinks: [0, 1] });
  assert.ok(x.data.every((v) => Math.abs(v) >= 0.05 && Math.abs(v - 1) >= 0.05 && Math.fround(v) === v));
  assert.ok(Math.min(...x.data) < -1.9 && Math.max(...x.data) > 1.9);
  assert.equal(x.data, uniform([1000], 1, { min: -2, max: 2, kinks: [0, 1] }).data);
  assert.not.equal(x.data, uniform([1000], 2, { min: -2, max: 2, kinks: [0, 1] }).data);
  const ranks = [...permutation([5, 5], 1).data].sort((a, b) => a - b);
  assert.equal(
    ranks,
    Array.from({ length: 25 }, (_, i) => 4 * (i - 12)),
  );
  assert.equal(new Set(integers([200], 1, -1, 3).data), new Set([-1, 0, 1, 2]));
});

test('roundToF16 rounds as IEEE 754 half, ties to even', () => {
  const x = ref.values([7], [1 / 3, -1 / 3, 2049, 2051, 1 + 2 ** -11, 3 * 2 ** -25, 0]);
  assert.equal([...roundToF16(x).data], [0.333251953125, -0.333251953125, 2048, 2052, 1, 2 ** -23, 0]);
});

test('close reports the worst element in units of u·S', async () => {
  assert.is(await messageOf(() => close([1, 2], [1, 2], 'exact', 'same')), 'passed');
  assert.match(
    await messageOf(() => close([1, 2 + 2 ** -20], [1, 2], { ulps: 4 }, 'near')),
    /= 8\.00 u·S, allowed 4\.00/,
  );
  assert.is(await messageOf(() => close([1, 2 + 2 ** -20], [1, 2], { ulps: 8 }, 'near')), 'passed');
  assert.match(await messageOf(() => close([1], [1, 2], 'exact', 'short')), /got 1 elements, want \[2\]/);
});

/**
 * The allowances of bounds.ts are for real terms: never below the value or gradient itself (else they would refuse a
 * right answer), and at most 100 times the largest of them (else they would accept a wrong one).
 */
const allowances: [string, () => [ReturnType<typeof softmaxBounds>, (inputs: Values[]) => Values, Values[]]][] = [
  ['softmax', () => [softmaxBounds(uniform([4, 7], 1)), ([x]) => ref.softmax(x!), [uniform([4, 7], 1)]]],
  ['logSoftmax', () => [logSoftmaxBounds(uniform([4, 7], 1)), ([x]) => ref.logSoftmax(x!), [uniform([4, 7], 1)]]],
  [
    'crossEntropy',
    () => {
      const options = { labelSmoothing: 0.1, weight: [0.5, 1, 2] };
      const x = uniform([4, 3], 1);
      const labels = [0, 2, 1, 1];
      return [crossEntropyBounds(x, labels, options), ([logits]) => ref.crossEntropy(logits!, labels, options), [x]];
    },
  ],
  [
    'batchNorm',
    () => {
      const inputs = [uniform([4, 3, 3, 5], 1), uniform([5], 2), uniform([5], 3)];
      const [x, gamma, beta] = inputs as [Values, Values, Values];
      const running = [ref.values([5]), ref.values([5])] as const;
      return [batchNormBounds(x, gamma, beta), ([x, g, b]) => ref.batchNorm(x!, g!, b!, ...running).y, inputs];
    },
  ],
];
for (const [name, make] of allowances) {
  test(`the terms of ${name} cover its value and gradient and are not much larger`, () => {
    const [bounds, reference, inputs] = make();
    const y = reference(inputs);
    const dy = uniform(y.shape, 4);
    const gradients = inputs.map((_, i) => gradient(reference, inputs, i, dy).map(({ slope }) => slope));
    const wants = [[...y.data], ...gradients];
    [bounds.y, ...bounds.gradients(dy)].forEach((allowance, i) => {
      const { terms } = allowance as { terms: ArrayLike<number> };
      const want = wants[i]!.map(Math.abs);
      assert.is(terms.length, want.length);
      assert.ok(want.every((value, j) => value <= terms[j]! * (1 + 1e-9)));
      assert.ok(Math.max(...Array.from(terms)) <= 100 * Math.max(...want));
    });
  });
}

test.run();
