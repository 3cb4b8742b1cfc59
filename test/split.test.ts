import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ConfigError } from '../src/core/errors.ts';
import { Pcg } from '../src/data/pcg.ts';
import type { Rows } from '../src/data/rows.ts';
import { apportion, divide, splitRows, stratified } from '../src/data/split.ts';
import { rejectsData } from './files.ts';

/** Rows with the given counts of each usage, interleaved; label = row modulo 3. */
function rowsOf(...counts: [number, number, number]): Rows {
  const left = [...counts];
  const usage: number[] = [];
  while (usage.length < counts[0] + counts[1] + counts[2]) {
    for (let u = 0; u < 3; u++) if (left[u]!-- > 0) usage.push(u);
  }
  const count = usage.length;
  return {
    classes: ['a', 'b', 'c'],
    side: 1,
    channels: 1,
    count,
    pixels: new Uint8Array(count),
    labels: Uint8Array.from({ length: count }, (_, i) => i % 3),
    usage: Uint8Array.from(usage),
    partNames: ['PublicTest', 'PrivateTest'],
    lines: null,
    files: null,
  };
}

const usagesOf = (rows: Rows, indices: Uint32Array) => [...new Set(Array.from(indices, (i) => rows.usage[i]!))].sort();

test('PublicTest validates where there is some, PrivateTest is the test', () => {
  const rows = rowsOf(50, 20, 10);
  const { train, valid, test: held, validName } = splitRows(rows, undefined, 1, 'x.csv');
  assert.equal([train.length, valid.length, held!.length], [50, 20, 10]);
  assert.equal([usagesOf(rows, train), usagesOf(rows, valid), usagesOf(rows, held!)], [[0], [1], [2]]);
  assert.is(validName, 'PublicTest');
});

test('both validates on both, and no test is left', () => {
  const rows = rowsOf(50, 20, 10);
  const { train, valid, test: held, validName } = splitRows(rows, 'both', 1, 'x.csv');
  assert.equal([train.length, valid.length, held], [50, 30, null]);
  assert.equal(usagesOf(rows, valid), [1, 2]);
  assert.equal(
    [...valid],
    [...valid].sort((a, b) => a - b),
  );
  assert.is(validName, 'PublicTest+PrivateTest');
});

test('PrivateTest is in no split but test, whatever validates', () => {
  const rows = rowsOf(60, 20, 10);
  for (const valid of [undefined, 'PublicTest', '10%', '25 %']) {
    const split = splitRows(rows, valid, 1, 'x.csv');
    assert.not.ok([...usagesOf(rows, split.train), ...usagesOf(rows, split.valid)].includes(2), String(valid));
    assert.equal(usagesOf(rows, split.test!), [2]);
  }
});

test('a tenth is held back, stratified, by seed, and without overlap', () => {
  const rows = rowsOf(300, 0, 0);
  const first = splitRows(rows, undefined, 1, 'x.csv');
  assert.equal([first.train.length, first.valid.length, first.test], [270, 30, null]);
  assert.equal(
    [0, 1, 2].map((c) => first.valid.filter((i) => rows.labels[i] === c).length),
    [10, 10, 10],
  );
  assert.equal(
    [...first.train, ...first.valid].sort((a, b) => a - b),
    Array.from({ length: 300 }, (_, i) => i),
  );
  assert.equal(splitRows(rows, '10%', 1, 'x.csv').valid, first.valid);
  assert.is.not(String(splitRows(rows, '10%', 2, 'x.csv').valid), String(first.valid));
});

test('a share is of whole images, up to a half, and stays the same in later versions', () => {
  const lengths = (count: number, share: string) => {
    const { train, valid } = splitRows(rowsOf(count, 0, 0), share, 1, 'x.csv');
    return [train.length, valid.length];
  };
  assert.equal([lengths(105, '10%'), lengths(90, '50%')], [[94, 11], [45, 45]]); // biome-ignore format: pairs
  assert.equal([...splitRows(rowsOf(60, 0, 0), '15%', 1, 'x.csv').valid], [5, 7, 14, 16, 31, 39, 42, 45, 56]);
});

