import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { fitLinear } from '../bench/linear.ts';
import { loadDataset } from '../src/data/dataset.ts';
import { drawRange, drawToyface, drawToyfaces } from '../src/data/toyfaces.ts';
import { rejectsData } from './files.ts';

test('the faces are the same bytes on every machine', () => {
  // Changes only when the drawing changes on purpose; runs before and after then no longer compare.
  const { pixels } = drawRange(1, 0, 70);
  assert.is(createHash('sha256').update(pixels).digest('hex').slice(0, 16), 'a215eb006af6c650');
});

test('a face depends on its seed, number and label only', () => {
  const { pixels, labels } = drawRange(1, 100, 120);
  for (const i of [0, 7, 19]) {
    assert.is(labels[i], (100 + i) % 7);
    assert.equal(pixels.slice(i * 2304, (i + 1) * 2304), drawToyface(1, 100 + i, labels[i]!));
  }
  assert.is.not(String(drawToyface(2, 100, 2)), String(drawToyface(1, 100, 2)));
  assert.is.not(String(drawToyface(1, 100, 3)), String(drawToyface(1, 100, 2)));
});

test('no exact arithmetic is left to chance: no call whose rounding the engine may choose', () => {
  for (const file of ['toyfaces', 'expressions', 'canvas', 'pcg']) {
    const code = readFileSync(new URL(`../src/data/${file}.ts`, import.meta.url), 'utf8').replace(
      /\/\*[\s\S]*?\*\/|\/\/.*/g,
      '',
    );
    assert.not.match(code, /Math\.(sin|cos|tan|exp|log|pow|hypot|atan2?|cbrt|random)\b|\*\*/, file);
  }
});

test('as a data set: disjoint splits, balanced classes, limit and sources', async () => {
  const set = await loadDataset({ data: 'toyfaces', seed: 5, limit: 21 });
  assert.is(set.name, 'toyfaces');
  assert.equal(set.classes, ['angry', 'disgust', 'fear', 'happy', 'sad', 'surprise', 'neutral']);
  assert.equal([set.train.count, set.valid.count, set.test!.count], [21, 21, 21]);
  for (const part of [set.train, set.valid, set.test!]) {
    for (let label = 0; label < 7; label++) assert.is(part.labels.filter((value) => value === label).length, 3);
  }
  assert.equal([set.source('train', 12), set.source('valid', 0)], ['toyfaces #12', 'toyfaces #2100']);
  assert.is((await loadDataset({ data: 'toyfaces', seed: 9, limit: 21 })).fingerprint, set.fingerprint);
  assert.is.not((await loadDataset({ data: 'toyfaces', seed: 5, limit: 14 })).fingerprint, set.fingerprint);
  assert.equal(drawRange(1, 2100, 2121).pixels, set.valid.pixels);
});

test('a limit that leaves one class is refused for training, as with other data', async () => {
  await rejectsData(() => loadDataset({ data: 'toyfaces', limit: 1 }), 'toyfaces: its one training image is ');
  assert.is((await loadDataset({ data: 'toyfaces', limit: 1, use: 'evaluate' })).valid.count, 1);
});

test('the variation is real: no two faces alike, light and contrast spread', () => {
  const { pixels, count } = drawRange(1, 0, 210);
  const images = Array.from({ length: count }, (_, i) => pixels.subarray(i * 2304, (i + 1) * 2304));
  assert.is(new Set(images.map((image) => createHash('sha1').update(image).digest('hex'))).size, count);
  const means = images.map((image) => image.reduce((a, b) => a + b, 0) / 2304).sort((a, b) => a - b);
  assert.ok(means[20]! < 100 && means[190]! > 150, `means from ${means[20]} to ${means[190]}`);
  for (const [i, image] of images.entries()) {
    const mean = image.reduce((a, b) => a + b, 0) / 2304;
    const deviation = Math.sqrt(image.reduce((sum, value) => sum + (value - mean) ** 2, 0) / 2304);
    assert.ok(deviation > 8, `face ${i} is nearly blank: deviation ${deviation}`);
  }
});

test('a linear classifier stays under 70 %, and well above chance', () => {
  // bench/linear.ts does it at full length: 54 %.
  const { train, valid } = drawToyfaces(560);
  const { validAccuracy, trainAccuracy } = fitLinear(train, valid, 7, 0.01, 25);
  assert.ok(validAccuracy > 0.25 && validAccuracy < 0.7, `validation ${validAccuracy}`);
  assert.ok(trainAccuracy > 0.7, `train ${trainAccuracy}`);
});

test.run();
