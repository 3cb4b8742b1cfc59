import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { deflateSync } from 'node:zlib';
import * as assert from 'uvu/assert';
import { DataError } from '../src/core/errors.ts';
import { bundledSwiftShader } from '../src/gpu/software.ts';

/** A folder of its own below the system's temporary one, with the data cache in it; `remove` takes both away. */
export function scratchFolder(): {
  path: string;
  write(name: string, content: string | Uint8Array): string;
  remove(): void;
} {
  // Found before, once and for all: a driver unpacked into this folder would go with it, and this process goes on opening devices.
  bundledSwiftShader();
  const path = mkdtempSync(join(tmpdir(), 'dawngrad-test-'));
  const before = process.env.DAWNGRAD_CACHE;
  process.env.DAWNGRAD_CACHE = join(path, 'cache');
  return {
    path,
    write(name, content) {
      const file = join(path, name);
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, content);
      return file;
    },
    remove() {
      rmSync(path, { recursive: true, force: true });
      if (before === undefined) delete process.env.DAWNGRAD_CACHE;
      else process.env.DAWNGRAD_CACHE = before;
    },
  };
}

/** Asserts that `act` rejects with one line of DataError that starts with `start` and matches every pattern. */
export async function rejectsData(act: () => unknown, start: string, ...patterns: RegExp[]): Promise<void> {
  let message: string | null = null;
  try {
    await act();
  } catch (error) {
    assert.instance(error, DataError, `expected a DataError, not ${error}`);
    message = (error as Error).message;
  }
  assert.ok(message !== null, `nothing was thrown; expected ${start}…`);
  assert.ok(message.startsWith(start), `'${message}' does not start with '${start}'`);
  assert.not.match(message, /\n/);
  for (const pattern of patterns) assert.match(message, pattern);
}

/** Pixel `i` of test image `n`, 0 to 255, with no pattern that a wrong offset would leave unchanged. */
export const pixel = (n: number, i: number): number => (n * 89 + i * 31 + ((i * i) >> 3)) & 255;

/** The `pixels` field of test image `n`. */
export const pixelField = (n: number, count = 48 * 48): string =>
  Array.from({ length: count }, (_, i) => pixel(n, i)).join(' ');

/**
 * Makes a PNG from raw scan lines (without filter bytes), of any colour type and bit depth: the encoder of pngjs knows
 * neither palettes nor 1 bit.
 */
export function makePng(
  width: number,
  height: number,
  colourType: number,
  bitDepth: number,
  data: Uint8Array,
  extra: [type: string, data: Uint8Array][] = [],
): Buffer {
  const rowBytes = data.length / height;
  const lines = Buffer.alloc(data.length + height);
  for (let y = 0; y < height; y++) lines.set(data.subarray(y * rowBytes, (y + 1) * rowBytes), y * (rowBytes + 1) + 1);
  return wrapPng([width, height, colourType, bitDepth], lines, extra);
}

/**
 * Makes a PNG from scan lines with their filter bytes, which need not be as many as the size asks for; `behind` stands
 * after their zlib stream.
 */
export function wrapPng(
  [width, height, colourType, bitDepth, interlace = 0]: [number, number, number, number, number?],
  lines: Uint8Array,
  extra: [type: string, data: Uint8Array][] = [],
  behind = '',
): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([bitDepth, colourType, 0, 0, interlace], 8);
  const chunk = (type: string, body: Uint8Array): Buffer => {
    const typed = Buffer.concat([Buffer.from(type, 'latin1'), body]);
    const [size, check] = [Buffer.alloc(4), Buffer.alloc(4)];
    size.writeUInt32BE(body.length);
    check.writeUInt32BE(checksum(typed));
    return Buffer.concat([size, typed, check]);
  };
  return Buffer.concat([
    Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    chunk('IHDR', header),
    ...extra.map(([type, body]) => chunk(type, body)),
    chunk('IDAT', Buffer.concat([deflateSync(lines), Buffer.from(behind)])),
    chunk('IEND', new Uint8Array(0)),
  ]);
}

/** A gray 8-bit PNG of test image `n`. */
export const grayPng = (n: number, side = 48): Buffer =>
  makePng(
    side,
    side,
    0,
    8,
    Uint8Array.from({ length: side * side }, (_, i) => pixel(n, i)),
  );

// zlib's own crc32 came with Node 20.15; the package supports 20.11.
function checksum(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return (crc ^ 0xffffffff) >>> 0;
}
