import fs, {
  chmodSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { cached, fileSignature } from '../src/data/cache.ts';
import { loadDataset } from '../src/data/dataset.ts';
import { readFer2013 } from '../src/data/fer2013.ts';
import { listFolder, readFolder } from '../src/data/folder.ts';
import { grayPng, pixelField, scratchFolder } from './files.ts';

let folder: ReturnType<typeof scratchFolder>;
test.before.each(() => {
  folder = scratchFolder();
});
test.after.each(() => folder.remove());

const lines = (count: number) => Array.from({ length: count }, (_, n) => `${n % 7},${pixelField(n, 64)},Training`);
const csv = (count = 30) => folder.write('set.csv', ['emotion,pixels,Usage', ...lines(count)].join('\n'));
const cacheFiles = () =>
  readdirSync(join(folder.path, 'cache', 'data')).map((name) => join(folder.path, 'cache', 'data', name));

/** Loads through the cache and says whether it had to parse. */
async function load(path: string, parse = () => readFer2013(path), signature = fileSignature(path)) {
  let parsed = false;
  const rows = await cached({ path, variant: 'fer2013', signature }, () => {
    parsed = true;
    return parse();
  });
  return { rows, parsed };
}

test('the second load comes from the cache and is the same', async () => {
  const path = csv();
  const [first, second] = [await load(path), await load(path)];
  assert.equal([first.parsed, second.parsed], [true, false]);
  assert.equal(second.rows, first.rows);
  assert.is((await loadDataset({ data: path, seed: 1 })).source('train', 0), 'set.csv:2');
  assert.ok(!existsSync(join(folder.path, 'set.csv.rows')), 'nothing beside the data');
  assert.is(cacheFiles().length, 1, 'no temporary file is left');
});

test('a folder comes from the cache as well, be its images few or more than a buffer was made for', async () => {
  for (const count of [3, 20]) {
    const path = join(folder.path, `${count}`);
    for (let i = 0; i < count; i++) folder.write(`${count}/${'ab'[i % 2]}/${i}.png`, grayPng(i));
    const listing = listFolder(path);
    const loads = () => load(path, () => readFolder(listing, 16, 3), listing.signature);
    const [first, second] = [await loads(), await loads()];
    assert.equal([first.parsed, second.parsed, first.rows.pixels.length], [true, false, count * 256], `${count}`);
    assert.equal(second.rows, first.rows);
  }
});

test('a changed file is noticed, also one of the same size and modification time', async () => {
  const path = csv();
  await load(path);
  const { mtime, atime, size } = statSync(path);
  const text = readFileSync(path, 'latin1');
  const edited = text.replace(/^1,/m, '6,');
  assert.is(edited.length, size);
  writeFileSync(path, edited, 'latin1');
  utimesSync(path, atime, mtime);
  const again = await load(path);
  assert.ok(again.parsed);
  assert.is(again.rows.labels[1], 6);
  writeFileSync(path, `${edited}\n${lines(31)[30]}`);
  assert.is((await load(path)).rows.count, 31);
  assert.is(cacheFiles().length, 1, 'the stale cache was replaced');
});

test('the signature samples the content from end to end, whatever the times say', () => {
  const bytes = new Uint8Array(1 << 20);
  const path = folder.write('a.bin', bytes);
  const { statSync } = fs;
  const still = statSync(path);
  Object.assign(fs, { statSync: () => still });
  syncBuiltinESMExports();
  try {
    const before = fileSignature(path);
    assert.is(fileSignature(path), before);
    for (const at of [0, 1000, Math.floor((bytes.length - 4096) / 31), bytes.length - 1]) {
      writeFileSync(path, bytes.with(at, 1));
      assert.is.not(fileSignature(path), before, `byte ${at}`);
    }
  } finally {
    Object.assign(fs, { statSync });
    syncBuiltinESMExports();
  }
});

test('a damaged cache is rebuilt, whatever the damage', async () => {
  const path = csv();
  const whole = await load(path);
  const file = cacheFiles()[0]!;
  const bytes = readFileSync(file);
  const damages: [string, () => void][] = [
    ['empty', () => truncateSync(file, 0)],
    ['truncated', () => truncateSync(file, bytes.length - 100)],
    [
      'a flipped pixel',
      () =>
        writeFileSync(
          file,
          bytes.map((byte, i) => (i === bytes.length - 50 ? byte ^ 1 : byte)),
        ),
    ],
    ['no header', () => writeFileSync(file, 'something else altogether, of some length')],
    [
      'a header of another number of images',
      () => writeFileSync(file, bytes.toString('latin1').replace('"count":30', '"count":31'), 'latin1'),
    ],
    [
      'a broken header',
      () =>
        writeFileSync(
          file,
          bytes.map((byte, i) => (i === 30 ? 0 : byte)),
        ),
    ],
  ];
  for (const [what, damage] of damages) {
    damage();
    const again = await load(path);
    assert.ok(again.parsed, what);
    assert.equal(again.rows, whole.rows, what);
    assert.not.ok((await load(path)).parsed, `${what}: rebuilt`);
  }
});

test('a cache folder that cannot be written costs a warning, not the run', async () => {
  const path = csv();
  // A file where the folder should be: no user can write below it, not even root.
  process.env.DAWNGRAD_CACHE = folder.write('occupied', 'x');
  const warnings: string[] = [];
  const original = console.error;
  console.error = (text: string) => warnings.push(text);
  try {
    assert.is((await load(path)).rows.count, 30);
    assert.is((await load(path)).rows.count, 30);
  } finally {
    console.error = original;
  }
  assert.is(warnings.length, 1);
  assert.match(warnings[0]!, /^warning: .* is not cached, so the next run reads it anew: .*occupied/);
});

test('the data may lie where nothing can be written', async () => {
  const path = csv();
  chmodSync(path, 0o444);
  chmodSync(folder.path, 0o555);
  process.env.DAWNGRAD_CACHE = join(folder.path, '..', `${Date.now()}-${process.pid}-cache`);
  try {
    assert.is((await load(path)).rows.count, 30);
    assert.equal(readdirSync(folder.path), ['set.csv']);
  } finally {
    chmodSync(folder.path, 0o755);
    rmSync(process.env.DAWNGRAD_CACHE, { recursive: true, force: true });
  }
});

test('what killed writers left in the cache folder is removed once nobody can be at it', async () => {
  await load(csv());
  const of = (name: string) => folder.write(`cache/data/${name}`, 'half a cache');
  const [old, ahead, fresh, alien] = [
    of('a.rows.0123abcd.tmp'),
    of('b.rows.0123abcd.tmp'),
    of('c.rows.0123abcd.tmp'),
    of('d.tmp'),
  ];
  const hour = 3600;
  const now = Date.now() / 1000;
  utimesSync(old, now - 1.1 * hour, now - 1.1 * hour);
  utimesSync(ahead, now + 1.1 * hour, now + 1.1 * hour);
  utimesSync(alien, now - 1.1 * hour, now - 1.1 * hour);
  await load(csv(31));
  assert.equal(
    [old, ahead, fresh, alien].map((path) => existsSync(path)),
    [false, false, true, true],
  );
});

test('a failed parse leaves no cache', async () => {
  const path = folder.write(
    'bad.csv',
    `emotion,pixels\n${lines(1)[0]!.replace(',Training', '')}\n9,${pixelField(1, 64)}\n`,
  );
  for (let i = 0; i < 2; i++) {
    try {
      await load(path);
      assert.unreachable();
    } catch (error) {
      assert.match((error as Error).message, /bad\.csv:3: emotion is '9'/);
    }
  }
  assert.not.ok(existsSync(join(folder.path, 'cache', 'data')));
});

test.run();
