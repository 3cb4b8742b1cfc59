import { PNG } from 'pngjs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ShapeError } from '../src/core/errors.ts';
import { rgbToLab } from '../src/data/lab.ts';
import type { CamExample } from '../src/train/camrows.ts';
import { camSheetPng } from '../src/train/camsheet.ts';
import { type HeatMap, heatColour, mostlyAt, overlay, stretched } from '../src/train/heat.ts';

const map = (rows: number[][]): HeatMap => ({
  values: Float32Array.from(rows.flat()),
  rows: rows.length,
  columns: rows[0]!.length,
});

test('the colours get lighter evenly, to all kinds of eyes', () => {
  const lightness = Array.from({ length: 101 }, (_, i) => rgbToLab(Uint8Array.from(heatColour(i / 100)))[0]!);
  for (const [i, l] of lightness.slice(1).entries()) {
    const step = l - lightness[i]!;
    assert.ok(step > 0 && step < 2, `${lightness[i]} to ${l} at ${i}`);
  }
  assert.equal([heatColour(-1), heatColour(2)], [heatColour(0), heatColour(1)]);
});

test('a map is stretched between the centres of its places', () => {
  assert.equal([...stretched(map([[1, 3]]), 4)].slice(0, 4), [1, 1.5, 2.5, 3]);
  assert.equal([...stretched(map([[5]]), 2)], [5, 5, 5, 5]);
  // Smaller than the map: the nearest places.
  const rows = stretched(map([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]]), 2); // biome-ignore format: a map
  assert.equal([...rows], [2.5, 4.5, 10.5, 12.5]);
});

test('an overlay is lightest where the map is largest, and dark where it is 0', () => {
  const picture = { pixels: new Uint8Array(4 * 4 * 3).fill(100), side: 4, channels: 3 as const };
  const { pixels, side, channels } = overlay(picture, map([[0, 2]]), 8);
  assert.equal([pixels.length, side, channels], [8 * 8 * 3, 8, 3]);
  const light = (column: number) => rgbToLab(pixels.subarray(3 * column, 3 * column + 3))[0]!;
  assert.ok(light(7) > light(4) && light(4) > light(1));
  assert.equal([...pixels.subarray(0, 3)], [45, 45, 47]);
  const nothing = overlay(picture, map([[0, 0]]), 8);
  for (let i = 0; i < 64; i++) assert.equal([...nothing.pixels.subarray(3 * i, 3 * i + 3)], [45, 45, 47]);
});

test('where most of a map is, in words', () => {
  assert.is(mostlyAt(map([[0, 0, 0], [0, 0, 0], [0, 0, 0]])), 'nowhere'); // biome-ignore format: a map
  assert.match(mostlyAt(map([[9, 0, 0], [0, 0, 0], [0, 0, 0]])), /^mostly the upper left \(\d\d %\)$/); // biome-ignore format: a map
  assert.match(mostlyAt(map([[0, 0, 0], [0, 9, 0], [0, 0, 0]])), /^mostly the middle/); // biome-ignore format: a map
  assert.match(mostlyAt(map([[0, 0, 0], [0, 0, 0], [0, 9, 1]])), /^mostly the bottom/); // biome-ignore format: a map
  assert.match(mostlyAt(map([[0, 0, 0], [0, 0, 9], [0, 0, 0]])), /^mostly the right/); // biome-ignore format: a map
});

const example = (more: Partial<CamExample> = {}): CamExample => ({
  ...{ pixels: new Uint8Array(48 * 48).fill(77), side: 48, channels: 1 },
  ...{ truth: 'sad', prediction: 'happy', probability: 0.97, loss: 3.5 },
  ...{ seen: map([[0, 1]]), missed: map([[0, 0]]) },
  ...more,
});
const right = (more: Partial<CamExample> = {}) => example({ prediction: 'sad', missed: null, ...more });
const decode = (bytes: Uint8Array) => PNG.sync.read(Buffer.from(bytes));
const count = ({ data }: PNG, colour: readonly number[]) => {
  let found = 0;
  for (let at = 0; at < data.length; at += 4) if (colour.every((value, c) => data[at + c] === value)) found++;
  return found;
};

test('the sheet has a row for each class: images, and themselves under colours', () => {
  const rows = [
    { name: 'sad', right: [right(), right()], wrong: [example()] },
    { name: 'happy', right: [], wrong: [example(), example()] },
  ];
  const png = decode(camSheetPng(rows));
  assert.is(count(png, [77, 77, 77]), 5 * 112 * 112, 'five images');
  const dark = [0, 0, 4].map((c) => Math.round(0.45 * 77 + 0.55 * c));
  assert.ok(count(png, dark) > 3 * 112 * 112, 'three in which nothing speaks for the class, and half of the others');
  assert.ok(count(png, [181, 71, 0]) > 0 && count(png, [0, 96, 158]) > 0);
  const one = decode(camSheetPng(rows.slice(0, 1)));
  assert.ok(one.height < png.height && one.width < png.width);
  assert.equal(camSheetPng(rows), camSheetPng(rows));
});

test('a sheet of nothing is a sheet, and pixels that do not fit are refused', () => {
  assert.ok(decode(camSheetPng([])).width > 100);
  const wrong = example({ channels: 3 });
  assert.throws(
    () => camSheetPng([{ name: 'sad', right: [], wrong: [wrong] }]),
    (error: Error) => error instanceof ShapeError,
  );
});

test.run();
