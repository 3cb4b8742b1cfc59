import fs, { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { isHeld, writeFileAtomic } from '../src/data/atomic.ts';
import { type Faults, onFailingDisk } from './faults.ts';
import { onPlatform } from './platform.ts';

let folder = '';
test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), 'dawngrad-atomic-'));
});
test.after.each(() => rmSync(folder, { recursive: true }));

test('text, bytes and chunks are written, and replace what was there', () => {
  const path = join(folder, 'file');
  writeFileAtomic(path, 'grüße');
  assert.is(readFileSync(path, 'utf8'), 'grüße');
  writeFileAtomic(path, new Uint8Array([1, 2, 3]).subarray(1));
  assert.equal([...readFileSync(path)], [2, 3]);
  writeFileAtomic(path, [new Uint8Array([4]), new Uint8Array(0), new Uint8Array([5, 6])]);
  assert.equal([...readFileSync(path)], [4, 5, 6]);
  assert.equal(readdirSync(folder), ['file']);
});

test('a chunk of any size is written in parts that one call takes', () => {
  const path = join(folder, 'file');
  const { writeSync } = fs;
  const sizes: number[] = [];
  fs.writeSync = ((file: number, chunk: Uint8Array, at: number, size: number) => {
    sizes.push(size);
    return writeSync(file, chunk, at, size);
  }) as typeof fs.writeSync;
  syncBuiltinESMExports();
  try {
    writeFileAtomic(path, [new Uint8Array([1, 2, 3, 4, 5, 6, 7]), new Uint8Array([8, 9, 10])], 3);
  } finally {
    Object.assign(fs, { writeSync });
    syncBuiltinESMExports();
  }
  assert.equal([...readFileSync(path)], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  assert.equal(sizes, [3, 3, 1, 3]);
});

test('a failure leaves neither a temporary file nor a changed one', () => {
  const target = join(folder, 'folder');
  mkdirSync(join(target, 'child'), { recursive: true });
  assert.throws(() => writeFileAtomic(target, 'text'));
  assert.throws(() => writeFileAtomic(join(folder, 'missing', 'file'), 'text'), /ENOENT/);
  assert.equal(readdirSync(folder), ['folder']);
});

test('the old content stays until the new one is complete', () => {
  const path = join(folder, 'file');
  writeFileAtomic(path, 'old');
  let seen = '';
  const chunks = {
    *[Symbol.iterator]() {
      yield new TextEncoder().encode('new ');
      seen = readFileSync(path, 'utf8');
      throw new Error('the disk is full');
    },
  };
  assert.throws(() => writeFileAtomic(path, chunks as unknown as Uint8Array[]), /disk is full/);
  assert.is(seen, 'old');
  assert.is(readFileSync(path, 'utf8'), 'old');
  assert.equal(readdirSync(folder), ['file']);
});

test('what one call writes less than it was given, the next ones write; it is on the disk before it is in place', () => {
  const path = join(folder, 'file');
  const { fsyncSync, closeSync, renameSync, writeSync } = fs;
  const real = { fsyncSync, closeSync, renameSync, writeSync };
  const calls: string[] = [];
  const note = (name: 'fsyncSync' | 'closeSync' | 'renameSync') => {
    (fs[name] as (...args: unknown[]) => unknown) = (...args) => {
      calls.push(name);
      return (real[name] as (...args: unknown[]) => unknown)(...args);
    };
  };
  for (const name of ['fsyncSync', 'closeSync', 'renameSync'] as const) note(name);
  fs.writeSync = ((file: number, chunk: Uint8Array, at: number, size: number) => {
    assert.is(at + size, chunk.byteLength);
    return real.writeSync(file, chunk, at, Math.min(size, 2));
  }) as typeof fs.writeSync;
  syncBuiltinESMExports();
  try {
    writeFileAtomic(path, 'a file of some length');
  } finally {
    Object.assign(fs, real);
    syncBuiltinESMExports();
  }
  assert.is(readFileSync(path, 'utf8'), 'a file of some length');
  assert.equal(calls.slice(0, 3), ['fsyncSync', 'closeSync', 'renameSync']);
  // Where folders can be synced, so is this one, that a power cut may not take the name back.
  if (process.platform !== 'win32') assert.equal(calls.slice(3), ['fsyncSync', 'closeSync']);
});

test('on Windows a file that another program has open is tried again for a while, elsewhere a refusal is one', () => {
  const path = join(folder, 'file');
  const { renameSync } = fs;
  let refusals = 0;
  fs.renameSync = (from, to) => {
    if (refusals-- > 0) throw Object.assign(new Error('EPERM: operation not permitted'), { code: 'EPERM' });
    renameSync(from, to);
  };
  syncBuiltinESMExports();
  try {
    const write = (platform: NodeJS.Platform, refused: number) => {
      refusals = refused;
      onPlatform(platform, () => {
        try {
          writeFileAtomic(path, platform);
        } catch (error) {
          assert.is(isHeld(error), platform === 'win32');
          throw error;
        }
      });
    };
    write('win32', 2);
    assert.is(readFileSync(path, 'utf8'), 'win32');
    assert.throws(() => write('linux', 1), /file: cannot be written \(EPERM/);
    assert.throws(() => write('win32', 1000), /file: cannot be written \(EPERM/);
    assert.equal(readdirSync(folder), ['file']);
  } finally {
    fs.renameSync = renameSync;
    syncBuiltinESMExports();
  }
});

test('whichever call of the system fails, the old content or the new one is there whole, and nothing beside it', async () => {
  const path = join(folder, 'file');
  const cases: [Faults, left: string][] = [
    [{ openSync: 1 }, 'old'],
    [{ writeSync: 1 }, 'old'],
    [{ writeSync: 2 }, 'old'],
    [{ fsyncSync: 1 }, 'old'],
    [{ closeSync: 1 }, 'old'],
    [{ writeSync: 1, closeSync: 1 }, 'old'],
    [{ renameSync: 1 }, 'old'],
    // The folder's: by then the file is complete.
    [{ openSync: 2 }, 'new content'],
    [{ fsyncSync: 2 }, 'new content'],
    [{ closeSync: 2 }, 'new content'],
  ];
  for (const [faults, left] of cases) {
    const [first] = Object.keys(faults);
    writeFileAtomic(path, 'old');
    let told = '';
    try {
      await onFailingDisk(faults, () => writeFileAtomic(path, [Buffer.from('new '), Buffer.from('content')]));
    } catch (error) {
      told = (error as Error).message;
    }
    const failure = `${path}: cannot be written (EIO: injected, ${first}). What was there is kept.`;
    assert.is(told, left === 'old' ? failure : '', JSON.stringify(faults));
    assert.is(readFileSync(path, 'utf8'), left, JSON.stringify(faults));
    assert.equal(readdirSync(folder), ['file'], JSON.stringify(faults));
  }
});

test.run();
