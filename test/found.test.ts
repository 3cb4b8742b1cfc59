import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { foundFile, keepFound, readFound } from '../src/train/found.ts';

const test = suite('found');
let before: string | undefined;
test.before.each(() => {
  before = process.env.DAWNGRAD_CACHE;
  process.env.DAWNGRAD_CACHE = mkdtempSync(join(tmpdir(), 'dawngrad-found-'));
});
test.after.each(() => {
  rmSync(process.env.DAWNGRAD_CACHE!, { recursive: true });
  if (before === undefined) delete process.env.DAWNGRAD_CACHE;
  else process.env.DAWNGRAD_CACHE = before;
});

const adapter = 'A GPU | driver 1.2 | webgpu 0.6';

test('kernels that were found right are kept for each adapter and driver, and added to', () => {
  assert.is(readFound(adapter).size, 0);
  assert.is(keepFound(adapter, new Map([['conv a', ['tensor 64×64×32']]])), null);
  assert.is(keepFound(adapter, new Map([['conv b', ['tensor 64×64×32', 'tensor 128×128×32']]])), null);
  assert.equal(
    [...readFound(adapter)],
    [
      ['conv a', ['tensor 64×64×32']],
      ['conv b', ['tensor 64×64×32', 'tensor 128×128×32']],
    ],
  );
  assert.is(readFound('A GPU | driver 1.3 | webgpu 0.6').size, 0);
});

test('a file that is damaged, of another adapter or of other kernels holds nothing, and is written anew', () => {
  const file = foundFile(adapter);
  mkdirSync(dirname(file), { recursive: true });
  keepFound(adapter, new Map([['conv a', ['tensor']]]));
  const good = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
  const bad = [
    '',
    'null',
    '[]',
    '{"right": ',
    JSON.stringify({ ...good, fingerprint: 'another' }),
    JSON.stringify({ ...good, kernels: 'of another text' }),
    JSON.stringify({ ...good, right: null }),
    JSON.stringify({ ...good, right: { 'conv a': 'tensor', 'conv b': [3] } }),
  ];
  for (const content of bad) {
    writeFileSync(file, content);
    assert.is(readFound(adapter).size, 0, content);
    assert.is(keepFound(adapter, new Map([['conv d', ['tensor']]])), null);
    assert.equal([...readFound(adapter).keys()], ['conv d'], content);
  }
});

test('where they cannot be kept, a line says so', () => {
  writeFileSync(dirname(foundFile(adapter)), 'a file');
  const line = keepFound(adapter, new Map([['conv a', ['tensor']]]));
  assert.match(line!, /^warning: the next run checks its kernels again: /);
});

test.run();
