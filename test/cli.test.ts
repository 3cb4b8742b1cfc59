// The commands from end to end, each in a process of its own: what they print, what they write, how they end.
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Image, toGray } from '../src/data/image.ts';
import { quoted } from '../src/train/call.ts';
import { readRecord } from '../src/train/runrecord.ts';
import { readSafetensors, writeSafetensors } from '../src/train/safetensors.ts';
import { dawngrad, ends, hashOf, starts, until } from './child.ts';
import { grayPng, makePng, scratchFolder } from './files.ts';
import { makeJpeg } from './jpeg.ts';

const scratch = scratchFolder();
test.after(() => scratch.remove());
const full = process.env.DAWNGRAD_TEST === 'full';

/** Small enough for a few steps a second on SwiftShader; four steps an epoch. Bits are compared, so the kernels are the usual ones. */
const tiny = [
  ...['--arch', 'vgg11_bn', '--width', '0.01', '--head', 'fastai', '--size', '32', '--limit', '64', '--batch', '16'],
  ...'--optimizer adamw --lr 0.002 --augment fastai --mixup 0.4 --epochs 2 --seed 3 --no-tune'.split(' '),
];
const train = (...args: string[]) => ['train', ...tiny, ...args];
const killed = ['--import', new URL('fixtures/killed.mjs', import.meta.url).href];
const interrupted = ['--import', new URL('fixtures/interrupted.mjs', import.meta.url).href];
const at = (...names: string[]) => join(scratch.path, ...names);
const checkpoint = (run: string) => at(run, 'last', 'checkpoint.safetensors');
const factsOf = (run: string) => JSON.parse(readSafetensors(checkpoint(run)).metadata.checkpoint!);
const position = (run: string) => factsOf(run).position;
const plan = (run: string): Record<string, string> => factsOf(run).kernelPlan;
const firstLine = (text: string) => text.slice(0, text.indexOf('\n'));

test('train writes the run folder, and says first what it runs on', () => {
  const { stdout, stderr } = ends(0, scratch.path, train('--out', 'whole'));
  assert.is(stdout, '');
  assert.equal(readdirSync(at('whole')).sort(), [
    ...['confusion.svg', 'curves.svg', 'grad-cam.png', 'last', 'metrics.csv', 'model.safetensors'],
    ...['report.html', 'run.json', 'top-losses.png'],
  ]);
  const record = readRecord(at('whole', 'run.json'));
  assert.is(firstLine(stderr), record.adapter.why);
  assert.match(stderr, /^toyfaces: 64 training images, 64 to validate .*, 7 classes$/m);
  assert.match(stderr, /^Report: whole.report\.html$/m);
  assert.match(stderr, /^Now with real faces, FER2013 from Kaggle: dawngrad train --data fer2013\.csv$/m);

  assert.equal(record.commandLine, train('--out', 'whole'));
  assert.is(record.seed, 3);
  assert.is(record.options.width, 0.01);
  assert.is(record.options.labelSmoothing, 0, 'defaults are there too');
  assert.equal(record.data.counts, { train: 64, valid: 64, test: 64 });
  assert.match(record.data.fingerprint, /^[0-9a-f]{64}$/);
  assert.is(record.model.arch, 'vgg11_bn');
  const problems = Object.keys(record.kernelPlan);
  for (const family of ['conv2d forward', 'conv2d dgrad', 'conv2d wgrad', 'matmul']) {
    assert.ok(
      problems.some((problem) => problem.startsWith(family)),
      family,
    );
  }
  assert.equal(plan('whole'), record.kernelPlan);
  const { result } = record;
  assert.equal([result?.status, result?.epochs, result?.steps], ['finished', 2, 8]);
  for (const value of [result!.seconds, result!.imagesPerSecond, result!.peakGpuBytes]) assert.ok(value > 0);

  const [header, ...rows] = readFileSync(at('whole', 'metrics.csv'), 'utf8').trimEnd().split('\n');
  assert.is(header, 'epoch,step,lr,train_loss,train_accuracy,valid_loss,valid_accuracy,seconds,images_per_s');
  const numbers = rows.map((row) => row.split(',').map(Number));
  assert.equal(
    numbers.map(([epoch, step]) => [epoch, step]),
    [
      [1, 4],
      [2, 8],
    ],
  );
  assert.ok(numbers.flat().every(Number.isFinite));
  const best = numbers[result!.bestEpoch! - 1]!;
  assert.ok(Math.abs(best[6]! - result!.validAccuracy!) < 1e-6);
  assert.is(Math.max(...numbers.map((row) => row[6]!)), best[6]);

  const { tensors, metadata } = readSafetensors(at('whole', 'model.safetensors'));
  assert.equal(tensors.get('features.0.weight')!.shape, [8, 3, 3, 3]);
  assert.is(metadata.format, 'pt');
  const facts = JSON.parse(metadata.dawngrad!);
  assert.equal([facts.arch, facts.classes.length, facts.storedSide], ['vgg11_bn', 7, 48]);
  const report = readFileSync(at('whole', 'report.html'), 'utf8');
  assert.match(report, 'network.load_state_dict(load_file(');
  assert.not.match(report, /https?:\/\/(?!www\.w3\.org)/);
  assert.match(readFileSync(at('whole', 'curves.svg'), 'utf8'), /^<svg/);
  for (const name of ['top-losses.png', 'grad-cam.png']) {
    assert.equal([...readFileSync(at('whole', name)).subarray(1, 4)], [...Buffer.from('PNG')]);
  }
});

