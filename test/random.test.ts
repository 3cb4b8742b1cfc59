import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ConfigError } from '../src/core/errors.ts';
import { pcg4d, Random } from '../src/core/random.ts';
import { setSeed } from '../src/core/stepbuffer.ts';
import { fromArrays } from '../src/data/arrays.ts';
import { loadDataset } from '../src/data/dataset.ts';
import { Pcg } from '../src/data/pcg.ts';
import { createModel } from '../src/models/index.ts';

/** The formula of Jarzynski and Olano's paper, on whole numbers without end, cut to 32 bits. */
function published(key: readonly number[]): number[] {
  const cut = (value: bigint) => value & 0xffffffffn;
  let [x, y, z, w] = key.map((word) => cut(BigInt(word >>> 0) * 1664525n + 1013904223n)) as [
    bigint,
    bigint,
    bigint,
    bigint,
  ];
  const round = () => {
    x = cut(x + y * w);
    y = cut(y + z * x);
    z = cut(z + x * y);
    w = cut(w + y * z);
  };
  round();
  [x, y, z, w] = [x ^ (x >> 16n), y ^ (y >> 16n), z ^ (z >> 16n), w ^ (w >> 16n)];
  round();
  return [x, y, z, w].map(Number);
}

test('pcg4d with its shifts of signed words is what shaders/lib/random.wgsl computes on unsigned ones', () => {
  // `x ^= x >>> 16` on a negative number is the unsigned shift that `x >> 16u` is.
  for (const key of [
    [0, 0, 0, 0],
    [1, 2, 3, 4],
    [0xffffffff, 0x80000000, 0x7fffffff, 12345],
    [2013, 7, 1, 4_000_000_000],
  ]) {
    assert.equal([...pcg4d(key[0]!, key[1]!, key[2]!, key[3]!)], published(key));
  }
});

const SIZE = 40_000;

test('normal numbers have mean 0, variance 1, the tails of a normal distribution, and neighbours do not correlate', () => {
  const random = new Random(3, 1);
  const x = Float64Array.from({ length: SIZE }, () => random.normal());
  const mean = (f: (value: number, i: number) => number) =>
    x.reduce((total, value, i) => total + f(value, i), 0) / SIZE;
  const near = (value: number, want: number, deviation: number) =>
    assert.ok(Math.abs(value - want) < (4 * deviation) / Math.sqrt(SIZE), `${value}, want ${want}`);
  near(
    mean((value) => value),
    0,
    1,
  );
  near(
    mean((value) => value * value),
    1,
    Math.sqrt(2),
  );
  near(
    mean((value) => value ** 4),
    3,
    Math.sqrt(96),
  );
  near(
    mean((value) => (Math.abs(value) > 2 ? 1 : 0)),
    0.0455,
    0.21,
  );
  for (const lag of [1, 2, 3, 4])
    near(
      mean((value, i) => value * (x[i + lag] ?? 0)),
      0,
      1,
    );
});

test('uniform numbers lie evenly in [0, 1), integers below their limit', () => {
  const random = new Random(4);
  const bins = new Uint32Array(10);
  for (let i = 0; i < SIZE; i++) {
    const value = random.uniform();
    assert.ok(value >= 0 && value < 1 && Number.isInteger(value * 2 ** 24));
    bins[Math.floor(10 * value)]!++;
  }
  assert.ok(
    bins.every((count) => Math.abs(count - SIZE / 10) < 4 * Math.sqrt(SIZE * 0.09)),
    bins.join(),
  );
  const seen = new Set(Array.from({ length: 1000 }, () => random.integer(7)));
  assert.equal([...seen].sort(), [0, 1, 2, 3, 4, 5, 6]);
});

test('a permutation holds every number once', () => {
  const order = new Random(5).permutation(1000);
  assert.equal(
    [...order].sort((a, b) => a - b),
    Array.from({ length: 1000 }, (_, i) => i),
  );
  assert.ok(order.filter((value, i) => value === i).length < 10);
});

test('every order of three comes equally often', () => {
  const random = new Random(6);
  const counts = new Map<string, number>();
  for (let i = 0; i < 6000; i++) {
    const order = random.permutation(3).join();
    counts.set(order, (counts.get(order) ?? 0) + 1);
  }
  assert.is(counts.size, 6);
  for (const count of counts.values()) assert.ok(Math.abs(count - 1000) < 4 * Math.sqrt(1000), `${count} of 6000`);
});

test('a normal number is Box and Muller’s of two words', () => {
  const [, , size, turn] = pcg4d(3, 0, 2, 0);
  const radius = Math.sqrt(-2 * Math.log((size! + 1) / 2 ** 32));
  assert.is(new Random(3, 2).normal(), radius * Math.cos((2 * Math.PI * turn!) / 2 ** 32));
});

test('depends on seed and stream alone', () => {
  const first = (seed: number, stream: number) => {
    const random = new Random(seed, stream);
    return [random.normal(), random.uniform(), random.integer(1000), random.normal()];
  };
  assert.equal(first(1, 2), first(1, 2));
  assert.not.equal(first(1, 2), first(2, 2));
  assert.not.equal(first(1, 2), first(1, 3));
});

test('what is no seed is refused wherever one is given', async () => {
  const images = Array.from({ length: 40 }, () => new Uint8Array(4));
  const labels = images.map((_, i) => i % 2);
  const takers: readonly ((seed: number) => unknown)[] = [
    (seed) => new Random(seed),
    (seed) => new Pcg(seed),
    (seed) => setSeed(seed),
    (seed) => createModel('vgg11_bn', { classes: 2, size: 32, seed }),
    (seed) => fromArrays({ images, labels, classes: ['a', 'b'], seed }),
    (seed) => loadDataset({ data: 'toyfaces', limit: 7, seed }),
  ];
  for (const seed of [-1, 1.5, 2 ** 32, Number.NaN]) {
    for (const take of takers) {
      const error = await Promise.resolve(seed)
        .then(take)
        .then(String, (thrown: unknown) => thrown);
      assert.ok(error instanceof ConfigError, `${take} took ${seed}: ${error}`);
      assert.is(error.message, `seed ${seed}: it is a whole number (0 to 4294967295).`);
    }
  }
  assert.ok(new Random(2 ** 32 - 1).uniform() < 1);
});

test.run();
