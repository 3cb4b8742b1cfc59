import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { cropSquare, decodeImage, type Image, resizeImage, toGray, toRgb } from '../src/data/image.ts';
import { grayPng, makePng, pixel, rejectsData, wrapPng } from './files.ts';
import { makeJpeg } from './jpeg.ts';

/** A JPEG of slowly changing colours, 40 wide and 30 high. */
const slowJpeg = (options: object) => makeJpeg(40, 30, jpegColour, options);
const jpegColour = (x: number, y: number) => [40 + 4 * x, 30 + 5 * y, 200 - 3 * x, 255];

test('decodes PNG: gray of 1, 8 and 16 bits', async () => {
  const gray8 = await decodeImage(grayPng(3, 6), 'a.png');
  assert.equal([gray8.width, gray8.height, gray8.channels], [6, 6, 1]);
  assert.equal(
    [...gray8.pixels],
    Array.from({ length: 36 }, (_, i) => pixel(3, i)),
  );
  const gray1 = await decodeImage(makePng(8, 2, 0, 1, Uint8Array.from([0b10100001, 0b01000010])), 'b.png');
  assert.equal(
    [...gray1.pixels],
    [1, 0, 1, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1, 0].map((bit) => bit * 255),
  );
  // 0xabcd / 257 = 171.1, 0x7fff / 257 = 127.5 (less half a step of 16 bits)
  const gray16 = await decodeImage(makePng(3, 1, 0, 16, Uint8Array.from([0xab, 0xcd, 0, 0, 0xff, 0xff])), 'c.png');
  assert.equal([...gray16.pixels], [171, 0, 255]);
});

test('decodes PNG: RGB, palette, and alpha on white', async () => {
  const rgb = await decodeImage(makePng(2, 1, 2, 8, Uint8Array.from([10, 20, 30, 200, 100, 0])), 'a.png');
  assert.equal([rgb.channels, ...rgb.pixels], [3, 10, 20, 30, 200, 100, 0]);
  const palette: [string, Uint8Array] = ['PLTE', Uint8Array.from([1, 2, 3, 250, 240, 230])];
  const indexed = await decodeImage(makePng(3, 1, 3, 8, Uint8Array.from([1, 0, 1]), [palette]), 'b.png');
  assert.equal([indexed.channels, ...indexed.pixels], [3, 250, 240, 230, 1, 2, 3, 250, 240, 230]);
  const rgba = await decodeImage(
    makePng(3, 1, 6, 8, Uint8Array.from([9, 8, 7, 255, 9, 8, 7, 0, 0, 100, 200, 51])),
    'c.png',
  );
  // 51/255 = 1/5: 0.2·(0, 100, 200) + 0.8·255
  assert.equal([...rgba.pixels], [9, 8, 7, 255, 255, 255, 204, 224, 244]);
  const grayAlpha = await decodeImage(makePng(2, 1, 4, 8, Uint8Array.from([77, 255, 0, 0])), 'd.png');
  assert.equal([grayAlpha.channels, ...grayAlpha.pixels], [1, 77, 255]);
});

/** Which of Adam7's passes a pixel of each 8×8 block comes in: PNG specification, §8.2. */
const passes = ['16462646', '77777777', '56565656', '77777777', '36463646', '77777777', '56565656', '77777777'];

/** The scan lines, filter bytes first, of an interlaced gray picture of test image `n` at 2 or 8 bits a pixel. */
function interlacedLines(n: number, width: number, height: number, bits: 2 | 8): number[] {
  const lines: number[] = [];
  for (const pass of '1234567') {
    for (let y = 0; y < height; y++) {
      const columns = Array.from({ length: width }, (_, x) => x).filter((x) => passes[y % 8]![x % 8] === pass);
      if (columns.length === 0) continue;
      const text = columns.map((x) => (pixel(n, y * width + x) >> (8 - bits)).toString(2).padStart(bits, '0')).join('');
      lines.push(0, ...text.match(/.{1,8}/g)!.map((byte) => Number.parseInt(byte.padEnd(8, '0'), 2)));
    }
  }
  return lines;
}

test('decodes PNG: interlaced, of every size up to 9×9, and not without its last byte', async () => {
  for (const bits of [2, 8] as const) {
    for (let side = 0; side < 81; side++) {
      const [width, height] = [1 + (side % 9), 1 + Math.floor(side / 9)];
      const lines = Uint8Array.from(interlacedLines(5, width, height, bits));
      const { pixels } = await decodeImage(wrapPng([width, height, 0, bits, 1], lines), 'a.png');
      const expected = Array.from({ length: width * height }, (_, i) =>
        bits === 8 ? pixel(5, i) : (pixel(5, i) >> 6) * 85,
      );
      assert.equal([...pixels], expected, `${width}×${height} at ${bits} bits`);
      const short = wrapPng([width, height, 0, bits, 1], lines.subarray(0, -1));
      await rejectsData(() => decodeImage(short, 'a.png'), 'a.png: ', /damaged PNG/);
    }
  }
});

