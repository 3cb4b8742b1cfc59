import { Writable } from 'node:stream';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createProgress, type ProgressEpoch, type ProgressStream } from '../src/train/progress.ts';
import { screen } from './screen.ts';

// Where the tests run must not matter.
process.env.TERM = 'xterm';

/** A stream that remembers; with columns it claims to be a terminal. */
function fakeStream(columns?: number): { stream: ProgressStream; written: () => string } {
  let written = '';
  const stream = new Writable({
    write(chunk, _, done) {
      written += String(chunk);
      done();
    },
  });
  return { stream: Object.assign(stream, columns ? { isTTY: true, columns } : {}), written: () => written };
}

const epochRow = (epoch: number, more: Partial<ProgressEpoch> = {}): ProgressEpoch => ({
  epoch,
  trainLoss: 1.23456,
  trainAccuracy: 0.5,
  validLoss: 1.5,
  validAccuracy: 0.456,
  seconds: 83.4,
  imagesPerSecond: 1234.5,
  ...more,
});

/** A run of 2 epochs of 50 steps, a second a step; the screen after `step`, with the bar on it. */
function barAt(columns: number, step: number, totalSteps = 100): string {
  const { stream, written } = fakeStream(columns);
  let clockMs = 0;
  const progress = createProgress(stream, { totalSteps, epochs: 2, now: () => clockMs });
  try {
    for (let k = 1; k <= step; k++) {
      clockMs += 1000;
      progress.step({ epoch: 1 + Math.floor(k / 51), step: k, loss: 1.2345, accuracy: 0.567, imagesPerSecond: 812.4 });
    }
    // A message redraws the bar, which on its own is redrawn a few times a second.
    progress.message('redraw');
    return screen(written()).at(-1)!;
  } finally {
    progress.stop();
  }
}

test('the bar tells step, loss, accuracy, speed and time left at 60, 80 and 100 columns', () => {
  assert.is(barAt(100, 40), `${bar(28, 0.4)}  epoch 1/2  step 40/100  loss 1.234  acc 56.7%  812 img/s  1:00 left`);
  assert.match(
    barAt(80, 40),
    /^█+░+ {2}epoch 1\/2 {2}step 40\/100 {2}loss 1\.234 {2}acc 56\.7% {2}812 img\/s {2}1:00 left$/,
  );
  assert.match(barAt(60, 40), /^█+░+ {2}40\/100 {2}loss 1\.234 {2}acc 56\.7% {2}812 img\/s {2}1:00$/);
});

test('the line is never wider than the terminal, and the bar grows to its end', () => {
  for (const columns of [5, 20, 30, 40, 50, 60, 72, 80, 100, 200]) {
    for (const total of [100, 1_000_000]) assert.ok([...barAt(columns, 40, total)].length < columns, `${columns}`);
  }
  for (let columns = 40; columns <= 90; columns++) {
    const length = [...barAt(columns, 40)].filter((letter) => '█░'.includes(letter)).length;
    assert.ok(length >= 8, `a bar of ${length} in ${columns} columns`);
  }
  assert.not.match(barAt(80, 100), '░');
  assert.match(barAt(80, 1), /░/);
});

test('numbers still on the GPU leave no gap and no undefined', () => {
  const { stream, written } = fakeStream(80);
  const progress = createProgress(stream, { totalSteps: 10, epochs: 1 });
  progress.step({ epoch: 1, step: 1 });
  progress.step({ epoch: 1, step: 2, loss: Number.NaN, accuracy: Number.NaN, imagesPerSecond: Number.NaN });
  progress.message('x');
  const seen = written();
  progress.stop();
  assert.match(seen, 'epoch 1/1  step 1/10');
  assert.match(seen, 'loss NaN  acc –  – img/s');
  assert.not.match(seen, 'undefined');
});

test('there is no bar before the first step nor after the end, and what a step does not say stays as it was', () => {
  const { stream, written } = fakeStream(80);
  const progress = createProgress(stream, { totalSteps: 10, epochs: 1 });
  progress.message('before');
  const first = written();
  progress.step({ epoch: 1, step: 1, loss: 1.5, imagesPerSecond: 77 });
  progress.step({ epoch: 1, step: 2 });
  progress.message('between');
  const second = screen(written()).at(-1)!;
  progress.stop();
  progress.message('after');
  const shown = screen(written());
  progress.stop();
  assert.is(first, 'before\n');
  assert.match(second, /step 2\/10 {2}loss 1\.500 {2}77 img\/s/);
  assert.equal(shown, ['before', 'between', 'after', '']);
});

