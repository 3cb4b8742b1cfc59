import { PNG } from 'pngjs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ShapeError } from '../src/core/errors.ts';
import { letter, letterWithin, lineHeight, writable } from '../src/train/font.ts';
import { picturePng } from '../src/train/sheet.ts';
import { type TopLoss, topLossesPng } from '../src/train/toplosses.ts';

const item = (more: Partial<TopLoss> = {}): TopLoss => ({
  pixels: new Uint8Array(48 * 48).fill(77),
  side: 48,
  channels: 1,
  truth: 'sad',
  prediction: 'happy',
  probability: 0.97,
  loss: 3.5,
  ...more,
});

const decode = (bytes: Uint8Array) => PNG.sync.read(Buffer.from(bytes));

/** Number of pixels of each colour. */
function colours({ data }: PNG): Map<string, number> {
  const counts = new Map<string, number>();
  for (let at = 0; at < data.length; at += 4) {
    const colour = `${data[at]},${data[at + 1]},${data[at + 2]}`;
    counts.set(colour, (counts.get(colour) ?? 0) + 1);
  }
  return counts;
}

test('every printable character of ASCII has a glyph of its own', () => {
  const characters = Array.from({ length: 95 }, (_, k) => String.fromCharCode(32 + k));
  const drawn = characters.map((character) => JSON.stringify(letter(character).rows));
  assert.is(new Set(drawn).size, 95);
  for (const [k, character] of characters.entries()) {
    const { rows, width } = letter(character);
    assert.is(rows.length, lineHeight);
    assert.ok(width >= 1 && width <= 5 && rows.every((row) => row.length === width), character);
    assert.is(rows.flat().includes(true), k > 0, character);
  }
});

test('accents are dropped, unknown characters are question marks, long text is cut', () => {
  assert.equal(letter('Fröhlich'), letter('Frohlich'));
  assert.equal(letter('笑'), letter('?'));
  assert.is(letter('').width, 0);
  assert.is(letter('ab').width, letter('a').width + 1 + letter('b').width);
  assert.equal(letterWithin('short', 100), letter('short'));
  const cut = letterWithin('a class name that is far too long', 60);
  assert.ok(cut.width <= 60 && cut.width > 40, `${cut.width}`);
  assert.equal(letterWithin('abc', 2), letter(''));
  assert.equal(writable(['Größe', 'злость', '笑', 'ok 笑']), ['Größe', 'class 1', 'class 2', 'ok 笑']);
});

test('each image is drawn large, with the captions in their colours', () => {
  const png = decode(topLossesPng([item(), item(), item({ prediction: 'sad' })]));
  assert.is(png.width, 1012);
  const found = colours(png);
  assert.is(found.get('77,77,77'), 3 * 144 * 144);
  assert.ok(found.get('181,71,0')! > found.get('0,96,158')!, 'two are wrong, one is right');
  assert.ok(found.has('31,41,51') && found.has('95,107,122'));
});

test('a row holds six; the seventh starts the next', () => {
  const heights = [0, 1, 6, 7].map((count) => decode(topLossesPng(Array.from({ length: count }, () => item()))).height);
  assert.is(heights[1], heights[2]);
  assert.ok(heights[0]! < heights[1]! && heights[3]! > heights[2]!);
});

test('small images keep their pixels, large ones are averaged, colours stay colours', () => {
  const checker = new Uint8Array(2 * 2 * 3);
  checker.set([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9]);
  const enlarged = decode(topLossesPng([item({ pixels: checker, side: 2, channels: 3 })]));
  const found = colours(enlarged);
  for (const colour of ['255,0,0', '0,255,0', '0,0,255', '9,9,9']) assert.is(found.get(colour), 72 * 72, colour);
  const fine = Uint8Array.from({ length: 288 * 288 }, (_, at) => (at % 2 ? 100 : 50));
  assert.is(colours(decode(topLossesPng([item({ pixels: fine, side: 288 })]))).get('75,75,75'), 144 * 144);
});

test('one image alone keeps its size and its pixels', () => {
  const gray = decode(picturePng({ pixels: new Uint8Array([1, 2, 3, 4]), side: 2, channels: 1 }));
  assert.equal([...gray.data], [1, 1, 1, 255, 2, 2, 2, 255, 3, 3, 3, 255, 4, 4, 4, 255]);
  const colour = decode(picturePng({ pixels: new Uint8Array([1, 2, 3]), side: 1, channels: 3 }));
  assert.equal([...colour.data], [1, 2, 3, 255]);
});

test('the same images give the same bytes, and pixels that do not fit are refused', () => {
  assert.equal(topLossesPng([item()]), topLossesPng([item()]));
  const wrong = item({ channels: 3 });
  assert.throws(
    () => topLossesPng([wrong]),
    (error: Error) => error instanceof ShapeError,
  );
  assert.throws(() => picturePng(wrong), /has 2304 bytes, expected 48·48·3/);
});

test.run();
