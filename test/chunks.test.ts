import { createHash } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { CHUNK_BYTES, sha256 } from '../src/data/chunks.ts';
import { pixel } from './files.ts';

const bytes = Uint8Array.from({ length: 100 }, (_, i) => pixel(1, i));
const parts = ['grüße\n', bytes, '', new Uint8Array(0), bytes.subarray(3, 20)];

test('a digest over chunks is that of everything in one go', () => {
  const oneGo = createHash('sha256');
  for (const part of parts) oneGo.update(part);
  const whole = oneGo.digest('hex');
  assert.is(sha256(parts), whole);
  for (const chunkBytes of [1, 7, 99, 100, 101]) assert.is(sha256(parts, chunkBytes), whole, `${chunkBytes}`);
  assert.is(sha256(['abc']), 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
});

test('a chunk is what Node takes in one call', () => {
  assert.ok(CHUNK_BYTES < 2 ** 31);
});

test.run();
