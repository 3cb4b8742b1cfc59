// Colour from end to end: folders of PNGs, the cache, bytes on the GPU, batches, training, figures, model file, evaluate, predict.
import { readdirSync, readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { PNG } from 'pngjs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { step } from '../src/core/step.ts';
import { Batches, normalisationOf } from '../src/data/batches.ts';
import { type ImageSet, loadDataset, pixelsOf } from '../src/data/dataset.ts';
import { labToRgb, rgbToLab } from '../src/data/lab.ts';
import { quoted } from '../src/train/call.ts';
import { html } from '../src/train/html.ts';
import { readModelFile } from '../src/train/modelfile.ts';
import { ends } from './child.ts';
import { makePng, scratchFolder } from './files.ts';
import { gpuTest } from './gpu.ts';

const SIDE = 32;
const CLASSES = ['amber', 'teal', 'violet'];
const scratch = scratchFolder();
test.after(() => scratch.remove());

/**
 * Blotches of one hue: (a, b) of CIELAB lie 30 from gray in the class's direction, lightness is drawn the same way for all classes, so
 * a network that sees gray alone can only guess.
 */
function picture(label: number, n: number): Uint8Array {
  const angle = (2 * Math.PI * label) / CLASSES.length + 1;
  const lab = Float32Array.from({ length: SIDE * SIDE * 3 }, (_, at) => {
    const [x, y] = [Math.floor(at / 3) % SIDE, Math.floor(at / 3 / SIDE)];
    const lightness = 60 + 12 * Math.sin(0.9 * n + x / 3) * Math.cos(1.7 * n + y / 4);
    return [lightness, 30 * Math.cos(angle), 30 * Math.sin(angle)][at % 3]!;
  });
  return labToRgb(lab);
}

const colourPng = (label: number, n: number) => makePng(SIDE, SIDE, 2, 8, picture(label, n));

for (const [label, name] of CLASSES.entries()) {
  for (let n = 0; n < 20; n++) scratch.write(`hues/train/${name}/${n}.png`, colourPng(label, n));
  for (let n = 20; n < 26; n++) scratch.write(`hues/valid/${name}/${n}.png`, colourPng(label, n));
}

test('the classes have the same lightness', () => {
  const lightness = CLASSES.map((_, label) => {
    const lab = rgbToLab(picture(label, 3));
    return Array.from({ length: SIDE * SIDE }, (_, i) => lab[3 * i]!);
  });
  for (const other of lightness) for (const [i, l] of other.entries()) assert.ok(Math.abs(l - lightness[0]![i]!) < 1);
});

test('a folder keeps its three channels, also out of the cache', async () => {
  const options = { data: join(scratch.path, 'hues'), store: SIDE, channels: 3 as const };
  const set = await loadDataset(options);
  assert.equal([set.train.channels, set.train.side, set.train.count, set.valid.count], [3, SIDE, 60, 18]);
  for (const part of ['train', 'valid'] as const) {
    for (let i = 0; i < set[part].count; i++) {
      const [, , file] = set.source(part, i).split('/') as [string, string, string];
      assert.equal(pixelsOf(set[part], i), picture(set[part].labels[i]!, Number.parseInt(file, 10)));
    }
  }
  const again = await loadDataset(options);
  assert.equal(again.fingerprint, set.fingerprint);
  // The same folder for a network that takes gray is another set, and does not come out of the cache of this one.
  const gray = await loadDataset({ ...options, channels: 1 });
  assert.is(gray.train.channels, 1);
  const [r, g, b] = picture(gray.train.labels[0]!, Number.parseInt(gray.source('train', 0).split('/')[2]!, 10));
  assert.ok(Math.abs(pixelsOf(gray.train, 0)[0]! - (0.299 * r! + 0.587 * g! + 0.114 * b!)) <= 1, 'luma');
});

test('a gray image among coloured ones is gray in three channels', async () => {
  scratch.write('mixed/a/0.png', makePng(16, 16, 0, 8, new Uint8Array(256).fill(90)));
  scratch.write(
    'mixed/a/1.png',
    makePng(
      16,
      16,
      2,
      8,
      Uint8Array.from({ length: 768 }, (_, i) => [200, 10, 60][i % 3]!),
    ),
  );
  scratch.write('mixed/b/0.png', makePng(16, 16, 0, 8, new Uint8Array(256).fill(30)));
  const { valid } = await loadDataset({ data: join(scratch.path, 'mixed'), store: 16, valid: 'all', use: 'evaluate' });
  assert.is(valid.channels, 3);
  assert.equal(
    [0, 1, 2].map((i) => [...pixelsOf(valid, i).subarray(0, 4)]),
    [
      [90, 90, 90, 90],
      [200, 10, 60, 200],
      [30, 30, 30, 30],
    ],
  );
});

gpuTest('batches have each channel normalised by its own numbers, resized or not', async () => {
  const pixels = Uint8Array.from({ length: 3 * 8 * 8 * 3 }, (_, i) => [10, 100, 180][i % 3]! + ((i * 37) % 70));
  const set: ImageSet = { pixels, labels: Uint8Array.of(0, 1, 2), count: 3, side: 8, channels: 3 };
  const { mean, std } = normalisationOf(set, 3);
  for (const c of [0, 1, 2]) {
    const own = [...pixels].filter((_, i) => i % 3 === c).map((value) => value / 255);
    const average = own.reduce((a, b) => a + b, 0) / own.length;
    const variance = own.reduce((a, b) => a + (b - average) ** 2, 0) / own.length;
    assert.ok(Math.abs(mean[c]! - average) < 1e-9 && Math.abs(std[c]! - Math.sqrt(variance)) < 1e-9);
  }
  const at = (image: number, row: number, column: number, c: number) =>
    (pixels[((image * 8 + row) * 8 + column) * 3 + c]! / 255 - mean[c]!) / std[c]!;
  for (const size of [8, 16]) {
    const batches = new Batches(set, { batch: 3, size });
    const x = await step(() => batches.take([2, 0, 1]).x);
    assert.equal(x.shape, [3, size, size, 3]);
    const values = await x.read();
    for (const [n, image] of [2, 0, 1].entries()) {
      for (let c = 0; c < 3; c++) {
        const corner = values[n * size * size * 3 + c]!;
        assert.ok(Math.abs(corner - at(image, 0, 0, c)) < 1e-5, `${corner}, not ${at(image, 0, 0, c)}`);
      }
    }
    if (size === 8) {
      for (const [i, value] of values.entries()) {
        const [n, rest] = [Math.floor(i / 192), i % 192];
        assert.ok(
          Math.abs(value - at([2, 0, 1][n]!, Math.floor(rest / 24), Math.floor(rest / 3) % 8, rest % 3)) < 1e-5,
        );
      }
    }
  }
});

const tiny = [
  ...['--arch', 'vgg11_bn', '--width', '0.01', '--head', 'fastai', '--store', `${SIDE}`, '--batch', '12', '--no-tune'],
  ...['--optimizer', 'adamw', '--lr', '0.004', '--augment', 'flip', '--dropout', '0', '--epochs', '2'],
];

test('classes that differ in hue alone are learned in colour, and the files of the run are in colour', () => {
  ends(0, scratch.path, ['train', '--data', 'hues', '--channels', '3', '--out', 'run', ...tiny]);
  const { facts, tensors } = readModelFile(join(scratch.path, 'run', 'model.safetensors'));
  assert.equal([facts.storedChannels, facts.options.channels, facts.normalisation.mean.length], [3, 3, 3]);
  assert.is(new Set(facts.normalisation.mean).size, 3);
  assert.equal(tensors.get('features.0.weight')!.shape, [8, 3, 3, 3]);
  const evaluate = ['evaluate', '--model', 'run/model.safetensors', '--data', 'hues', '--out', 'judged', '--json'];
  const evaluation = ends(0, scratch.path, evaluate);
  assert.ok(JSON.parse(evaluation.stdout).accuracy > 0.9, evaluation.stdout);
  assert.match(evaluation.stderr, /^Report: judged\/report\.html$/m);
  const figures = ['confusion.svg', 'grad-cam.png', 'report.html', 'top-losses.png'];
  assert.equal(readdirSync(join(scratch.path, 'judged')).sort(), figures);
  const page = readFileSync(join(scratch.path, 'judged', 'report.html'), 'utf8');
  for (const words of ['dawngrad evaluation', 'vgg11_bn on hues', '18 images', 'Top losses', 'Where it looks']) {
    assert.match(page, words);
  }
  const model = quoted(join(realpathSync(scratch.path), 'run', 'model.safetensors'));
  assert.match(page, html`--model ${model} IMAGE_OR_FOLDER`.markup);

  const { data } = PNG.sync.read(readFileSync(join(scratch.path, 'run', 'top-losses.png')));
  const coloured = new Set<number>();
  for (let at = 0; at < data.length; at += 4) {
    const [, a, b] = rgbToLab(data.subarray(at, at + 3)) as unknown as [number, number, number];
    for (const label of CLASSES.keys()) {
      const angle = (2 * Math.PI * label) / CLASSES.length + 1;
      if (Math.abs(a - 30 * Math.cos(angle)) + Math.abs(b - 30 * Math.sin(angle)) < 2) coloured.add(label);
    }
  }
  assert.is(coloured.size, CLASSES.length, 'all hues are in top-losses.png');

  scratch.write('new/violet.png', colourPng(2, 40));
  scratch.write('new/gray.png', makePng(SIDE, SIDE, 0, 8, new Uint8Array(SIDE * SIDE).fill(120)));
  const predicted = ends(0, scratch.path, [
    ...['predict', '--model', 'run/model.safetensors', 'new', '--json', '--cam', 'looks'],
  ]);
  const [gray, violet] = JSON.parse(predicted.stdout);
  assert.equal([gray.image, gray.cam], [join('new', 'gray.png'), join('looks', 'gray.png')]);
  assert.is(violet.prediction, 'violet');
  const look = PNG.sync.read(readFileSync(join(scratch.path, violet.cam)));
  assert.equal([look.width, look.height], [192, 192]);
});

test.run();