/** A run killed while it writes checkpoint `n` (the first is that of step 0), and continued. */
function killedAndResumed(n: number): void {
  const run = `killed${n}`;
  process.env.KILL_AT = String(n);
  ends(null, scratch.path, train('--out', run, '--checkpoint-every', '1'), killed);
  assert.ok(readdirSync(at(run, 'last')).length > 1, 'killed in the middle of writing a checkpoint');
  const { epoch, step } = position(run);
  assert.equal([epoch, step], [Math.floor((n - 2) / 4), (n - 2) % 4]);
  const { stderr } = ends(0, scratch.path, ['train', '--resume', run]);
  assert.is(firstLine(stderr), readRecord(at(run, 'run.json')).adapter.why);
  sameAsWhole(run);
  assert.equal(readdirSync(at(run, 'last')), ['checkpoint.safetensors'], 'what the killed process left is gone');
}

/** Same weights, same optimizer state, same history as the run of the first test. */
function sameAsWhole(run: string): void {
  assert.is(hashOf(checkpoint(run)), hashOf(checkpoint('whole')));
  assert.is(hashOf(at(run, 'model.safetensors')), hashOf(at('whole', 'model.safetensors')));
  const untimed = (name: string) =>
    readFileSync(at(name, 'metrics.csv'), 'utf8')
      .split('\n')
      .map((row) => row.split(',').slice(0, 7).join());
  assert.equal(untimed(run), untimed('whole'));
  assert.equal(
    { ...readRecord(at(run, 'run.json')).result!, seconds: 0, imagesPerSecond: 0, peakGpuBytes: 0 },
    { ...readRecord(at('whole', 'run.json')).result!, seconds: 0, imagesPerSecond: 0, peakGpuBytes: 0 },
  );
}

// Signals are the tests' way to kill; Windows has none.
const unix = process.platform === 'win32' ? test.skip : test;
unix('a run killed in its second epoch and resumed equals the uninterrupted one, bit by bit', () =>
  killedAndResumed(7),
);
if (full) {
  for (const n of [2, 3, 4, 5, 6, 8, 9]) {
    unix(`a run killed at checkpoint ${n} and resumed equals the uninterrupted one`, () => killedAndResumed(n));
  }
}

