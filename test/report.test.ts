import { resolve } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { evaluateOptions } from '../src/cli/options.ts';
import { ofWhole } from '../src/train/artifacts.ts';
import { callOf, quoted } from '../src/train/call.ts';
import type { CamExample } from '../src/train/camrows.ts';
import { camSection } from '../src/train/camsection.ts';
import { html, raw } from '../src/train/html.ts';
import { type ReportParts, type RunSummary, reportHtml } from '../src/train/report.ts';
import { duration, timeInWords } from '../src/train/reportparts.ts';

const run = (more: Partial<RunSummary> = {}): RunSummary => ({
  folder: 'runs/first run',
  date: '2026-01-02 03:04',
  command: "npm run train -- --data 'a&b.csv'",
  options: { arch: 'vgg16_bn', batch: 64, lr: 0.01, pretrained: null, nesterov: false },
  seed: 7,
  versions: { dawngrad: '0.1.0', node: '20.11.0' },
  adapter: { name: 'llvmpipe', driver: 'Mesa 25.0.7', backend: 'vulkan' },
  model: { arch: 'vgg16_bn', parameters: 14_723_136 },
  data: {
    name: 'FER2013',
    path: "it's.csv",
    classes: ['sad', 'happy'],
    fingerprint: 'sha256:1234',
    counts: { train: 900, valid: 100 },
    validName: 'PublicTest',
  },
  result: {
    bestEpoch: 2,
    bestValidAccuracy: 0.81,
    finalValidAccuracy: 0.8,
    epochs: 2,
    steps: 28,
    seconds: 4980,
    imagesPerSecond: 1234.5,
    peakGpuBytes: 862e6,
  },
  ...more,
});

const heat = (...values: number[]) => ({ values: Float32Array.from(values), rows: 2, columns: 2 });

const cam = (more: Partial<CamExample> = {}): CamExample => ({
  ...{
    pixels: new Uint8Array(16),
    side: 4,
    channels: 1,
    truth: 'sad',
    prediction: 'happy',
    probability: 0.7,
    loss: 1.5,
  },
  ...{ seen: heat(0, 0, 0, 2), missed: heat(0, 0, 0, 0) },
  ...more,
});

const parts = (more: Partial<ReportParts> = {}): ReportParts => ({
  rows: [1, 2].map((epoch) => ({
    epoch,
    step: 14 * epoch,
    lr: 0.01 / epoch,
    trainLoss: 1 / epoch,
    trainAccuracy: 0.4 * epoch,
    validLoss: 1.1 / epoch,
    validAccuracy: 0.405 * epoch,
    seconds: 75.4,
    imagesPerSecond: 1200,
  })),
  confusion: [[41, 9], [10, 40]], // biome-ignore format: a matrix
  topLosses: [
    { pixels: new Uint8Array(16), side: 4, channels: 1, truth: 'sad', prediction: 'happy', probability: 0.99, loss: 5 },
  ],
  cams: [{ name: 'sad', right: [cam({ prediction: 'sad', missed: null })], wrong: [cam()] }],
  ...more,
});

/** What a reader sees: text without markup and style. */
const visible = (page: string) =>
  page
    .replace(/<style>.*?<\/style>|<svg.*?<\/svg>/gs, '')
    .replace(/<[^>]*>/g, '\n')
    .replace(/\s*\n\s*/g, '\n');

const voidTags = new Set(['meta', 'img']);

/** Throws where a tag is not closed in its place. */
function checkTags(page: string): void {
  const open: string[] = [];
  for (const [, closes, name, empty] of page.replace(/<!doctype html>/, '').matchAll(/<(\/?)([\w-]+)[^>]*?(\/?)>/g)) {
    if (closes) assert.is(open.pop(), name);
    else if (!empty && !voidTags.has(name!)) open.push(name!);
  }
  assert.equal(open, []);
}

// How the page's commands are called does not depend on how the tests are.
const savedEvent = process.env.npm_lifecycle_event;
test.before(() => {
  delete process.env.npm_lifecycle_event;
});
test.after(() => {
  if (savedEvent !== undefined) process.env.npm_lifecycle_event = savedEvent;
});

