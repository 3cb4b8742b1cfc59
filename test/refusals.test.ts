import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { evaluate } from '../src/cli/evaluate.ts';
import { lrFind } from '../src/cli/lrfind.ts';
import { withFlags } from '../src/cli/main.ts';
import { withDefaults } from '../src/cli/option.ts';
import { evaluateOptions, predictOptions, type TrainOptions } from '../src/cli/options.ts';
import { predict } from '../src/cli/predict.ts';
import { train } from '../src/cli/train.ts';
import { isUserError } from '../src/core/errors.ts';
import { writeFileAtomic } from '../src/data/atomic.ts';
import { readSafetensors, toF32 } from '../src/train/safetensors.ts';
import { grayPng, pixelField, scratchFolder } from './files.ts';
import { within } from './gpu.ts';

/** What the whole commands refuse; each of their parts is tested for itself where it stands. */
const folder = scratchFolder();
test.after(() => folder.remove());
const at = (name: string): string => join(folder.path, name);
const adapter = process.env.DAWNGRAD_ADAPTER || 'auto';

const rows = Array.from({ length: 20 }, (_, i) => `${i % 7},${pixelField(i)},${i < 14 ? 'Training' : 'PublicTest'}`);
const csv = folder.write('faces.csv', ['emotion,pixels,Usage', ...rows, ''].join('\n'));
const tiny = folder.write(
  'tiny.csv',
  ['emotion,pixels', ...rows.map((_, i) => `${i % 7},${pixelField(i, 256)}`)].join('\n'),
);
const small = { data: csv, adapter, width: 0.01, size: 32, batch: 7, epochs: 2, augment: 'none' } as const;

/** Runs a command in this process and returns what it wrote to stderr and stdout, and how it ended. */
async function ran(
  run: () => Promise<void>,
): Promise<{ shown: string[]; printed: string[]; error: unknown; code: unknown }> {
  const { error: toStderr, log: toStdout } = console;
  const { write } = process.stderr;
  const shown: string[] = [];
  const printed: string[] = [];
  console.error = (line: string) => void shown.push(line);
  console.log = (line: string) => void printed.push(line);
  process.stderr.write = (text: string | Uint8Array) => shown.push(String(text).trimEnd()) > 0;
  let error: unknown = null;
  try {
    await within(60_000, run());
  } catch (thrown) {
    error = thrown;
  } finally {
    console.error = toStderr;
    console.log = toStdout;
    process.stderr.write = write;
  }
  const code = process.exitCode;
  process.exitCode = undefined;
  return { shown, printed, error, code };
}

/** Asserts that a command is refused in one line for the user to mend, and writes nothing. */
async function refused(run: () => Promise<void>, pattern: RegExp): Promise<void> {
  const before = readdirSync(folder.path, { recursive: true }).filter((name) => !String(name).startsWith('cache'));
  const { error } = await ran(run);
  assert.ok(isUserError(error), `expected ${pattern}, not ${error}`);
  assert.match(withFlags(error.message), pattern);
  assert.not.match(error.message, /\n/);
  const after = readdirSync(folder.path, { recursive: true }).filter((name) => !String(name).startsWith('cache'));
  assert.equal(after, before);
}

test('train refuses what only data, network and adapter together can tell, and makes no folder', async () => {
  const cases: [given: Partial<TrainOptions>, pattern: RegExp][] = [
    [{ data: at('nowhere.csv') }, /nowhere\.csv: no such file or folder/],
    [{ batch: 15 }, /^--batch 15 is larger than the set, which has 14 images/],
    [{ accumulate: 3 }, /^--accumulate 3: times batch 7 it is more than the 14 training images/],
    [{ batch: 1, head: 'fastai' }, /^--batch 1: a batch norm .* Use --batch 2 or more/],
    [{ batch: 65_536, size: 1024, width: 1 }, /^--batch 65536: its largest tensor takes .* binds at most .*\. Use /],
    [{ out: csv }, /--out .*faces\.csv: cannot be written/],
    [{ out: join(csv, 'run') }, /--out .*faces\.csv.run: cannot be written/],
    [{ store: 96 }, /^--store 96 is for folders of images; these images have 48 px a side\. Leave it out\.$/],
    [{ data: 'toyfaces', store: 32 }, /^--store 32 is for folders of images/],
    [
      { data: tiny, size: null },
      /^fer2013: the images show 16 px a side, and vgg16_bn takes 32 or more\. Give --size 32,/,
    ],
    [{ adapter: 'swiftshadr' }, /Did you mean "swiftshader"\?/],
  ];
  for (const [given, pattern] of cases) await refused(() => train({ ...small, out: at('run'), ...given }), pattern);
});

