import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { fromArrays } from '../src/data/arrays.ts';
import { pixel, rejectsData } from './files.ts';

const classes = ['cat', 'dog'];
const labels = Array.from({ length: 20 }, (_, n) => n % 2);
const gray = Uint8Array.from({ length: 20 * 36 }, (_, i) => pixel(Math.floor(i / 36), i % 36));

test('takes one array, splits it by class, and finds the channels by the size', () => {
  const set = fromArrays({ images: gray, labels, classes });
  assert.equal([set.train.count, set.valid.count, set.train.side, set.train.channels, set.test], [18, 2, 6, 1, null]);
  assert.equal([...set.valid.labels].sort(), [0, 1]);
  const [, place] = /^arrays: images\[(\d+)\]$/.exec(set.source('valid', 1))!;
  assert.equal(set.valid.pixels.subarray(36, 72), gray.subarray(Number(place) * 36, Number(place) * 36 + 36));
  const colour = fromArrays({ images: new Uint8Array(20 * 27), labels, classes });
  assert.equal([colour.train.side, colour.train.channels], [3, 3]);
});

test('holds back no class’s only image', () => {
  const one = fromArrays({ images: gray, labels: labels.map((_, n) => (n === 7 ? 1 : 0)), classes });
  assert.equal([one.train.labels.includes(1), one.valid.labels.includes(1)], [true, false]);
});

test('takes a list of images, and validation and test images of their own', () => {
  const images = labels.map((_, n) => gray.subarray(n * 36, n * 36 + 36));
  const own = { images: images.slice(0, 3), labels: Uint8Array.from([1, 1, 0]) };
  const set = fromArrays({ images, labels, classes, valid: own, test: own, name: 'pets' });
  assert.equal([set.name, set.train.count, set.valid.count, set.test!.count], ['pets', 20, 3, 3]);
  assert.equal(set.train.pixels, gray);
  assert.equal([...set.valid.labels], [1, 1, 0]);
  assert.is(set.source('test', 2), 'pets: test[2]');
  images[0]!.fill(0);
  assert.is.not(set.train.pixels[5], 0, 'the pixels are copied');
  gray.set(Array.from({ length: 36 }, (_, i) => pixel(0, i)));
});

test('the fingerprint follows classes, pixels, labels and split', () => {
  const print = (options: object) => fromArrays({ images: gray, labels, classes, ...options }).fingerprint;
  const same = print({});
  assert.is(print({}), same);
  assert.is(print({ name: 'other' }), same);
  const changed = gray.slice();
  changed[100]! ^= 1;
  for (const options of [
    { images: changed },
    { labels: labels.map((l) => 1 - l) },
    { classes: ['a', 'b'] },
    { seed: 2 },
    { valid: 0.2 },
  ]) {
    assert.is.not(print(options), same, JSON.stringify(Object.keys(options)));
  }
});

test('says what does not fit', async () => {
  const from = (options: object) => () => fromArrays({ images: gray, labels, classes, ...options });
  const cases: [object, RegExp][] = [
    [{ classes: ['one'] }, /classes has 1 names; expected 2 to 256/],
    [{ classes: ['a', 'b', 'a'] }, /classes has 'a' twice/],
    [{ labels: [] }, /no labels/],
    [{ labels: labels.slice(1) }, /19 labels do not divide/],
    [{ labels: [2, ...labels.slice(1)] }, /label 0 of images is 2; expected 0 to 1/],
    [{ labels: [0.5, ...labels.slice(1)] }, /label 0 of images is 0.5/],
    [{ images: new Uint8Array(20 * 35) }, /35 values an image; expected side × side × 1 or 3/],
    [{ channels: 3 }, /36 values an image; expected side × side × 3/],
    [{ images: new Float32Array(720) }, /must be Uint8Array/],
    [{ images: [new Uint8Array(36)] }, /1 images and 20 labels/],
    [{ images: labels.map((n) => new Uint8Array(36 + n)) }, /images\[1\] has 37 values, images\[0\] has 36/],
    [{ valid: 1.5 }, /valid is 1.5/],
    [{ images: gray.subarray(0, 72), labels: [0, 1] }, /too few to hold back/],
    [{ valid: { images: new Uint8Array(50), labels: [0, 1] } }, /valid is 5×5; expected 6×6/],
  ];
  for (const [options, pattern] of cases) await rejectsData(from(options), 'fromArrays: ', pattern);
});

test('what a canvas gives is not taken for gray', () => {
  const canvas = Array.from({ length: 20 }, () => new Uint8ClampedArray(8 * 8 * 4));
  const labels = canvas.map((_, n) => n % 2);
  const refused =
    /^fromArrays: images has 256 values an image, clamped ones, as a canvas gives them in RGBA\. Leave out/;
  assert.throws(() => fromArrays({ images: canvas, labels, classes: ['a', 'b'] }), refused);
  assert.is(fromArrays({ images: canvas, labels, classes: ['a', 'b'], channels: 1 }).train.side, 16);
  const odd = canvas.map(() => new Uint8ClampedArray(9 * 9));
  assert.is(fromArrays({ images: odd, labels, classes: ['a', 'b'] }).train.side, 9);
});

test.run();
