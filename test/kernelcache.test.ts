import fs, { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Winner } from '../src/ops/matrix/prepare.ts';
import { keepKernels, kernelFile, readKernels } from '../src/train/kernelcache.ts';

const test = suite('kernel cache');
let before: string | undefined;
test.before.each(() => {
  before = process.env.DAWNGRAD_CACHE;
  process.env.DAWNGRAD_CACHE = mkdtempSync(join(tmpdir(), 'dawngrad-kernels-'));
});
test.after.each(() => {
  rmSync(process.env.DAWNGRAD_CACHE!, { recursive: true });
  if (before === undefined) delete process.env.DAWNGRAD_CACHE;
  else process.env.DAWNGRAD_CACHE = before;
});

const adapter = 'A GPU | driver 1.2 | webgpu 0.6';
const winner = (variant: string): Winner => ({ variant, of: ['lanes', variant] });
const none = { winners: new Map(), verified: new Map() };

test('what is found out is kept for each adapter and driver, and added to', () => {
  assert.equal(readKernels(adapter), none);
  assert.is(keepKernels(adapter, { winners: new Map([['conv a', winner('tile')]]) }), null);
  assert.is(keepKernels(adapter, { verified: new Map([['conv a', ['tensor 64×64×32']]]) }), null);
  const b = {
    winners: new Map([['conv b', winner('winograd')]]),
    verified: new Map([['conv b', ['tensor 64×64×32']]]),
  };
  assert.is(keepKernels(adapter, b), null);
  assert.equal(readKernels(adapter), {
    winners: new Map([['conv a', winner('tile')], ...b.winners]),
    verified: new Map([['conv a', ['tensor 64×64×32']], ...b.verified]),
  });
  assert.is(keepKernels(adapter, { winners: new Map([['conv a', winner('outer')]]) }), null);
  assert.equal(readKernels(adapter).winners.get('conv a'), winner('outer'), 'what is found again replaces what was');
  assert.equal(readKernels('A GPU | driver 1.3 | webgpu 0.6'), none);
  assert.is(JSON.parse(readFileSync(kernelFile(adapter), 'utf8')).fingerprint, adapter);
  assert.is(readdirSync(dirname(kernelFile(adapter))).length, 1, 'no temporary file is left');
});

test('a file that is damaged, of another adapter or of other kernels says nothing, and is written anew', () => {
  const file = kernelFile(adapter);
  const all = { winners: new Map([['conv a', winner('tile')]]), verified: new Map([['conv a', ['tensor']]]) };
  assert.is(keepKernels(adapter, all), null);
  const good = JSON.parse(readFileSync(file, 'utf8'));
  const wrong = { 'conv a': 'tile', 'conv b': { variant: 3, of: [] }, 'conv c': { variant: 'x' }, 'conv d': [3] };
  const bad = [
    '',
    '{"kernels": ',
    'null',
    '[]',
    JSON.stringify({ ...good, fingerprint: 'another' }),
    JSON.stringify({ ...good, kernels: 'of another text' }),
    JSON.stringify({ ...good, winners: null, verified: [] }),
    JSON.stringify({ ...good, winners: wrong, verified: wrong }),
  ];
  for (const content of bad) {
    writeFileSync(file, content);
    assert.equal(readKernels(adapter), none, content);
    const added = { winners: new Map([['conv e', winner('tile')]]), verified: new Map([['conv e', ['tensor']]]) };
    assert.is(keepKernels(adapter, added), null);
    assert.equal(readKernels(adapter), added, content);
  }
});

test('a change of a kernel or of the code that chooses tiles makes other kernels of them', async () => {
  keepKernels(adapter, { winners: new Map([['conv a', winner('tile')]]) });
  const { readFileSync: read } = fs;
  const winnersWhere = async (changed: string): Promise<number> => {
    fs.readFileSync = ((path: string | URL, ...rest: []) => {
      const content = read(path, ...rest);
      return changed !== '' && String(path).endsWith(changed) ? `${content} ` : content;
    }) as typeof read;
    syncBuiltinESMExports();
    try {
      // A module of its own: the hash is made once.
      const module = await import(`../src/train/kernelcache.ts?changed=${changed}`);
      return module.readKernels(adapter).winners.size;
    } finally {
      fs.readFileSync = read;
      syncBuiltinESMExports();
    }
  };
  assert.is(await winnersWhere(''), 1);
  for (const changed of ['conv2d_tile.wgsl', 'lib/staged.wgsl', 'matrix/tileplan.ts'])
    assert.is(await winnersWhere(changed), 0, changed);
});

test('what a writer that was killed has left is removed once nobody can be at it', () => {
  keepKernels(adapter, none);
  const left = `${kernelFile(adapter)}.0123abcd.tmp`;
  writeFileSync(left, '{');
  keepKernels(adapter, none);
  assert.ok(existsSync(left), 'somebody may be about to rename it');
  utimesSync(left, 0, 0);
  keepKernels(adapter, none);
  assert.not.ok(existsSync(left));
});

test('where it cannot be kept, a line says so', () => {
  const folder = dirname(kernelFile(adapter));
  writeFileSync(folder, 'a file');
  const line = keepKernels(adapter, { winners: new Map([['conv a', winner('tile')]]) });
  assert.match(line!, /^warning: the next run checks and tunes its kernels again: /);
  assert.ok(existsSync(folder));
  assert.equal(readKernels(adapter), none);
});

test.run();
