import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { PNG } from 'pngjs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { contactSheet } from '../src/cli/contactsheet.ts';
import { withDefaults } from '../src/cli/option.ts';
import { contactSheetOptions } from '../src/cli/options.ts';
import { step } from '../src/core/step.ts';
import { AUGMENTATIONS } from '../src/data/augment.ts';
import { Batches } from '../src/data/batches.ts';
import { emotions } from '../src/data/rows.ts';
import { drawToyfaces } from '../src/data/toyfaces.ts';
import { chooseImages, contactRows, contactSheetPng } from '../src/train/contactsheet.ts';
import { grayPng, scratchFolder } from './files.ts';
import { gpuTest, messageOf } from './gpu.ts';

const scratch = scratchFolder();
test.after(() => scratch.remove());
const adapter = process.env.DAWNGRAD_ADAPTER || 'auto';

const { train: set } = drawToyfaces(40);
const options = { augmentation: AUGMENTATIONS.fer, mixup: 0, size: 40, images: 8, variants: 3, seed: 5 };

test('images are chosen by the seed, one of each class in turn', () => {
  const chosen = chooseImages(set, 9, 5);
  assert.is(new Set(chosen).size, 9);
  const labels = chosen.map((index) => set.labels[index]!);
  assert.equal(labels.slice(0, 7), [0, 1, 2, 3, 4, 5, 6]);
  assert.equal(labels.slice(7), [0, 1]);
  assert.equal(chooseImages(set, 9, 5), chosen);
  assert.not.equal(chooseImages(set, 9, 6), chosen);
  assert.is(chooseImages(set, 99, 5).length, 40);
});

gpuTest('a row is an image as validation sees it, and then what is drawn, each time another', async () => {
  const rows = await contactRows(set, options);
  assert.is(rows.length, 8);
  const batches = new Batches(set, {
    ...{ batch: 1, size: 40, framing: 'centre', normalisation: { mean: [0], std: [1] } },
  });
  for (const [n, index] of chooseImages(set, 8, 5).entries()) {
    const { label, plain, drawn } = rows[n]!;
    assert.is(label, set.labels[index]);
    const x = await (await step(() => batches.take([index]).x)).read();
    assert.equal(plain, { pixels: Uint8Array.from(x, (v) => Math.round(255 * v)), side: 40, channels: 1 });
    assert.is(drawn.length, 3);
    assert.is(new Set([plain, ...drawn.map(({ picture }) => picture)].map(({ pixels }) => pixels.join())).size, 4);
    assert.ok(drawn.every(({ mixed }) => mixed === null));
  }
  assert.equal(await contactRows(set, options), rows, 'the same seed');
});

gpuTest('with mixup it says what each was mixed with', async () => {
  const rows = await contactRows(set, { ...options, mixup: 1 });
  for (const { drawn } of rows) {
    for (const { mixed } of drawn) {
      assert.ok(mixed && mixed.share >= 0.5 && mixed.share <= 1 && mixed.label < 7);
    }
  }
  const png = contactSheetPng(rows, { title: 'a', note: 'b', classes: emotions });
  assert.ok(PNG.sync.read(Buffer.from(png)).height > 8 * 160);
});

const sheet = (given: object) => contactSheet(withDefaults(contactSheetOptions, { adapter, ...given }));

gpuTest('the command writes the sheet', async () => {
  const out = join(scratch.path, 'made', 'sheet.png');
  const { error } = console;
  console.error = () => {};
  try {
    await sheet({ augment: 'fastai', size: 64, images: 2, variants: 4, out });
  } finally {
    console.error = error;
  }
  const { width, height, data } = PNG.sync.read(readFileSync(out));
  assert.ok(width >= 5 * 128 && height >= 2 * 128);
  assert.ok(new Set(data).size > 100, 'there is something on it');
});

gpuTest('the command says which classes have numbers on the sheet for want of letters', async () => {
  for (let i = 0; i < 12; i++) scratch.write(`named/${['glad', 'радость', '怒り'][i % 3]}/${i}.png`, grayPng(i));
  const { error } = console;
  const lines: string[] = [];
  console.error = (line: string) => void lines.push(line);
  try {
    await sheet({ data: join(scratch.path, 'named'), size: 48, out: join(scratch.path, 'named.png') });
  } finally {
    console.error = error;
  }
  assert.match(lines.join('\n'), /^The sheet has no letters for some names: class 1 is радость, class 2 is 怒り\.$/m);
});

gpuTest('what cannot be written is refused before anything is read', async () => {
  const refusals: [given: object, pattern: RegExp][] = [
    [{ out: 'sheet.jpg' }, /^--out sheet\.jpg: the sheet is a PNG\. Give a name/],
    [{ out: scratch.write('there.png', 'x') }, /there\.png: there is such a file already\. Name a new one\.$/],
    [{ out: join(scratch.write('file', 'x'), 'a.png') }, /a\.png: cannot be written \(it is a file, or below one\)/],
    [{ out: join(scratch.path, 'b.png'), data: join(scratch.path, 'gone.csv') }, /gone\.csv: no such file/],
    [{ out: join(scratch.path, 'b.png'), store: 96 }, /^--store 96 is for folders of images/],
  ];
  for (const [given, pattern] of refusals) assert.match(await messageOf(() => sheet(given)), pattern);
  assert.not(existsSync(join(scratch.path, 'b.png')));
});

test.run();