test('passes over what a PNG has beyond its pixels and beyond its end, as libpng does', async () => {
  const png = grayPng(3, 6);
  const { pixels } = await decodeImage(png, 'a.png');
  assert.equal((await decodeImage(Buffer.concat([png, Buffer.from('more IEND')]), 'b.png')).pixels, pixels);
  const lines = Uint8Array.from({ length: 6 * 7 }, (_, i) => (i % 7 === 0 ? 0 : pixels[i - 1 - Math.floor(i / 7)]!));
  for (const excess of [1, 500]) {
    const long = wrapPng([6, 6, 0, 8], Uint8Array.from([...lines, ...new Uint8Array(excess)]));
    assert.equal((await decodeImage(long, `${excess}.png`)).pixels, pixels);
  }
  assert.equal((await decodeImage(wrapPng([6, 6, 0, 8], lines, [], 'more '.repeat(20)), 'c.png')).pixels, pixels);
});

test('decodes JPEG: baseline and progressive, gray and colour', async () => {
  for (const options of [{ progressive: false, baseline: true }, { progressive: true }]) {
    const bytes = await slowJpeg(options);
    const frame = options.progressive ? 0xc2 : 0xc0;
    assert.ok(
      bytes.some((byte, i) => byte === 0xff && bytes[i + 1] === frame),
      'the fixture is of the kind it claims',
    );
    const colour = await decodeImage(bytes, 'a.jpg');
    assert.equal([colour.width, colour.height, colour.channels], [40, 30, 3]);
    let worst = 0;
    for (let i = 0; i < 1200; i++) {
      const expected = jpegColour(i % 40, Math.floor(i / 40));
      for (let c = 0; c < 3; c++) worst = Math.max(worst, Math.abs(colour.pixels[i * 3 + c]! - expected[c]!));
    }
    assert.ok(worst <= 12, `worst difference ${worst}`);
    const gray = await decodeImage(await slowJpeg({ ...options, color_space: 1 }), 'b.jpg');
    assert.is(gray.channels, 1);
    assert.ok(Math.abs(gray.pixels[0]! - 54) <= 6, `${gray.pixels[0]} is not the luma of the first pixel`);
  }
});

test('tells formats apart by content, whatever the name', async () => {
  assert.is((await decodeImage(grayPng(1, 4), 'really-a-png.jpg')).width, 4);
  assert.is((await decodeImage(await slowJpeg({}), 'really-a-jpeg.png')).width, 40);
});

test('JPEGs that are decoded side by side are each told their own damage', async () => {
  const good = await slowJpeg({});
  const bad = Uint8Array.from(good);
  // In the coded picture, past the headers: a marker of no kind.
  bad.set([0xff, 0x00, 0xff, 0xd0], bad.length - 60);
  const names = ['a', 'bad', 'b', 'bad', 'c'];
  const decoded = await Promise.allSettled(names.map((name) => decodeImage(name === 'bad' ? bad : good, name)));
  assert.equal(
    decoded.map((result) => (result.status === 'fulfilled' ? result.value.width : result.reason.message.slice(0, 20))),
    [40, 'bad: a damaged JPEG ', 40, 'bad: a damaged JPEG ', 40],
  );
});

test('decodes a view into a larger buffer', async () => {
  const bytes = await slowJpeg({});
  const larger = new Uint8Array(bytes.length + 20).fill(7);
  larger.set(bytes, 10);
  const view = larger.subarray(10, 10 + bytes.length);
  const { pixels } = await decodeImage(bytes, 'a');
  assert.equal((await decodeImage(view, 'b')).pixels, pixels);
  // What readFile gives of small files is a view into Node's pool, too.
  const pooled = Buffer.from(bytes);
  assert.is.not(pooled.buffer.byteLength, bytes.length, 'the fixture is pooled');
  assert.equal((await decodeImage(pooled, 'c')).pixels, pixels);
});