test('a run that diverges in the last step of an epoch says so, and keeps weights that are numbers', async () => {
  const out = at('diverged');
  const { shown, code, error } = await ran(() => train({ ...small, batch: 14, lr: 1e6, out }));
  assert.is(error, null);
  assert.is(code, 1);
  assert.match(shown.join('\n'), /training diverged in epoch \d.*Lower the learning rate \(it was 1000000\)/);
  assert.is(JSON.parse(readFileSync(join(out, 'run.json'), 'utf8')).result.status, 'diverged');
  const { tensors } = readSafetensors(join(out, 'model.safetensors'));
  for (const [name, tensor] of tensors) assert.ok(toF32(tensor).every(Number.isFinite), name);
});

test('evaluate and predict refuse what does not fit the model, and resume a damaged checkpoint', async () => {
  // The run above ended with the weights it began with.
  const model = join(at('diverged'), 'model.safetensors');
  assert.ok(existsSync(model), 'the test before this one has written a model');
  const evaluated = (given: { model: string; data: string; split?: 'test'; store?: number }) => () =>
    evaluate({ ...withDefaults(evaluateOptions, given), adapter });
  const predicted =
    (...images: string[]) =>
    () =>
      predict({ ...withDefaults(predictOptions, { model, images }), adapter });

  const cut = folder.write('cut.safetensors', readFileSync(model).subarray(0, -100));
  await refused(evaluated({ model: at('none.safetensors'), data: csv }), /none\.safetensors: no such file/);
  await refused(evaluated({ model: cut, data: csv }), /cut\.safetensors: .* It is cut short/);
  await refused(evaluated({ model, data: csv, split: 'test' }), /no images in --split test/);
  await refused(evaluated({ model, data: csv, store: 96 }), /^--store 96 is for folders of images/);
  folder.write('other/glad/a.png', grayPng(1));
  await refused(evaluated({ model, data: at('other') }), /glad: a class that the model does not have\. Expected angry/);
  folder.write('mixed/ä 1.png', grayPng(2));
  folder.write('mixed/b.png', 'no image');
  mkdirSync(at('mixed/c.png'));
  const unreadable = [at('nobody.png'), at(join('mixed', 'b.png', 'x')), at('mixed/c.png')];
  const { code, error, shown, printed } = await ran(predicted(at('mixed'), ...unreadable));
  assert.equal([code, error, printed.length], [2, null, 1]);
  assert.match(printed[0]!, 'ä 1.png');
  const lines = shown.join('\n');
  assert.match(lines, /^dawngrad: .*b\.png: no image; expected PNG or JPEG/m);
  assert.match(lines, /^dawngrad: .*nobody\.png: /m);
  assert.match(lines, /^dawngrad: .*b\.png.x: /m);
  assert.match(lines, /^dawngrad: 4 of 5 could not be read; the rest is above\.$/m);

  const checkpoint = join(at('diverged'), 'last', 'checkpoint.safetensors');
  const whole = readFileSync(checkpoint);
  writeFileSync(checkpoint, whole.subarray(0, -100));
  await refused(
    () => train({ resume: at('diverged'), adapter }),
    /checkpoint\.safetensors: .* It is cut short\. Restore it, or start again elsewhere\.$/,
  );
  writeFileSync(checkpoint, readFileSync(model));
  await refused(() => train({ resume: at('diverged'), adapter }), /checkpoint\.safetensors: is no checkpoint of a run/);
});

test('lr-find overwrites no sweep, and draws beside a run', async () => {
  const { epochs: _, ...network } = small;
  const sweep = () => lrFind({ ...network, steps: 20, out: at('diverged') });
  assert.is((await ran(sweep)).error, null);
  const before = readFileSync(at('diverged/lr-find.csv'), 'utf8');
  await refused(sweep, /lr-find\.csv: there is such a file already\. Name a new one\.$/);
  assert.is(readFileSync(at('diverged/lr-find.csv'), 'utf8'), before);
});

test('a file that cannot be written is named, with the reason of the system', () => {
  assert.throws(
    () => writeFileAtomic(join(csv, 'model'), 'weights'),
    /faces\.csv.model: cannot be written \(E[A-Z]+: /,
  );
});

test.run();
