import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ConfigError, DataError } from '../src/core/errors.ts';
import { checkOut, createRunFolder, makeFolder, openRunFolder, runFolder } from '../src/train/runfolder.ts';
import { type RunRecord, readRecord, writeRecord } from '../src/train/runrecord.ts';

let folder = '';
const before = process.cwd();
test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), 'dawngrad-run-'));
  process.chdir(folder);
});
test.after.each(() => {
  process.chdir(before);
  rmSync(folder, { recursive: true });
});

const record: Omit<RunRecord, 'version'> = {
  commandLine: ['train', '--epochs', '2'],
  startedAt: '2025-01-31T13:05:09.000Z',
  options: { epochs: 2, lr: 0.05, pool: null },
  seed: 1,
  versions: { dawngrad: '0.1.0', node: '20.11.0', webgpu: '0.6.2' },
  adapter: {
    kind: 'swiftshader',
    name: 'SwiftShader Device',
    driver: '5.0.0',
    software: true,
    fingerprint: 'SwiftShader 5.0.0 Dawn 0.6.2',
    why: 'no hardware adapter',
  },
  kernelPlan: {},
  data: {
    name: 'toyfaces',
    path: null,
    classes: ['angry', 'happy'],
    counts: { train: 90, valid: 10, test: null },
    validName: '10 % of train',
    fingerprint: 'abc',
  },
  model: { arch: 'vgg16_bn', width: 0.125, head: 'vgg', pool: 1, channels: 3, size: 48, parameters: 12 },
  result: null,
};

const refuses = (call: () => unknown, kind: typeof ConfigError | typeof DataError, pattern: RegExp): void => {
  try {
    call();
  } catch (error) {
    assert.instance(error, kind);
    assert.match((error as Error).message, pattern);
    assert.not.match((error as Error).message, /\n/);
    return;
  }
  assert.unreachable('it was accepted');
};

/** A folder with a run that can be resumed. */
function makeRun(dir: string): void {
  const run = createRunFolder(dir, 'vgg16_bn');
  writeRecord(run.record, record);
  mkdirSync(run.last);
  writeFileSync(run.checkpoint, '');
}

test('a new run goes to runs/TIME-ARCH, and a second one in the same second beside it', () => {
  const now = new Date(2025, 0, 31, 14, 5, 9);
  const first = createRunFolder(null, 'vgg16_bn', now);
  const second = createRunFolder(null, 'vgg16_bn', now);
  assert.is(first.dir, join('runs', '20250131-140509-vgg16_bn'));
  assert.is(second.dir, join('runs', '20250131-140509-vgg16_bn-2'));
  assert.is(second.model, join(second.dir, 'model.safetensors'));
  assert.equal(
    readdirSync('runs').sort(),
    [first.dir, second.dir].map((dir) => dir.slice('runs/'.length)),
  );
});

test('a run that was told no folder minds none of the files beside it', () => {
  mkdirSync('runs');
  writeFileSync(join('runs', 'report.html'), '');
  checkOut(null);
  assert.ok(existsSync(createRunFolder(null, 'vgg16_bn').dir));
});

const unix = process.platform === 'win32' ? test.skip : test;

