import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readableOn, shareColour, themes } from '../src/train/figure.ts';
import type { EpochRow } from '../src/train/metrics.ts';
import { confusionSvg, curveSvg, curvesSvg, lrFinderSvg } from '../src/train/plots.ts';

const rowsOf = (count: number): EpochRow[] =>
  Array.from({ length: count }, (_, k) => ({
    epoch: k + 1,
    step: 100 * (k + 1),
    lr: 0.01 / (k + 1),
    trainLoss: 2 / (k + 1),
    trainAccuracy: 0.2 + (0.7 * k) / count,
    validLoss: 1.5 / (k + 1) + 0.5,
    validAccuracy: 0.25 + (0.5 * k) / count,
    seconds: 60,
    imagesPerSecond: 480,
  }));

/** Texts of a figure, in order. */
const texts = (svg: string) => [...svg.matchAll(/<text[^>]*>([^<]*)<\/text>/g)].map(([, text]) => text!);

function checkSvg(svg: string): void {
  assert.match(svg, /^<svg [^>]*viewBox="0 0 \d+ \d+"/);
  assert.not.match(svg, /NaN|Infinity|undefined|null/);
  const tags = [...svg.matchAll(/<(\/?)(\w+)[^>]*?(\/?)>/g)];
  const open: string[] = [];
  for (const [, closes, name, empty] of tags) {
    if (closes) assert.is(open.pop(), name);
    else if (!empty) open.push(name!);
  }
  assert.equal(open, []);
}

test('curves show both series, the learning rate and the best epoch', async () => {
  const svg = await curvesSvg(rowsOf(12));
  checkSvg(svg);
  for (const text of ['Loss', 'Accuracy', 'Learning rate', '● train', '● valid', 'epoch', '70.8 % in epoch 12']) {
    assert.ok(texts(svg).includes(text), text);
  }
  assert.ok(texts(svg).includes('40 %'), 'accuracy is labelled in per cent');
  assert.match(svg, themes.light.train);
  assert.match(svg, themes.light.valid);
});

test('a run of one epoch, of none, and one that diverged are drawn', async () => {
  const one = await curvesSvg(rowsOf(1));
  checkSvg(one);
  assert.ok(texts(one).includes('25.0 % in epoch 1'));
  checkSvg(await curvesSvg([]));
  const lost = rowsOf(4).map((row, k) =>
    k === 3 ? { ...row, trainLoss: Number.NaN, validLoss: Infinity, validAccuracy: Number.NaN, lr: 1e6 } : row,
  );
  checkSvg(await curvesSvg(lost));
  checkSvg(await curvesSvg(rowsOf(4).map((row, k) => (k === 2 ? { ...row, trainLoss: 1e30 } : row))));
  checkSvg(await curvesSvg(rowsOf(2).map((row) => ({ ...row, validLoss: Number.NaN, validAccuracy: Number.NaN }))));
});

test('the first of equally good epochs is marked', async () => {
  const svg = await curveSvg(
    'accuracy',
    rowsOf(5).map((row) => ({ ...row, validAccuracy: 0.5 })),
  );
  assert.ok(texts(svg).includes('50.0 % in epoch 1'));
});

test('a confusion matrix has a row for each actual class, a column for each predicted one', async () => {
  const svg = await confusionSvg([[41, 9], [10, 40]], ['a', 'b']); // biome-ignore format: a matrix
  const counts = [...svg.matchAll(/<text[^>]*translate\(([\d.]+),([\d.]+)\)[^>]*>(\d+)<\/text>/g)];
  const places = counts.map(([, x, y, count]) => [count, Number(x) > 64, Number(y) > 64]);
  assert.equal(places, [
    ['41', false, false],
    ['9', true, false],
    ['10', false, true],
    ['40', true, true],
  ]);
});

test('the confusion matrix shows every count, its share, and escapes class names', async () => {
  const svg = await confusionSvg([[30, 10], [0, 7]], ['<b>&"', 'sad']); // biome-ignore format: a matrix
  checkSvg(svg);
  const shown = texts(svg);
  for (const text of ['30', '10', '0', '7', '75 %', '25 %', '100 %', '&lt;b&gt;&amp;"', 'actual', 'predicted']) {
    assert.ok(shown.includes(text), `${text} in ${shown}`);
  }
  assert.not.match(svg, '<b>');
  assert.match(svg, 'sad taken for sad: 7');
});

test('the confusion matrix reads for 2 to 20 classes, and with a class that has no images', async () => {
  for (const size of [1, 2, 7, 20]) {
    const matrix = Array.from({ length: size }, (_, i) => Array.from({ length: size }, (_, j) => (i ? 1000 * j : 0)));
    const svg = await confusionSvg(
      matrix,
      matrix.map((_, k) => `class ${k}`),
    );
    checkSvg(svg);
    assert.is(svg.split('taken for').length - 1, size * size);
  }
});