test('the page says what the run was and what came of it', async () => {
  const page = await reportHtml(run(), parts());
  checkTags(page);
  const text = visible(page);
  for (const line of [
    'vgg16_bn on FER2013',
    '81.00 %',
    '81 of 100 images, epoch 2',
    '80.00 %',
    '1,235',
    '1 h 23 min',
    '862 MB',
    '14.7 million parameters',
    '1,000',
    '900 train, 100 valid',
    '1 min 15 s',
    '2026-01-02 03:04 · llvmpipe ·',
    'sha256:1234',
    'Mesa 25.0.7',
    'seed',
    'false',
    'loss 5.00',
    'Where it looks',
    'loss 1.50',
    '70 %',
  ]) {
    assert.ok(
      text.split('\n').some((seen) => seen === line || seen.startsWith(line)),
      `${line} in ${text}`,
    );
  }
  assert.not.match(text, /pretrained|undefined|NaN|\[object/);
  const evaluate = callOf(
    'evaluate',
    '--model',
    quoted(resolve('runs', 'first run', 'model.safetensors')),
    '--data',
    quoted("it's.csv"),
  );
  assert.ok(page.includes(html`${evaluate}`.markup), evaluate);
});

test('tables have each number in its column', async () => {
  const page = await reportHtml(run(), parts({ confusion: [[41, 9], [20, 30]] })); // biome-ignore format: a matrix
  const rows = [...page.matchAll(/<tr><th scope="row">(.*?)<\/th>(.*?)<\/tr>/g)].map(([, ...cells]) =>
    cells.map((cell) => cell!.replace(/<\/td>/g, '|').replace(/<[^>]*>/g, '')),
  );
  assert.equal(rows, [
    ['1', '0.01|1.0000|40.00 %|1.1000|40.50 %|1 min 15 s|1,200|'],
    ['2', '0.005|0.5000|80.00 %|0.5500|81.00 %|1 min 15 s|1,200|'],
    ['sad', '67.2 %|82.0 %|73.9 %|50|'],
    ['happy', '76.9 %|60.0 %|67.4 %|50|'],
  ]);
  const single = await reportHtml(run(), parts({ confusion: [[4, 1], [0, 4]] })); // biome-ignore format: a matrix
  assert.match(visible(single), /Most often confused\nsad\n *taken for *\nhappy\n *1 ×/);
});

test('durations are told as a person says them', () => {
  const told = [0.04, 9.94, 9.96, 59.4, 59.6, 3599.7, 3661].map(duration);
  assert.equal(told, ['0.0 s', '9.9 s', '10 s', '59 s', '1 min 0 s', '1 h 0 min', '1 h 1 min']);
});

test('times are told to the minute, and that they are UTC', () => {
  assert.is(timeInWords(new Date('2026-01-02T03:04:59.9+01:00')), '2026-01-02 02:04 UTC');
});

test('the page’s evaluate is told how many images, and leaves the rest to what the model file says of its data', async () => {
  const told = async (options: RunSummary['options']) =>
    /--data a\.csv(.*)/.exec(
      visible(await reportHtml(run({ options, seed: 3, data: { ...run().data, path: 'a.csv' } }), parts())),
    )![1];
  assert.is(await told({ valid: '20 %', limit: evaluateOptions.limit.initial }), '');
  assert.is(await told({ valid: '20 %', limit: 70, store: 32 }), ' --limit 70');
});

test('the page needs nothing but itself', async () => {
  const page = await reportHtml(run(), parts());
  assert.not.match(page, /<script|<link|@import|<iframe/);
  for (const [, url] of page.matchAll(/(?:src|href)="([^"]*)"/g)) assert.match(url!, /^data:image\/png;base64,/);
  for (const [, url] of page.matchAll(/url\(([^)]*)\)/g)) assert.match(url!, /^#/);
  const ids = [...page.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id);
  assert.ok(ids.length > 0);
  assert.is(new Set(ids).size, ids.length, 'ids are unique');
});

test('images have words in their place', async () => {
  const page = await reportHtml(run(), parts());
  const alternatives = [...page.matchAll(/<img[^>]*alt="([^"]*)"/g)].map(([, alt]) => alt).filter(Boolean);
  assert.equal(alternatives, [
    'sad, taken for happy',
    ...['sad, taken for what it is', 'What speaks for sad: mostly the lower right (43 %)'],
    ...['sad, taken for happy', 'What speaks for happy: mostly the lower right (43 %)'],
    'What speaks for sad: nowhere',
  ]);
  assert.is([...page.matchAll(/<img(?![^>]*alt=)/g)].length, 0);
});

test('each figure is there for light and for dark', async () => {
  const page = await reportHtml(run(), parts());
  assert.is(page.split('class="on-light"').length - 1, 4);
  assert.is(page.split('class="on-dark"').length - 1, 4);
});

test('nothing from options, data or machine becomes markup', async () => {
  const evil = '<img src=x onerror=alert(1)>"\'&';
  const page = await reportHtml(
    run({
      folder: evil,
      date: evil,
      command: evil,
      options: { [evil]: evil },
      versions: { dawngrad: evil, [evil]: evil },
      adapter: { name: evil, [evil]: evil },
      model: { arch: evil, parameters: 1 },
      data: { ...run().data, name: evil, path: evil, classes: [evil, 'b'], fingerprint: evil, validName: evil },
      result: { ...run().result, note: evil },
      pytorch: evil,
    }),
    parts({
      topLosses: [{ ...parts().topLosses![0]!, truth: evil, prediction: evil }],
      cams: [{ name: evil, right: [], wrong: [cam({ truth: evil, prediction: evil })] }],
    }),
  );
  checkTags(page);
  assert.not.match(page, '<img src=x');
  assert.not.match(page.replace(/<[^>]*>/g, ''), 'onerror=alert(1)>');
});

test('a run without epochs, matrix or losses, and with numbers unknown, still gives a page', async () => {
  const result = {
    ...run().result,
    bestValidAccuracy: Number.NaN,
    imagesPerSecond: Number.NaN,
    peakGpuBytes: Infinity,
  };
  for (const confusion of [undefined, []]) {
    const page = await reportHtml(run({ result, data: { ...run().data, counts: {} } }), {
      rows: [],
      ...(confusion ? { confusion } : {}),
    });
    checkTags(page);
    assert.not.match(visible(page), /NaN|Infinity|undefined|Top losses|Where it looks|Per class/);
    assert.match(visible(page), '–');
  }
  const perfect = await reportHtml(run(), parts({ confusion: [[5, 0], [0, 5]], topLosses: [] })); // biome-ignore format: a matrix
  assert.match(visible(perfect), 'No image was taken for another class.');
});

test('one is one, and a mean is of the classes that it is of', async () => {
  const result = { ...run().result, epochs: 1, steps: 1 };
  const data = { ...run().data, classes: ['a', 'b', 'عربي'] };
  const confusion = [[1, 0, 0], [0, 0, 0], [0, 0, 0]]; // biome-ignore format: a matrix
  const page = await reportHtml(run({ result, data }), parts({ confusion }));
  assert.match(visible(page), /1 epoch, 1 step\b/);
  assert.match(visible(page), /, 1 image\. *\n?Mean F1 of 1 class: 100\.00 %/);
  assert.match(page, '<div class="matrix scroll" style="--classes:3">');
  assert.match(page, '<th scope="row"><bdi>b</bdi></th><td>');
  // As the sheets call it, which have no letters for it.
  assert.match(page, '<th scope="row"><bdi>عربي</bdi> <span class="muted">class 2</span></th><td>');
});

test('what the maps are of is said: of which classes, and of which view', () => {
  const rows = (count: number) => Array.from({ length: count }, (_, n) => ({ name: `${n}`, right: [], wrong: [] }));
  assert.match(camSection(rows(12), 30).markup, 'Of the 30 classes these are the 12 with the most mistakes.');
  assert.not.match(camSection(rows(12), 12).markup, /Of the|augmentation/);
  assert.match(
    camSection(rows(2), 2, true).markup,
    /those of test-time augmentation; the maps are of the image as it is/,
  );
});

test('the command that trains it again makes the whole run', () => {
  const args = ['--epochs', '6', '--out', 'a', '--max-minutes', '0.1', '--max-minutes=2', '--resume=b', '--seed', '3'];
  assert.equal(ofWhole(args), ['--epochs', '6', '--seed', '3']);
});

test('a run that ended early says so', async () => {
  const note = 'Diverged in step 12: the last good weights were kept.';
  assert.match(visible(await reportHtml(run({ result: { ...run().result, note } }), parts())), note);
});

test('the same run gives the same page', async () => {
  assert.is(await reportHtml(run(), parts()), await reportHtml(run(), parts()));
});

test('html escapes what is inserted and joins lists', () => {
  const items = ['<', html`<b>${'&'}</b>`, raw('<i>'), 5, undefined];
  assert.is(html`<p title="${'"\''}">${items}</p>`.markup, '<p title="&quot;&#39;">&lt;<b>&amp;</b><i>5</p>');
});

test.run();