test('a run interrupted while its kernels are prepared stops before the first step, and --resume starts anew', () => {
  const { stderr } = ends(0, scratch.path, train('--out', 'early'), interrupted);
  assert.match(stderr, /^Stopping before the next step, with a checkpoint\. Once more stops at once\.$/m);
  assert.match(stderr, /^Stopped; continue with: dawngrad train --resume early$/m);
  const { result, kernelPlan } = readRecord(at('early', 'run.json'));
  assert.equal([result?.status, result?.steps, position('early').step], ['stopped', 0, 0]);
  assert.equal([kernelPlan, plan('early')], [{}, {}], 'nothing was settled');
  ends(0, scratch.path, ['train', '--resume', 'early']);
  sameAsWhole('early');
  assert.equal(plan('early'), plan('whole'));
});

unix(
  'a folder that a process trains in is refused to others; what is left of one that was killed, to nobody',
  async () => {
    const slow = ['--epochs', '1000', '--checkpoint-every', '1'];
    const { child, ended } = starts(scratch.path, train('--out', 'busy', ...slow));
    try {
      await until('a checkpoint', () => existsSync(checkpoint('busy')));
      const { stderr } = ends(2, scratch.path, ['train', '--resume', 'busy']);
      assert.is(
        stderr,
        `dawngrad: --resume busy: process ${child.pid} is at work there. Wait for it; if it is something else, remove busy/.at-work.json.\n`,
      );
    } finally {
      child.kill('SIGKILL');
      await ended;
    }
    assert.ok(existsSync(at('busy', '.at-work.json')));
    const before = position('busy');
    ends(0, scratch.path, ['train', '--resume', 'busy', '--max-minutes', '0.0001']);
    assert.ok(position('busy').epoch * 4 + position('busy').step > before.epoch * 4 + before.step);
    assert.not(existsSync(at('busy', '.at-work.json')));
  },
);

unix('of two runs that are started into the same folder one is refused', async () => {
  const two = [1, 2].map(() => starts(scratch.path, train('--out', 'both')));
  const codes = await Promise.all(two.map(({ ended }) => ended));
  assert.equal(codes.sort(), [0, 2]);
  const [refused] = two.map(({ shown }) => /^dawngrad: .*$/m.exec(shown())?.[0]).filter(Boolean);
  assert.match(refused!, /^dawngrad: --out both: (process \d+ is at work there\.|already holds run\.json\.)/);
  sameAsWhole('both');
});