unix('a name that leads nowhere is no folder', () => {
  symlinkSync('nowhere', 'link');
  refuses(() => createRunFolder('link', 'vgg16_bn'), ConfigError, /^--out link: cannot be written \(EEXIST/);
});

test('--out is made with its parents; an empty folder and foreign files are no obstacle', () => {
  assert.ok(existsSync(createRunFolder(join('a', 'b', 'c'), 'vgg16_bn').dir));
  writeFileSync(join('a', 'notes.txt'), 'mine');
  assert.is(createRunFolder('a', 'vgg16_bn').record, join('a', 'run.json'));
  assert.is(readFileSync(join('a', 'notes.txt'), 'utf8'), 'mine');
});

test('--out with a run in it is refused, and so is one with a file that a run would overwrite', () => {
  makeRun('run');
  refuses(() => checkOut('run'), ConfigError, /^--out run: already holds run\.json.*--resume run/);
  refuses(() => createRunFolder('run', 'vgg16_bn'), ConfigError, /already holds run\.json/);
  mkdirSync('other');
  writeFileSync(join('other', 'metrics.csv'), 'mine');
  refuses(() => createRunFolder('other', 'vgg16_bn'), ConfigError, /already holds metrics\.csv/);
  assert.equal(readdirSync('other'), ['metrics.csv']);
});

test('--out that cannot be a folder is refused before anything is made', () => {
  writeFileSync('file', '');
  for (const dir of ['file', join('file', 'run'), join('file', 'deep', 'run')]) {
    refuses(() => checkOut(dir), ConfigError, /^--out file.*cannot be written/);
    refuses(() => createRunFolder(dir, 'vgg16_bn'), ConfigError, /cannot be written/);
  }
  checkOut(join('new', 'run'));
  checkOut(null);
  assert.equal(readdirSync('.'), ['file']);
});

test('a folder is made with those above it; where the system takes none, that is said in a line', () => {
  makeFolder('--out', join('a', 'b', 'c'));
  makeFolder('--out', join('a', 'b', 'c'));
  assert.equal(readdirSync(join('a', 'b')), ['c']);
  if (process.platform !== 'linux') return;
  const dir = '/proc/dawngrad/x';
  refuses(
    () => makeFolder(`--cam ${dir}`, dir),
    ConfigError,
    /^--cam \/proc\S+: cannot be written \(ENOENT[^\n]*\. Choose/,
  );
});

test('a runs/ that is a file is refused by name', () => {
  writeFileSync('runs', '');
  refuses(() => checkOut(null), ConfigError, /^--out runs: cannot be written/);
  refuses(() => createRunFolder(null, 'vgg16_bn'), ConfigError, /^--out runs: cannot be written/);
});

// Neither root nor Windows minds the mode of a folder.
if (process.getuid && process.getuid() !== 0) {
  test('--out in a folder without write permission is refused', () => {
    mkdirSync('closed', { mode: 0o555 });
    refuses(() => checkOut(join('closed', 'run')), ConfigError, /^--out closed.run: cannot be written/);
  });

  test('--resume of a folder without write permission is refused, and says what helps there', () => {
    makeRun('run');
    chmodSync('run', 0o555);
    const mend = /^--resume run: cannot be written .* Make it writable, or continue a copy of it\.$/;
    refuses(() => openRunFolder('run'), ConfigError, mend);
    chmodSync('run', 0o755);
  });
}

test('run.json is read as it was written', () => {
  const path = 'run.json';
  writeRecord(path, record);
  assert.equal(readRecord(path), { version: 1, ...record });
  writeRecord(path, { ...record, seed: 2 });
  assert.is(readRecord(path).seed, 2);
  assert.equal(readdirSync('.'), ['run.json']);
});

test('a broken, foreign or later run.json is refused in one line', () => {
  writeRecord('run.json', record);
  const text = readFileSync('run.json', 'utf8');
  const cases: [content: string, pattern: RegExp][] = [
    [
      text.slice(0, text.length / 2),
      /^run\.json: is no JSON, so it is truncated .* Restore the file, or start the run again in another folder\.$/,
    ],
    ['', /is no JSON/],
    ['[1, 2]', /was not written by dawngrad\. Choose the folder of a run\.$/],
    ['null', /was not written by dawngrad/],
    ['{"name": "something else"}', /was not written by dawngrad/],
    [text.replace('"version": 1', '"version": 2'), /version 2; this dawngrad reads 1/],
    [text.replace('"version": 1', '"version": "one"'), /version is not what it should be/],
    [text.replace('"options"', '"choices"'), /options is missing\. Restore the file, or/],
    [text.replace('"seed": 1', '"seed": "x"'), /seed is not what it should be/],
  ];
  for (const [content, pattern] of cases) {
    writeFileSync('run.json', content);
    refuses(() => readRecord('run.json'), DataError, pattern);
  }
  refuses(() => readRecord('none.json'), DataError, /^none\.json: cannot be read \(ENOENT.*\. Check that/);
});

test('--resume finds the run and its record', () => {
  makeRun('run');
  const { folder: found, record: read } = openRunFolder('run');
  assert.equal(found, runFolder('run'));
  assert.equal(read.options, record.options);
});

test('--resume without a folder, a run or a checkpoint is refused', () => {
  refuses(() => openRunFolder('none'), ConfigError, /^--resume none: no such folder/);
  mkdirSync('empty');
  refuses(() => openRunFolder('empty'), ConfigError, /^--resume empty: holds no run\.json/);
  makeRun('run');
  const { checkpoint, last } = runFolder('run');
  const none = /^--resume run: holds no last.checkpoint\.safetensors: .* another --out, or empty the folder first\.$/;
  // Killed while it wrote the first one.
  renameSync(checkpoint, `${checkpoint}.0123abcd.tmp`);
  refuses(() => openRunFolder('run'), ConfigError, none);
  rmSync(last, { recursive: true });
  refuses(() => openRunFolder('run'), ConfigError, none);
  // What --resume sends to --out, that does not send back.
  refuses(() => checkOut('run'), ConfigError, /^--out run: already holds run\.json\. .* or empty this one\.$/);
  writeFileSync(join('run', 'run.json'), '{');
  refuses(() => openRunFolder('run'), DataError, /is no JSON/);
});

test.run();
