import { truncateSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { loadDataset } from '../src/data/dataset.ts';
import { parsePixels, readFer2013 } from '../src/data/fer2013.ts';
import { RowBuffer, type Rows } from '../src/data/rows.ts';
import { pixel, pixelField, rejectsData, scratchFolder } from './files.ts';

let folder: ReturnType<typeof scratchFolder>;
test.before.each(() => {
  folder = scratchFolder();
});
test.after.each(() => folder.remove());

const usages = ['Training', 'Training', 'PublicTest', 'PrivateTest', 'Training'];

/** Five rows with emotions 0 1 2 3 4, as fer2013.csv has them. */
const kaggle = (replace: Record<number, string> = {}): string =>
  ['emotion,pixels,Usage', ...usages.map((usage, n) => replace[n] ?? `${n},${pixelField(n)},${usage}`), ''].join('\n');

function checkRows(rows: Rows, usage: number[]): void {
  assert.is(rows.count, 5);
  assert.is(rows.side, 48);
  assert.is(rows.channels, 1);
  assert.equal([...rows.labels], [0, 1, 2, 3, 4]);
  assert.equal([...rows.usage], usage);
  assert.equal([...rows.lines!], [2, 3, 4, 5, 6]);
  for (let n = 0; n < 5; n++) {
    for (let i = 0; i < 2304; i++)
      if (rows.pixels[n * 2304 + i] !== pixel(n, i)) assert.unreachable(`image ${n}, pixel ${i}`);
  }
}

test('rows that are more than was expected keep all that is known of them', () => {
  const rows = new RowBuffer('pairs', 2, 0);
  const numbers = Array.from({ length: 50 }, (_, n) => n);
  for (const n of numbers) {
    const at = rows.reserve();
    rows.pixels.set([n, 100 + n], at);
    rows.add(n % 7, n % 3, n + 2);
  }
  const { count, pixels, labels, usage, lines } = rows.finish();
  assert.is(count, 50);
  assert.equal(
    [[...pixels], [...labels], [...usage], [...lines]],
    [
      numbers.flatMap((n) => [n, 100 + n]),
      numbers.map((n) => n % 7),
      numbers.map((n) => n % 3),
      numbers.map((n) => n + 2),
    ],
  );
});

test('reads fer2013.csv', async () => {
  checkRows(await readFer2013(folder.write('fer2013.csv', kaggle())), [0, 0, 1, 2, 0]);
});

test('reads icml_face_data.csv: another order, blanks in front of the names', async () => {
  const lines = usages.map((usage, n) => `${n},${usage},${pixelField(n)}`);
  const path = folder.write('icml_face_data.csv', ['emotion, Usage, pixels', ...lines].join('\n'));
  checkRows(await readFer2013(path), [0, 0, 1, 2, 0]);
});

test('reads train.csv: CRLF, quoted pixels, no Usage', async () => {
  const lines = usages.map((_, n) => `${n},"${pixelField(n)}"`);
  const path = folder.write('train.csv', ['emotion,pixels', ...lines, ''].join('\r\n'));
  checkRows(await readFer2013(path), [0, 0, 0, 0, 0]);
});

test('lines may end in LF and CRLF in one file, or in CR', async () => {
  const [header, ...rows] = kaggle().split('\n');
  const mixed = [`${header}\r\n${rows.join('\n')}`, `${header}\n${rows.join('\r\n')}`, kaggle().replaceAll('\n', '\r')];
  for (const text of mixed) checkRows(await readFer2013(folder.write('mixed.csv', text)), [0, 0, 1, 2, 0]);
});

test('a row is where it begins, whatever lines its quoted fields go over', async () => {
  for (const end of ['\n', '\r\n']) {
    const rows = [0, 1, 2].map((n) => `${n},"${pixelField(n, 64).replaceAll(/ (?=\S+ \S+$)/g, end)}"`);
    const text = ['emotion,pixels', ...rows, ''].join(end);
    assert.equal([...(await readFer2013(folder.write('long.csv', text))).lines!], [2, 4, 6]);
    const path = folder.write('broken.csv', `${text}7,1 2 3${end}`);
    await rejectsData(() => readFer2013(path), `${path}:8: `, /emotion is '7'/);
  }
});

test('reads past columns that it does not know, of whatever name', async () => {
  const text = kaggle()
    .replace(/$/gm, ',x,y')
    .replace('x,y', 'note,note')
    .replace(/\n,x,y$/, '\n');
  checkRows(await readFer2013(folder.write('notes.csv', text)), [0, 0, 1, 2, 0]);
});

test('reads past trailing blanks in a field and empty lines at the end', async () => {
  const text = `${kaggle({ 3: `3,${pixelField(3)}  ,PrivateTest` })}\n\n`;
  checkRows(await readFer2013(folder.write('blanks.csv', text)), [0, 0, 1, 2, 0]);
});

test('reads every form with a byte order mark as without: plain, blanks, and all fields quoted (Export-Csv)', async () => {
  const quoted = kaggle().replace(/[^,\n]+/g, '"$&"');
  for (const text of [kaggle(), kaggle().replace('emotion', ' emotion'), quoted, quoted.replaceAll('\n', '\r\n')]) {
    for (const mark of ['', '\ufeff']) {
      checkRows(await readFer2013(folder.write('fer2013.csv', mark + text)), [0, 0, 1, 2, 0]);
    }
  }
});

test('rows that cross the chunks of the stream, and more of them than the first estimate', async () => {
  // 8×8 images with one-digit pixels and then many-digit ones: the chunk border falls anywhere.
  const count = 3000;
  const field = (n: number) => Array.from({ length: 64 }, (_, i) => (pixel(n, i) * (n % 2)) & 255).join(' ');
  const lines = Array.from({ length: count }, (_, n) => `${n % 7},${field(n)},Training`);
  const rows = await readFer2013(folder.write('many.csv', ['emotion,pixels,Usage', ...lines].join('\n')));
  assert.is(rows.count, count);
  assert.is(rows.side, 8);
  for (const n of [0, 1, 1499, 2998, 2999]) {
    assert.equal([...rows.pixels.subarray(n * 64, n * 64 + 64)].join(' '), field(n));
    assert.is(rows.labels[n], n % 7);
    assert.is(rows.lines![n], n + 2);
  }
});

test('splits, sources and counts of a loaded set', async () => {
  const set = await loadDataset({ data: folder.write('fer2013.csv', kaggle()), seed: 1 });
  assert.is(set.name, 'fer2013');
  assert.equal([set.train.count, set.valid.count, set.test!.count], [3, 1, 1]);
  assert.equal([...set.train.labels], [0, 1, 4]);
  assert.is(set.train.pixels[2 * 2304 + 7], pixel(4, 7));
  assert.is(set.validName, 'PublicTest');
  assert.is(set.source('train', 2), 'fer2013.csv:6');
  assert.is(set.source('valid', 0), 'fer2013.csv:4');
  assert.is(set.source('test', 0), 'fer2013.csv:5');
});

test('parsePixels takes exactly the expected count', () => {
  const out = new Uint8Array(6);
  assert.ok(parsePixels('1 22\t255', out, 2, 3));
  assert.equal([...out], [0, 0, 1, 22, 255, 0]);
  for (const wrong of ['1 2', '1 2 3 4', '1 2 256', '1 2 -3', '1 2 3.0', '1 x 3', '']) {
    assert.not.ok(parsePixels(wrong, out, 0, 3), wrong);
  }
});

/** Name, text of the file, how the message begins after the folder, what it says. */
const broken: [string, string | Uint8Array, string, ...RegExp[]][] = [
  [
    '2,303 pixels',
    kaggle({ 1: `1,${pixelField(1, 2303)},Training` }),
    ':3: ',
    /2,303 pixels; expected 2,304 \(48×48\)/,
  ],
  ['2,305 pixels', kaggle({ 4: `4,${pixelField(4, 2305)},Training` }), ':6: ', /2,305 pixels; expected 2,304/],
  [
    '2,303 pixels in the first row',
    kaggle({ 0: `0,${pixelField(0, 2303)},Training` }),
    ':2: ',
    /2,303 pixels; expected a square/,
  ],
  [
    '3×3 pixels',
    kaggle({ 0: `0,${pixelField(0, 9)},Training` }),
    ':2: ',
    /9 pixels; expected a square image of 4×4 or more/,
  ],
  [
    'another square size',
    kaggle({ 2: `2,${pixelField(2, 32 * 32)},PublicTest` }),
    ':4: ',
    /1,024 pixels; expected 2,304 \(48×48\), as in line 2/,
  ],
  [
    'a value of 300',
    kaggle({ 2: `2,300 ${pixelField(2, 2303)},PublicTest` }),
    ':4: ',
    /pixel 1 is 300; expected 0 to 255/,
  ],
  ['a negative value', kaggle({ 2: `2,${pixelField(2, 2303)} -1,PublicTest` }), ':4: ', /pixel 2,304 is '-1'/],
  [
    'a non-number',
    kaggle({ 0: `0,12 abc ${pixelField(0, 2302)},Training` }),
    ':2: ',
    /pixel 2 is 'abc'; expected a whole number/,
  ],
  [
    'an emotion of 7',
    kaggle({ 3: `7,${pixelField(3)},PrivateTest` }),
    ':5: ',
    /emotion is '7'; expected 0 to 6 \(angry, .*neutral\)/,
  ],
  ['an emotion in words', kaggle({ 3: `happy,${pixelField(3)},PrivateTest` }), ':5: ', /emotion is 'happy'/],
  ['no emotion', kaggle({ 3: `,${pixelField(3)},PrivateTest` }), ':5: ', /emotion is ''/],
  [
    'an unknown Usage',
    kaggle({ 2: `2,${pixelField(2)},Publictests` }),
    ':4: ',
    /'Publictests'; expected Training, PublicTest, PrivateTest/,
  ],
  ['a NUL in Usage', kaggle({ 2: `2,${pixelField(2)},Public\0Test` }), ':4: ', /Usage is 'Public\\x00Test'; expected/],
  ['a NUL in a pixel', kaggle({ 2: `2,12\0 ${pixelField(2, 2303)},PublicTest` }), ':4: ', /pixel 1 is '12\\x00'/],
  ['letters beyond ASCII', kaggle({ 2: `2,${pixelField(2)},Prüfung\u0085` }), ':4: ', /Usage is 'Prüfung\\x85'/],
  ['a missing field', kaggle({ 1: `1,${pixelField(1)}` }), ':3: ', /2 fields; the header has 3/],
  [
    'pixels between commas, without a final line end',
    kaggle().slice(0, -1).replaceAll(' ', ','),
    ':2: ',
    /2,306 fields; the header has 3\. Commas separate fields; the pixels are one, with blanks between them\.$/,
  ],
  ['no pixels column', 'emotion,Usage\n1,Training\n', ':1: ', /no column 'pixels'; found 'emotion', 'Usage'/],
  [
    'semicolons',
    kaggle().replaceAll(',', ';'),
    ':1: ',
    /no column 'pixels'; found 'emotion;pixels;Usage'\. The separator must be a comma\./,
  ],
  ['tabs', kaggle().replaceAll(',', '\t'), ':1: ', /'emotion\\x09pixels\\x09Usage'\. The separator must be a comma\./],
  [
    'semicolons between quoted names',
    '"emotion";"pixels"\r\n"0";"1 2 3 4"\r\n',
    ':1: ',
    /'pixels'; found .*The separator must be a comma\./,
  ],
  ['two columns of pixels', kaggle().replace('Usage', ' Pixels'), ':1: ', /two columns 'pixels'; expected one/],
  ['no emotion column', `pixels\n${pixelField(1)}\n`, ':1: ', /no column 'emotion'.*no labels/],
  ['no header', `0,${pixelField(0)},Training\n`, ':1: ', /no column 'pixels'; found '0', '/],
  ['text that is no CSV', 'Dear Sir,\nplease find enclosed\n', ':1: ', /no column 'pixels'/],
  ['a file cut off inside a row', kaggle().slice(0, -6000), ':6: ', /fields; the header has 3.*truncated/],
  ['a file cut off inside Usage', kaggle().slice(0, -4), ':6: ', /Usage is 'Train'.*truncated/],
  [
    'a file cut off inside quotes',
    `emotion,pixels\r\n0,"${pixelField(0)}"\r\n1,"${pixelField(1, 900)}`,
    ':3: ',
    /900 pixels.*truncated/,
  ],
  ['an empty file', '', ': ', /empty/],
  ['only a byte order mark', '\ufeff', ': ', /nothing but empty lines/],
  ['only empty lines', '\n\n', ': ', /nothing but empty lines/],
  ['only a header', 'emotion,pixels,Usage\n', ': ', /a header and no rows/],
  ['binary data', Uint8Array.from([1, 2, 0, 3]), ': ', /not a CSV/],
  ['a zip', Uint8Array.from([0x50, 0x4b, 3, 4, 0, 0]), ': ', /archive.*Unpack/],
  ['UTF-16', Buffer.from('\ufeffemotion,pixels', 'utf16le'), ': ', /UTF-16/],
];
for (const [name, content, start, ...patterns] of broken) {
  test(`refuses ${name}`, async () => {
    const path = folder.write('broken.csv', content);
    await rejectsData(() => loadDataset({ data: path, seed: 1 }), path + start, ...patterns);
  });
}

test('refuses what is not there, one class only, and a set without training rows', async () => {
  const missing = join(folder.path, 'none.csv');
  await rejectsData(() => loadDataset({ data: missing, seed: 1 }), `${missing}: `, /no such file/);
  const same = Array.from({ length: 20 }, (_, n) => `3,${pixelField(n, 64)}`);
  const one = folder.write('one.csv', ['emotion,pixels', ...same].join('\n'));
  await rejectsData(() => loadDataset({ data: one, seed: 1 }), `${one}: `, /'happy'.*two classes/);
  const held = folder.write('held.csv', `emotion,pixels,Usage\n0,${pixelField(0, 64)},PrivateTest\n`);
  await rejectsData(() => loadDataset({ data: held, seed: 1 }), `${held}: `, /no Training images/);
  const set = await loadDataset({ data: held, seed: 1, use: 'evaluate' });
  assert.equal([set.train.count, set.valid.count, set.test!.count], [0, 0, 1]);
});

test('more than any array holds is refused in a line', async () => {
  await rejectsData(
    () => new RowBuffer('photos', 2 ** 40, 2 ** 20),
    'photos: 1,048,576 images take',
    /Store smaller ones/,
  );
});

test('a file whose end is a hole, as after a power cut, is refused before it is read to its end', async () => {
  const path = folder.write('hole.csv', kaggle());
  truncateSync(path, 18 << 20);
  await rejectsData(() => readFer2013(path), `${path}:7: `, /a line of more than 16 MB; .*damaged: get it again/);
});

test.run();