test('--max-minutes stops cleanly, and --resume finishes the run to the same bits', () => {
  const { stderr } = ends(0, scratch.path, train('--out', 'stopped run', '--max-minutes', '0.0001'));
  assert.match(stderr, /^Stopped; continue with: dawngrad train --resume (['"])stopped run\1$/m);
  assert.is(readRecord(at('stopped run', 'run.json')).result?.status, 'stopped');
  assert.equal(position('stopped run').step, 1);
  assert.is.not(hashOf(checkpoint('stopped run')), hashOf(checkpoint('whole')));
  ends(0, scratch.path, ['train', '--resume', 'stopped run']);
  sameAsWhole('stopped run');
});

test('--resume of a finished run says so and touches nothing', () => {
  const times = () =>
    ['.', 'last', ...readdirSync(at('whole')), 'last/checkpoint.safetensors'].map(
      (name) => statSync(at('whole', name)).mtimeMs,
    );
  const before = times();
  const { stdout, stderr } = ends(0, scratch.path, ['train', '--resume', 'whole']);
  assert.equal(
    [stdout, stderr],
    ['', `--resume whole: the run is finished; nothing is left to do. Report: ${join('whole', 'report.html')}\n`],
  );
  assert.equal(times(), before);
});

test('--resume obeys the plan of kernels that the run was started with, where it can', () => {
  const stop = ['--max-minutes', '0.0001'];
  ends(0, scratch.path, train('--out', 'planned', ...stop));
  const usual = plan('planned');
  const problem = Object.keys(usual).find((name) => name.startsWith('conv2d dgrad'))!;
  const resumeWith = (variant: string, ...args: string[]) => {
    const { tensors } = readSafetensors(checkpoint('planned'));
    const facts = { ...factsOf('planned'), kernelPlan: { ...usual, [problem]: variant } };
    writeSafetensors(checkpoint('planned'), tensors, { checkpoint: JSON.stringify(facts) });
    const { stderr } = ends(0, scratch.path, ['train', '--resume', 'planned', ...args]);
    return { stderr, now: readRecord(at('planned', 'run.json')).kernelPlan };
  };
  const other = resumeWith('of another version', ...stop);
  assert.match(other.stderr, /^Note: 1 of the kernels that the run was started with .* not to the same bits\.$/m);
  assert.equal(other.now, usual);

  const plain = resumeWith('plain');
  assert.equal(plain.now, { ...usual, [problem]: 'plain' });
  assert.not.match(plain.stderr, /kernels/);
  assert.is.not(hashOf(checkpoint('planned')), hashOf(checkpoint('whole')));
});

test('a run that diverges says so, exits with 1 and keeps its last good weights', () => {
  const { stderr } = ends(1, scratch.path, train('--out', 'wild', '--lr', '1e6', '--checkpoint-every', '1'));
  assert.match(stderr, /^training diverged in epoch \d, near step \d+: .* Lower .* \(it was 1000000\)\.$/m);
  assert.match(stderr, /^No epoch was complete: wild.model\.safetensors holds the weights as they were before it\.$/m);
  assert.is(readRecord(at('wild', 'run.json')).result?.status, 'diverged');
  for (const [name, { data }] of readSafetensors(at('wild', 'model.safetensors')).tensors) {
    assert.ok(
      [...data].every((value) => Number.isFinite(Number(value))),
      name,
    );
  }
  const model = at('wild', 'model.safetensors');
  // The checkpoint of step 1 holds what the first update left; not it, but the weights before it are good.
  const { stdout } = ends(0, scratch.path, [
    'evaluate',
    '--model',
    model,
    '--data',
    'toyfaces',
    '--limit',
    '7',
    '--json',
  ]);
  assert.ok(JSON.parse(stdout).loss < 5, stdout);
});

test('evaluate --json is JSON of numbers, and agrees with the run', () => {
  const data = ['--data', 'toyfaces', '--limit', '64'];
  const { stdout } = ends(0, scratch.path, ['evaluate', '--model', 'whole/model.safetensors', ...data, '--json']);
  const found = JSON.parse(stdout);
  const { result } = readRecord(at('whole', 'run.json'));
  assert.equal([found.arch, found.split, found.images], ['vgg11_bn', 'valid', 64]);
  assert.is(found.accuracy, result!.validAccuracy);
  assert.ok(Math.abs(found.loss - result!.validLoss!) < 1e-6);
  assert.is(found.classes.length, 7);
  for (const { name, precision, recall, f1, images } of found.classes) {
    assert.type(name, 'string');
    for (const value of [precision, recall, f1, images]) assert.type(value, 'number');
  }
  assert.is(
    found.confusion.flat().reduce((a: number, b: number) => a + b),
    64,
  );
  for (const value of [found.macroF1, found.seconds]) assert.type(value, 'number');
});

test('the report’s commands give its accuracy again, and train again into another folder', () => {
  for (let i = 0; i < 60; i++) scratch.write(`shapes/${i % 3 ? 'round' : 'square'}/${i}.png`, grayPng(i, 32));
  const network = ['--arch', 'vgg11_bn', '--width', '0.01', '--head', 'fastai', '--size', '32', '--epochs', '1'];
  const runs: [out: string, valid: number, options: string[]][] = [
    ['of shapes', 12, ['--data', 'shapes', '--seed', '3', '--valid', '20%', '--store', '32', '--batch', '12']],
    ['of-faces', 20, ['--seed', '3', '--limit', '20', '--batch', '10']],
  ];
  for (const [out, images, options] of runs) {
    ends(0, scratch.path, ['train', `--out=${out}`, ...network, ...options, '--no-tune']);
    const report = readFileSync(at(out, 'report.html'), 'utf8').replaceAll('&#39;', "'").replaceAll('&quot;', '"');
    const [, evaluate] = /dawngrad (evaluate [^<\n]+)/.exec(report)!;
    const words = [...evaluate!.matchAll(/'([^']*)'|"([^"]*)"|(\S+)/g)].map(
      ([, one, two, word]) => one ?? two ?? word!,
    );
    const { stdout } = ends(0, scratch.path, [...words, '--json']);
    const found = JSON.parse(stdout);
    const { validAccuracy } = readRecord(at(out, 'run.json')).result!;
    assert.equal([found.images, Number(found.accuracy.toPrecision(7))], [images, validAccuracy]);
    assert.ok(report.includes(`${found.correct} of ${images} images, epoch 1`), 'as the report says it');
    const [, again] = /dawngrad (train [^<\n]+)/.exec(report)!;
    assert.is(again, ['train', ...[...network, ...options, '--no-tune'].map(quoted)].join(' '));
  }
});

test('a folder of PNG and JPEG images is trained on, and a truncated model refused', async () => {
  for (const [c, name] of ['cats', 'dogs'].entries()) {
    for (let i = 0; i < 20; i++) {
      const content =
        i % 2 ? await makeJpeg(40, 30, (x) => [200 * c, 90 + x, 10 * i, 255]) : grayPng(20 * c + i, 32 + i);
      // Told apart by content, not by name.
      scratch.write(`pets/${name}/${i}.${i % 4 < 2 ? 'png' : 'jpg'}`, content);
    }
  }
  const size = ['--arch', 'vgg11_bn', '--width', '0.01', '--head', 'fastai', '--size', '32', '--store', '32'];
  ends(0, scratch.path, ['train', '--data', 'pets/.', ...size, '--epochs', '1', '--batch', '12', '--out', 'pets-run']);
  const { data, result } = readRecord(at('pets-run', 'run.json'));
  assert.equal([data.name, data.classes, data.path], ['pets', ['cats', 'dogs'], at('pets')]);
  assert.equal(data.counts, { train: 36, valid: 4, test: null });
  assert.is(result?.steps, 3);

  const model = 'pets-run/model.safetensors';
  const all = ['evaluate', '--model', model, '--data', 'pets', '--valid', 'all'];
  const { stdout, stderr: warned } = ends(0, scratch.path, all);
  assert.match(warned, /^Note: 36 of the 40 images were trained on: /m);
  const held = ends(0, scratch.path, [...all.slice(0, 5), '--json']);
  assert.equal(JSON.parse(held.stdout).seen, { trained: 0, validated: 4 });
  assert.not.match(held.stderr, 'Note');
  assert.match(stdout, /^vgg11_bn on pets, valid \(all images\)\n\d+ of 40 images right: [\d.]+ %; loss [\d.]+/);
  assert.match(stdout, /^dogs +[\d.]+ %/m);
  const widest = Math.max(...stdout.split('\n').map((line) => line.length));
  assert.ok(widest <= 80, `${widest} columns`);

  truncateSync(at(model), 1000);
  const { stderr } = ends(2, scratch.path, all);
  assert.match(stderr, /^dawngrad: pets-run\/model\.safetensors: [^\n]+\n$/m);
});

test('predict does what it can read, names what it cannot, and exits with 2 then', async () => {
  const png = scratch.write('shots/a.png', grayPng(1));
  const jpeg = scratch.write('shots/deep/b.jpeg', await makeJpeg(64, 48, (x, y) => [3 * x, 10, 5 * y, 255]));
  const model = ['predict', '--model', 'whole/model.safetensors'];
  const good = ends(0, scratch.path, [...model, '--json', png, jpeg]);
  const both = JSON.parse(good.stdout);
  assert.equal(
    both.map(({ image }: { image: string }) => image),
    [png, jpeg],
  );
  for (const { prediction, probability, probabilities } of both) {
    assert.is(probabilities[prediction], probability);
    const shares = Object.values<number>(probabilities);
    assert.is(shares.length, 7);
    assert.is(Math.max(...shares), probability);
    assert.ok(Math.abs(shares.reduce((a, b) => a + b) - 1) < 1e-5);
  }
  const broken = scratch.write('shots/c.png', grayPng(2).subarray(0, 700));
  const mixed = ends(2, scratch.path, [...model, '--json', 'shots', 'nowhere']);
  const [a, c, b, missing, ...rest] = JSON.parse(mixed.stdout);
  assert.equal(
    [a.image, c.image, b.image, missing.image, rest],
    [join('shots', 'a.png'), join('shots', 'c.png'), join('shots', 'deep', 'b.jpeg'), 'nowhere', []],
  );
  assert.is(at(c.image), broken);
  assert.match(mixed.stderr, `dawngrad: ${c.error}\ndawngrad: ${missing.error}\ndawngrad: 2 of 4 could not be read`);
  assert.equal(
    [a, b].map(({ probability }) => probability),
    both.map(({ probability }: { probability: number }) => probability),
  );
});

unix('names are shown without their control characters, which would be commands to the terminal', () => {
  const image = scratch.write('escapes/a\x1b[2J.png', grayPng(1));
  const shown = ends(2, scratch.path, ['predict', '--model', 'whole/model.safetensors', image, `${image}.gone`]);
  assert.match(shown.stdout, /escapes.a\\u001b\[2J\.png\n/);
  assert.not.match(shown.stdout + shown.stderr, '\x1b');
});

test('a network that was trained on gray images is shown gray ones', () => {
  const colours = Uint8Array.from({ length: 48 * 48 * 3 }, (_, i) => (i % 3 === 1 ? 40 : (i * 7) & 255));
  const inColour: Image = { pixels: colours, width: 48, height: 48, channels: 3 };
  scratch.write('two/colour.png', makePng(48, 48, 2, 8, colours));
  scratch.write('two/gray.png', makePng(48, 48, 0, 8, toGray(inColour).pixels));
  const { stdout } = ends(0, scratch.path, ['predict', '--model', 'whole/model.safetensors', 'two', '--json']);
  const [colour, gray] = JSON.parse(stdout);
  assert.equal(colour.probabilities, gray.probabilities);
  const table = ends(0, scratch.path, ['predict', '--model', 'whole/model.safetensors', 'two/gray.png']).stdout;
  assert.match(table, /^two\/gray\.png\n( {2}\w+ +\d+\.\d %( {2}█+)?\n){7}$/);
});

test('bad input is one line that names it, 2, and nothing written', () => {
  mkdirSync(at('empty'));
  const cases: [args: string[], line: RegExp][] = [
    [['train', '--data', 'empty', '--out', 'none'], /^dawngrad: empty: /m],
    [train('--batch', '65', '--out', 'none'), /^dawngrad: --batch 65 /m],
    [['predict', '--model', 'nowhere.safetensors', 'shots'], /^dawngrad: nowhere\.safetensors: no such file/m],
  ];
  for (const [args, line] of cases) {
    const { status, stdout, stderr } = dawngrad(scratch.path, args);
    assert.equal([status, stdout], [2, ''], stderr);
    assert.match(stderr, line);
    assert.not.ok(existsSync(at('none')));
  }
});

test('what computes nothing is no adapter for a command', () => {
  const { stderr } = ends(2, scratch.path, train('--adapter', 'null', '--out', 'nothing'));
  assert.match(stderr, /^dawngrad: --adapter: "null" compiles kernels but computes nothing: .* Valid: auto, /);
  assert.not(existsSync(at('nothing')));
});

test('lr-find prints its suggestions, draws the sweep and changes nothing else', () => {
  const trained = new Set(['--epochs', '--lr', '--no-tune']);
  const sweep = tiny.filter((word, i) => !trained.has(word) && !(trained.has(tiny[i - 1]!) && !word.startsWith('--')));
  const args = ['lr-find', ...sweep, '--steps', '20', '--start-lr', '1e-4', '--end-lr', '1', '--out', 'sweep'];
  const { stdout, stderr } = ends(0, scratch.path, args);
  assert.match(stdout, /^Suggested: valley \S+, slide \S+, steep \S+, minimum \S+\n$/);
  assert.match(stderr, /^step +1\/20 {2}lr 1\.00e-4 {2}loss \d\.\d{4}$/m);
  const [, again] = /^Train with it: dawngrad train (.*) --lr \d\S*$/m.exec(stderr)!;
  for (const word of sweep.filter((word) => word.startsWith('--')))
    assert.ok(again!.includes(word), `${word}: ${again}`);
  assert.not.match(again!, /--steps|--start-lr|--end-lr|--out/);
  assert.match(
    ends(2, scratch.path, ['lr-find', '--start-lr', '0.1', '--end-lr', '0.1', '--out', 'still']).stderr,
    /^dawngrad: --start-lr 0\.1 is not below --end-lr 0\.1: /,
  );
  assert.not.ok(existsSync(at('still')));
  assert.equal(readdirSync(at('sweep')).sort(), ['lr-find.csv', 'lr-find.svg']);
  const rows = readFileSync(at('sweep', 'lr-find.csv'), 'utf8').trim().split('\n');
  assert.is(rows[0], 'lr,loss');
  assert.ok(rows.length > 10 && rows.slice(1).every((row) => row.split(',').every((value) => Number(value) > 0)));
  assert.match(
    ends(2, scratch.path, ['lr-find', '--steps', '5']).stderr,
    /^dawngrad: --steps: expected a whole number/,
  );
});

test('--precision f16 trains, and resumes to the bits of a run in a go; an adapter without f16 is refused in a line', () => {
  const { features } = JSON.parse(ends(0, scratch.path, ['info', '--json']).stdout).chosen;
  const half = (...args: string[]) => train('--precision', 'f16', ...args);
  if (!features.includes('shader-f16')) {
    const { stderr } = ends(2, scratch.path, half('--out', 'half'));
    const refusals = stderr.split('\n').filter((line) => line.startsWith('dawngrad: '));
    assert.is(refusals.length, 1);
    assert.match(refusals[0]!, /^dawngrad: --precision f16: .* has no shader-f16\. Use --precision f32/);
    assert.not(existsSync(at('half')));
    return;
  }
  ends(0, scratch.path, half('--out', 'half'));
  const { options, result } = readRecord(at('half', 'run.json'));
  assert.is(options.precision, 'f16');
  assert.ok(result!.lossScale!.scale >= 1 && result!.lossScale!.skippedUpdates < 8);
  assert.is(factsOf('half').lossScale.updates, 8 - result!.lossScale!.skippedUpdates);
  assert.is(readSafetensors(at('half', 'model.safetensors')).tensors.get('features.0.weight')!.dtype, 'F32');

  ends(0, scratch.path, half('--out', 'half stopped', '--max-minutes', '0.0001'));
  ends(0, scratch.path, ['train', '--resume', 'half stopped']);
  assert.is(hashOf(checkpoint('half stopped')), hashOf(checkpoint('half')));
  assert.equal(factsOf('half stopped').lossScale, factsOf('half').lossScale);
});

test.run();