test('epochs are rows of a table that stays when the bar goes', () => {
  const { stream, written } = fakeStream(60);
  const progress = createProgress(stream, { totalSteps: 4, epochs: 2 });
  progress.message('SwiftShader, software');
  progress.step({ epoch: 1, step: 1, loss: 2 });
  progress.epochEnd(epochRow(1, { best: true }));
  progress.step({ epoch: 2, step: 3, loss: 1 });
  progress.epochEnd(epochRow(20, { seconds: 3723, trainLoss: 123456789, validLoss: Number.NaN }));
  progress.stop();
  const shown = screen(written());
  assert.equal(shown, [
    'SwiftShader, software',
    'epoch  train loss    acc  valid loss    acc    time img/s',
    '    1      1.2346  50.0%      1.5000  45.6%    1:23  1235 *',
    '   20     1.23e+8  50.0%         NaN  45.6% 1:02:03  1235',
    '',
  ]);
  for (const line of shown) assert.ok(line.length < 60, line);
});

test('a table that does not fit leaves out speed, time and the training accuracy, in turn; a new width has a head of its own', () => {
  const { stream, written } = fakeStream(54);
  const progress = createProgress(stream, { totalSteps: 4, epochs: 4 });
  for (const columns of [54, 53, 45, 20]) {
    stream.columns = columns;
    progress.epochEnd(epochRow(1, { best: true }));
  }
  progress.epochEnd(epochRow(2));
  progress.stop();
  assert.equal(screen(written()), [
    'epoch  train loss    acc  valid loss    acc    time',
    '    1      1.2346  50.0%      1.5000  45.6%    1:23 *',
    'epoch  train loss    acc  valid loss    acc',
    '    1      1.2346  50.0%      1.5000  45.6% *',
    'epoch  train loss  valid loss    acc',
    '    1      1.2346      1.5000  45.6% *',
    '    1      1.2346      1.5000  45.6% *',
    '    2      1.2346      1.5000  45.6%',
    '',
  ]);
});

test('the terminal is left as it was: cursor and wrapping are never switched off', () => {
  const { stream, written } = fakeStream(80);
  const progress = createProgress(stream, { totalSteps: 2, epochs: 1 });
  progress.step({ epoch: 1, step: 1 });
  progress.stop();
  progress.stop();
  assert.not.match(written(), '\u001b[?');
  assert.equal(screen(written()), ['']);
});

test('without a terminal there are plain lines, at most one in so many seconds', () => {
  const { stream, written } = fakeStream();
  let clockMs = 5000;
  const progress = createProgress(stream, { totalSteps: 200, epochs: 2, everySeconds: 10, now: () => clockMs });
  progress.message('llvmpipe');
  for (let step = 1; step <= 25; step++) {
    progress.step({ epoch: 1, step, loss: 1, accuracy: 0.5, imagesPerSecond: 9.87 });
    clockMs += 1000;
  }
  progress.epochEnd(epochRow(1, { best: true }));
  // The end of an epoch is a line, too.
  clockMs += 6000;
  progress.step({ epoch: 2, step: 26 });
  progress.stop();
  assert.equal(written().split('\n'), [
    'llvmpipe',
    'epoch 1/2  step 1/200  loss 1.000  acc 50.0%  9.9 img/s',
    'epoch 1/2  step 11/200  loss 1.000  acc 50.0%  9.9 img/s  3:09 left',
    'epoch 1/2  step 21/200  loss 1.000  acc 50.0%  9.9 img/s  2:59 left',
    'epoch 1/2 done  train 1.2346 50.0%  valid 1.5000 45.6% best  1235 img/s  1:23',
    '',
  ]);
  assert.match(written(), /^[\x20-\x7e\n]*$/);
});

test('a resumed run counts its time left from where it went on', () => {
  const { stream, written } = fakeStream();
  let clockMs = 0;
  const options = { totalSteps: 1000, epochs: 10, everySeconds: 0, now: () => clockMs };
  const progress = createProgress(stream, options);
  for (const step of [901, 902, 903]) {
    progress.step({ epoch: 10, step });
    clockMs += 2000;
  }
  assert.match(written(), 'step 903/1000  3:14 left');
});

test('the time left grows less between steps, too', () => {
  const { stream, written } = fakeStream(80);
  let clockMs = 0;
  const progress = createProgress(stream, { totalSteps: 10, epochs: 1, now: () => clockMs });
  for (const step of [1, 2]) {
    clockMs += 60_000;
    progress.step({ epoch: 1, step });
  }
  clockMs += 20_000;
  progress.message('redraw');
  const shown = screen(written()).at(-1)!;
  progress.stop();
  assert.match(shown, /7:40 left$/);
});

test('a dumb terminal gets plain lines', () => {
  process.env.TERM = 'dumb';
  try {
    const { stream, written } = fakeStream(80);
    const progress = createProgress(stream, { totalSteps: 2, epochs: 1 });
    progress.step({ epoch: 1, step: 1 });
    progress.stop();
    assert.is(written(), 'epoch 1/1  step 1/2\n');
  } finally {
    process.env.TERM = 'xterm';
  }
});

function bar(length: number, share: number): string {
  const filled = Math.round(length * share);
  return '█'.repeat(filled) + '░'.repeat(length - filled);
}

test.run();
