// Files of every kind that is read, with damage that a seed decides: what comes of it is a result, or one line that begins with the file.
//
//   DAWNGRAD_TEST_SEED=7 DAWNGRAD_TEST_DRAWS=2000 npm run test:only -- damage
//
// Without a number each file is damaged in fifty ways, in `npm run test:full` in a thousand, and always the same.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { isUserError } from '../src/core/errors.ts';
import { readFer2013 } from '../src/data/fer2013.ts';
import { decodeImage } from '../src/data/image.ts';
import { readPretrained } from '../src/train/pretrained.ts';
import { encodeSafetensors, type FileTensor } from '../src/train/safetensors.ts';
import { Draws, drawCount, SEED } from './draws.ts';
import { grayPng, pixelField, scratchFolder } from './files.ts';
import { makeJpeg } from './jpeg.ts';

const DRAWS = drawCount(50, 1000);
/** Far more than any of these small files takes to read. */
const LIMIT_MS = 5000;

/** The bytes with one to three changes such as disks, networks and editors make. */
function damaged(bytes: Uint8Array, draws: Draws): Uint8Array {
  let result: Uint8Array = Uint8Array.from(bytes);
  for (let left = draws.whole(1, 3); left > 0; left--) {
    const at = draws.whole(0, Math.max(0, result.length - 1));
    // The beginning of a file says most about the rest.
    const near = draws.chance(50) ? at % 256 : at;
    const span = Math.min(draws.whole(1, 40), result.length - near);
    const [before, within, after] = [result.slice(0, near), result.slice(near, near + span), result.slice(near + span)];
    const other = within.map(() => draws.whole(0, 255));
    result = draws.one([
      () => before,
      () => joined(before, after),
      () => joined(before, within, within, after),
      () => joined(before, within.fill(0), after),
      () => joined(before, other, after),
      () => joined(before, other, within, after),
      () => joined(before, Uint8Array.of((within[0] ?? 0) ^ (1 << draws.whole(0, 7))), within.subarray(1), after),
    ])();
  }
  return result;
}

const joined = (...parts: Uint8Array[]): Uint8Array => Uint8Array.from(Buffer.concat(parts));

const fixture = (name: string): Uint8Array => readFileSync(fileURLToPath(new URL(`fixtures/${name}`, import.meta.url)));

const csv = (): Uint8Array => {
  const rows = ['Training', 'PublicTest', 'PrivateTest'].map((usage, i) => `${i},${pixelField(i)},${usage}`);
  return Buffer.from(`emotion,pixels,Usage\n${rows.join('\n')}\n`);
};

const safetensors = (): Uint8Array => {
  const tensors = new Map<string, FileTensor>([
    ['a.weight', { dtype: 'F32', shape: [2, 3], data: Float32Array.of(1, 2, 3, 4, 5, 6) }],
    ['a.count', { dtype: 'I64', shape: [], data: BigInt64Array.of(7n) }],
  ]);
  return joined(...encodeSafetensors(tensors, { arch: 'vgg11_bn', classes: '["a","b"]' }));
};

/** By the name that the file is given: its bytes, and what reads it. */
const READERS: readonly (readonly [
  name: string,
  bytes: () => Uint8Array | Promise<Uint8Array>,
  read: (path: string) => unknown,
])[] = [
  ['model.safetensors', safetensors, readPretrained],
  ['weights.pth', () => fixture('weights.pth'), readPretrained],
  ['legacy.pth', () => fixture('legacy.pth'), readPretrained],
  ['fer2013.csv', csv, readFer2013],
  ['face.png', () => grayPng(1), (path) => decodeImage(readFileSync(path), path)],
  [
    'face.jpg',
    () => makeJpeg(40, 30, (x, y) => [x, y, x ^ y, 255], {}),
    (path) => decodeImage(readFileSync(path), path),
  ],
];

for (const [name, bytes, read] of READERS) {
  test(`${name}, damaged, gives a result or one line`, async () => {
    const scratch = scratchFolder();
    try {
      const draws = new Draws(SEED);
      const whole = Uint8Array.from(await bytes());
      await read(scratch.write(name, whole));
      let refused = 0;
      for (let i = 0; i < DRAWS; i++) {
        const path = scratch.write(name, damaged(whole, draws));
        const started = performance.now();
        try {
          await read(path);
        } catch (error) {
          refused++;
          const { message } = error as Error;
          const what = `draw ${i} of seed ${SEED}: ${(error as Error).stack}`;
          assert.ok(isUserError(error), what);
          assert.ok(message.includes(name), what);
          assert.not.match(message, /\n|undefined|\[object/, what);
          assert.ok(message.length < 500, what);
        }
        assert.ok(performance.now() - started < LIMIT_MS, `draw ${i} of seed ${SEED} took too long`);
      }
      assert.ok(refused > DRAWS / 4, `${refused} of ${DRAWS} refused`);
    } finally {
      scratch.remove();
    }
  });
}

test.run();
