import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Winner } from '../src/ops/matrix/prepare.ts';
import { keepWinners, readWinners, winnersFile } from '../src/train/winners.ts';

const test = suite('winners');
let before: string | undefined;
test.before.each(() => {
  before = process.env.DAWNGRAD_CACHE;
  process.env.DAWNGRAD_CACHE = mkdtempSync(join(tmpdir(), 'dawngrad-winners-'));
});
test.after.each(() => {
  rmSync(process.env.DAWNGRAD_CACHE!, { recursive: true });
  if (before === undefined) delete process.env.DAWNGRAD_CACHE;
  else process.env.DAWNGRAD_CACHE = before;
});

const adapter = 'A GPU | driver 1.2 | webgpu 0.6';
const winner = (variant: string): Winner => ({ variant, of: ['lanes', variant] });

test('winners are kept for each adapter and driver, and added to', () => {
  assert.is(readWinners(adapter).size, 0);
  assert.is(keepWinners(adapter, new Map([['conv a', winner('tile')]])), null);
  assert.is(keepWinners(adapter, new Map([['conv b', winner('winograd')]])), null);
  assert.equal(
    [...readWinners(adapter)],
    [
      ['conv a', winner('tile')],
      ['conv b', winner('winograd')],
    ],
  );
  assert.is(readWinners('A GPU | driver 1.3 | webgpu 0.6').size, 0);
  assert.is(JSON.parse(readFileSync(winnersFile(adapter), 'utf8')).fingerprint, adapter);
  assert.is(readdirSync(dirname(winnersFile(adapter))).length, 1, 'no temporary file is left');
});

test('a file that is damaged, of another adapter or of another version holds nothing, and is written anew', () => {
  const file = winnersFile(adapter);
  assert.is(keepWinners(adapter, new Map([['conv a', winner('tile')]])), null);
  const good = JSON.parse(readFileSync(file, 'utf8'));
  assert.equal(good.winners, { 'conv a': winner('tile') });
  const bad = [
    '',
    '{"version": ',
    'null',
    '[]',
    JSON.stringify({ ...good, fingerprint: 'another' }),
    JSON.stringify({ ...good, version: good.version - 1 }),
    JSON.stringify({ ...good, winners: null }),
    JSON.stringify({
      ...good,
      winners: { 'conv a': 'tile', 'conv b': { variant: 3, of: [] }, 'conv c': { variant: 'x' } },
    }),
  ];
  for (const content of bad) {
    writeFileSync(file, content);
    assert.is(readWinners(adapter).size, 0, content);
    assert.is(keepWinners(adapter, new Map([['conv d', winner('tile')]])), null);
    assert.equal([...readWinners(adapter).keys()], ['conv d'], content);
  }
});

test('where they cannot be kept, a line says so', () => {
  const folder = dirname(winnersFile(adapter));
  writeFileSync(folder, 'a file');
  assert.match(keepWinners(adapter, new Map([['conv a', winner('tile')]]))!, /^warning: the next run tunes again: /);
  assert.ok(existsSync(folder));
  assert.is(readWinners(adapter).size, 0);
});

test.run();