test('refuses what is damaged, truncated or no image', async () => {
  const jpeg = await slowJpeg({});
  const png = grayPng(1);
  // gAMA: 45455
  const gamma = Buffer.from('0000000467414d410000b18f0bfc6105', 'hex');
  const changed = (bytes: Uint8Array, at: number, value: number) => bytes.map((byte, i) => (i === at ? value : byte));
  const frame = jpeg.findIndex((byte, i) => byte === 0xff && (jpeg[i + 1] === 0xc0 || jpeg[i + 1] === 0xc2));
  const scan = jpeg.findIndex((byte, i) => byte === 0xff && jpeg[i + 1] === 0xda);
  const cases: [string, Uint8Array, RegExp][] = [
    ['half a JPEG', jpeg.subarray(0, jpeg.length / 2), /truncated JPEG/],
    ['a JPEG without its last byte', jpeg.subarray(0, -1), /truncated JPEG/],
    ['only the start of a JPEG', jpeg.subarray(0, 4), /truncated JPEG/],
    [
      'a JPEG whose picture data stop early',
      Uint8Array.from([...jpeg.subarray(0, scan + 30), 0xff, 0xd9]),
      /damaged JPEG/,
    ],
    ['a CMYK JPEG', changed(jpeg, frame + 9, 4), /CMYK.*Convert/],
    [
      'a JPEG of 65,535 × 65,535',
      jpeg.map((byte, i) => (i >= frame + 5 && i < frame + 9 ? 255 : byte)),
      /64 megapixels/,
    ],
    ['half a PNG', png.subarray(0, png.length / 2), /truncated PNG/],
    ['only the start of a PNG', png.subarray(0, 10), /truncated PNG/],
    ['a PNG with a flipped byte', changed(png, 60, png[60]! ^ 255), /damaged PNG/],
    ...[0, 1, 132, 153].map((left): [string, Uint8Array, RegExp] => [
      `a PNG of ${left} bytes of pixels`,
      wrapPng([7, 7, 2, 8], new Uint8Array(left)),
      /damaged PNG \(\d+ bytes of pixels; expected 154\)/,
    ]),
    ['a PNG of far more pixels than its size', wrapPng([7, 7, 2, 8], new Uint8Array(2 ** 22)), /damaged PNG/],
    ['a PNG of colour type 5', makePng(4, 4, 5, 8, new Uint8Array(16)), /damaged PNG \(8 bits of colour type 5\)/],
    ['a PNG of 255 bits', makePng(4, 4, 6, 255, new Uint8Array(64)), /damaged PNG \(255 bits of colour type 6\)/],
    [
      'a PNG with another chunk before its header',
      Buffer.concat([png.subarray(0, 8), gamma, png.subarray(8)]),
      /damaged PNG \(its header is not at its start\)/,
    ],
    ['a GIF', Buffer.from('GIF89a........'), /GIF file; expected PNG or JPEG/],
    ['a WebP', Buffer.from('RIFF....WEBPVP8 '), /WebP/],
    ['text', Buffer.from('hello'), /no image/],
    ['nothing', new Uint8Array(0), /empty/],
  ];
  for (const [what, bytes, pattern] of cases)
    await rejectsData(() => decodeImage(bytes, `dir/${what}`), `dir/${what}: `, pattern);
  // A refused picture leaves the decoder fit for the next one.
  assert.is((await decodeImage(jpeg, 'after')).width, 40);
});

test('resizes as PIL does, to half a step of 8 bits', () => {
  // from PIL import Image; import numpy as np
  // a = np.array([[(37*x*x + 91*y + 13*x*y) % 256 for x in range(7)] for y in range(5)], 'u1')
  // for s in [(3, 2), (4, 4), (11, 6)]: print(np.array(Image.fromarray(a).resize(s, Image.BILINEAR)).ravel().tolist())
  const pixels = Uint8Array.from({ length: 35 }, (_, i) => {
    const [x, y] = [i % 7, Math.floor(i / 7)];
    return (37 * x * x + 91 * y + 13 * x * y) % 256;
  });
  const image: Image = { pixels, width: 7, height: 5, channels: 1 };
  const expected: Record<string, number[]> = {
    '3,2': [103, 129, 137, 135, 155, 129],
    '4,4': [45, 102, 118, 111, 149, 110, 159, 158, 121, 176, 175, 119, 125, 139, 128, 115],
    '11,6': [
      0, 17, 47, 118, 122, 77, 79, 101, 150, 100, 52, 68, 90, 109, 63, 91, 175, 183, 159, 92, 135, 179, 144, 171, 190,
      111, 98, 134, 148, 155, 149, 160, 170, 113, 145, 181, 176, 160, 135, 157, 170, 171, 131, 98, 40, 76, 128, 184,
      198, 180, 209, 188, 101, 89, 89, 108, 148, 189, 129, 97, 85, 120, 105, 25, 124, 216,
    ],
  };
  for (const [size, values] of Object.entries(expected)) {
    const [width, height] = size.split(',').map(Number) as [number, number];
    const found = resizeImage(image, width, height).pixels;
    // PIL rounds to 8 bits between the two passes; we do not.
    values.forEach((value, i) => {
      assert.ok(Math.abs(found[i]! - value) <= 1, `${size} at ${i}: ${found[i]}, PIL ${value}`);
    });
  }
  const colour = resizeImage(toRgb(image), 4, 4);
  assert.equal(toGray(colour).pixels, resizeImage(image, 4, 4).pixels);
});

test('crops the middle square; luma as PIL', () => {
  const wide: Image = { pixels: Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8]), width: 4, height: 2, channels: 1 };
  assert.equal([...cropSquare(wide).pixels], [2, 3, 6, 7]);
  const tall: Image = { pixels: Uint8Array.from({ length: 15 }, (_, i) => i), width: 1, height: 5, channels: 3 };
  assert.equal([...cropSquare(tall).pixels], [6, 7, 8]);
  // Image.new('RGB', (1, 1), c).convert('L') for red, green, blue and (10, 20, 30)
  const rgb = Uint8Array.from([255, 0, 0, 0, 255, 0, 0, 0, 255, 10, 20, 30]);
  assert.equal([...toGray({ pixels: rgb, width: 4, height: 1, channels: 3 }).pixels], [76, 150, 29, 18]);
});

test.run();