test('text on any cell has a contrast of 4.5 to 1', () => {
  // Contrast as WCAG 2.1 defines it, written down a second time.
  const linear = (c: number) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const luminance = (rgb: number[]) =>
    rgb.reduce((sum, c, k) => sum + [0.2126, 0.7152, 0.0722][k]! * linear(c / 255), 0);
  for (const { shares } of Object.values(themes)) {
    for (let percent = 0; percent <= 100; percent++) {
      const colour = shareColour(percent / 100, shares);
      const ink = readableOn(colour) === '#ffffff' ? 1 : 0;
      const [low, high] = [ink, luminance(colour)].sort((a, b) => a - b) as [number, number];
      const contrast = (high + 0.05) / (low + 0.05);
      assert.ok(contrast >= 4.5, `${percent} %: ${contrast}`);
    }
    assert.equal(shareColour(0.5, ['#000000', '#102030', '#ffffff']), [16, 32, 48]);
  }
});

test('the colour that the text is chosen for is the colour of the cell', async () => {
  const svg = await confusionSvg([[30, 10], [0, 7]], ['a', 'b']); // biome-ignore format: a matrix
  const fills = [...svg.matchAll(/taken for[^>]*fill="rgb\((\d+), (\d+), (\d+)\)"/g)].map((match) =>
    match.slice(1).map(Number),
  );
  const expected = [0.75, 0.25, 0, 1].map((share) => shareColour(share, themes.light.shares).map(Math.round));
  assert.equal(fills, expected);
});

test('long names in the confusion matrix stay apart, and are whole under the pointer', async () => {
  const names = [
    'sad',
    'photographs of <gardens>',
    'photographs of & gardens',
    'photographs, 1, of a garden',
    'photographs, 2, of a garden',
  ];
  const svg = await confusionSvg(
    names.map((_, k) => names.map((_, other) => (k === other ? 1 : 0))),
    names,
  );
  checkSvg(svg);
  const whole = names.slice(1).map((name) => name.replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;'));
  const short = [
    'photographs… &lt;gardens&gt;',
    'photographs… &amp; gardens',
    'photograph…3… a garden',
    'photograph…4… a garden',
  ];
  assert.equal(
    [...svg.matchAll(/pointer-events="all"><title>([^<]*)<\/title>([^<]*)<\/text>/g)].map(([, title, text]) => [
      title,
      text,
    ]),
    [0, 1, 2, 3, 0, 1, 2, 3].map((k) => [whole[k], short[k]]),
  );
  assert.ok(texts(svg).includes('sad') && svg.includes('sad taken for sad: 1'));
});

test('a name that XML has no characters for is drawn without them', async () => {
  const svg = await confusionSvg([[1, 0], [0, 1]], ['a\u0001b', 'c']); // biome-ignore format: a matrix
  assert.not.match(svg, /[^\P{Cc}\n\t]/u);
  assert.ok(texts(svg).includes('a\ufffdb'), `${texts(svg)}`);
});

test('the range test has a log axis and marks the suggestion', async () => {
  const points = Array.from({ length: 50 }, (_, k) => ({
    lr: 10 ** (-6 + k / 8),
    loss: k < 40 ? 2 - k / 40 : 10 ** (k - 40),
  }));
  const svg = await lrFinderSvg([...points, { lr: 10, loss: Number.NaN }], 0.0012345);
  checkSvg(svg);
  for (const text of ['suggested: 0.00123', '1e-6', '1e-3', '1e0', 'learning rate']) {
    assert.ok(texts(svg).includes(text), `${text} in ${texts(svg)}`);
  }
  checkSvg(await lrFinderSvg(points, undefined));
  const near = [2e-3, 4e-3, 9e-3].map((lr, i) => ({ lr, loss: 2 - i }));
  const short = await lrFinderSvg(near, undefined);
  for (const label of ['2e-3', '5e-3', '7e-3']) assert.match(short, `>${label}<`);
  assert.not.match(short, />[−-]0/, 'a loss is not below 0');
  checkSvg(await lrFinderSvg([], 0.1));
  checkSvg(await lrFinderSvg([{ lr: 0.1, loss: 2 }], 0.1));
  const rising = points.map(({ lr }, k) => ({ lr, loss: 2 + k }));
  assert.ok(texts(await lrFinderSvg(rising, undefined)).includes('50'), 'a loss that only rises is shown whole');
});

test('the same input gives the same text, also when several are drawn at once', async () => {
  const draw = () => [curvesSvg(rowsOf(3)), confusionSvg([[1, 2], [3, 4]], ['a', 'b']), lrFinderSvg([], undefined)]; // biome-ignore format: a matrix
  const [once, again] = [await Promise.all(draw()), await Promise.all(draw())];
  assert.equal(once, again);
});

test('figures of one page do not share ids, and dark ones have a dark ground or none', async () => {
  const light = await confusionSvg([[1]], ['a'], { idPrefix: 'light-', transparent: true });
  const dark = await confusionSvg([[1]], ['a'], { idPrefix: 'dark-', theme: 'dark' });
  const ids = (svg: string) => [...svg.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id!);
  assert.ok(ids(light).length > 0);
  assert.ok(ids(light).every((id) => id.startsWith('light-') && light.includes(`url(#${id})`)));
  assert.ok(ids(dark).every((id) => id.startsWith('dark-') && dark.includes(`url(#${id})`)));
  assert.match(dark, themes.dark.ground);
  assert.not.match(light, `height="100%" fill="${themes.light.ground}"`);
});

test.run();
