import { execFileSync, spawn } from 'node:child_process';
import { truncateSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readWholeFile } from '../src/data/wholefile.ts';
import { readSafetensors } from '../src/train/safetensors.ts';
import { pixel, scratchFolder } from './files.ts';

const scratch = scratchFolder();
test.after(() => scratch.remove());
const full = process.env.DAWNGRAD_TEST === 'full';

test('a file is read in parts, of whatever size', () => {
  for (const size of [0, 1, 7, 8, 100]) {
    const content = Uint8Array.from({ length: size }, (_, i) => pixel(1, i));
    const path = scratch.write('parts', content);
    for (const readBytes of [1, 3, 8, 1000]) assert.equal([...readWholeFile(path, readBytes)], [...content]);
  }
});

test('what is no file, or not there, is said by the system', () => {
  assert.throws(() => readWholeFile(scratch.path), /EISDIR/);
  assert.throws(() => readWholeFile(`${scratch.path}/none`), /ENOENT/);
});

if (process.platform !== 'win32') {
  test('a pipe is read to its end', () => {
    const pipe = `${scratch.path}/pipe`;
    execFileSync('mkfifo', [pipe]);
    spawn('sh', ['-c', 'printf 12345 > "$0"', pipe], { stdio: 'ignore' });
    assert.is(Buffer.from(readWholeFile(pipe)).toString(), '12345');
  });
}

// Sparse on disk, but in memory all of it.
(full ? test : test.skip)('a checkpoint above 2 GiB is read', () => {
  const size = 2 ** 31 + 1;
  const header = JSON.stringify({ w: { dtype: 'U8', shape: [size], data_offsets: [0, size] } });
  const path = scratch.write(
    'large.safetensors',
    new Uint8Array([header.length, ...Array(7).fill(0), ...Buffer.from(header)]),
  );
  truncateSync(path, 8 + header.length + size);
  assert.is(readSafetensors(path).tensors.get('w')!.data.length, size);
});

test.run();