test('a limit takes images of each split, drawn by the seed', () => {
  const rows = rowsOf(60, 30, 30);
  const [first, other] = [1, 2].map((seed) => divide(rows, { valid: undefined, seed, limit: 9 }, 'x.csv'));
  for (const [u, part] of (['train', 'valid', 'test'] as const).entries()) {
    assert.equal([first![part]!.length, usagesOf(rows, first![part]!)], [9, [u]]);
    assert.is.not(String(other![part]), String(first![part]));
  }
});

test('the only image of a class is not held back', () => {
  const rows = { ...rowsOf(101, 0, 0), labels: Uint8Array.from({ length: 101 }, (_, i) => (i === 50 ? 2 : i % 2)) };
  const { train, valid } = splitRows(rows, undefined, 1, 'x.csv');
  assert.equal([train.length, valid.length, train.includes(50)], [92, 9, true]);
});

test('refuses names it does not know and rows that are not there', async () => {
  assert.throws(
    () => splitRows(rowsOf(5, 5, 5), 'public', 1, 'x'),
    (error: Error) => error instanceof ConfigError && /PublicTest.*both.*10%/.test(error.message),
  );
  assert.throws(() => splitRows(rowsOf(5, 5, 5), '80%', 1, 'x'), /up to 50%/);
  assert.throws(() => splitRows(rowsOf(5, 5, 5), '0%', 1, 'x'), /above 0%/);
  await rejectsData(() => splitRows(rowsOf(5, 0, 5), 'PublicTest', 1, 'x.csv'), 'x.csv: no PublicTest');
  await rejectsData(() => splitRows(rowsOf(5, 5, 0), 'both', 1, 'x.csv'), 'x.csv: no PrivateTest');
});

test('apportion keeps proportions and loses no class', () => {
  assert.equal(apportion([3995, 436, 4097, 7215, 4830, 3171, 4965], 64), [9, 1, 9, 16, 11, 7, 11]);
  assert.equal(apportion([1000, 1, 1], 10), [8, 1, 1]);
  assert.equal(apportion([1000, 1, 1], 3), [1, 1, 1]);
  assert.equal(apportion([0, 5, 5], 4), [0, 2, 2]);
  assert.equal(apportion([0, 0], 4), [0, 0]);
});

test('stratified takes all where there are no more, else exactly as many', () => {
  const labels = Uint8Array.from({ length: 100 }, (_, i) => (i < 90 ? 0 : 1));
  const all = Uint32Array.from({ length: 100 }, (_, i) => i);
  assert.is(stratified(labels, all, 100, 2, 1), all);
  const ten = stratified(labels, all, 10, 2, 1);
  assert.equal([ten.length, ten.filter((i) => i >= 90).length, new Set(ten).size], [10, 1, 10]);
});

test('random numbers: pinned, uniform, normal, and unrelated between streams', () => {
  // Pinned, because data sets and splits must not change between versions.
  const random = new Pcg(1, 2);
  assert.equal([random.uint32(), random.uint32(), random.uint32()], [2653900182, 2200961572, 3714786409]);
  const moments = (draw: () => number) => {
    let [sum, square] = [0, 0];
    for (let i = 0; i < 20000; i++) {
      const value = draw();
      sum += value / 20000;
      square += (value * value) / 20000;
    }
    return [sum, square];
  };
  const [mean, square] = moments(() => random.uniform());
  assert.ok(Math.abs(mean! - 1 / 2) < 0.01 && Math.abs(square! - 1 / 3) < 0.01, `${mean} ${square}`);
  const [normalMean, variance] = moments(() => random.normal());
  assert.ok(Math.abs(normalMean!) < 0.03 && Math.abs(variance! - 1) < 0.04, `${normalMean} ${variance}`);
  const firsts = new Set(Array.from({ length: 5000 }, (_, stream) => new Pcg(1, stream).uint32()));
  assert.ok(firsts.size > 4990);
});

test.run();
