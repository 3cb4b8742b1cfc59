// What becomes of a run that is killed, interrupted or slow to validate.
import fs, {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  truncateSync,
} from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseMetricsCsv } from '../src/train/metrics.ts';
import { readRecord } from '../src/train/runrecord.ts';
import { readSafetensors } from '../src/train/safetensors.ts';
import { ends, hashOf } from './child.ts';
import { pixelField, scratchFolder } from './files.ts';
import { messageOf } from './gpu.ts';
import { said, smallest } from './said.ts';
import { screen } from './screen.ts';

const folder = scratchFolder();
test.after(() => folder.remove());
const at = (...names: string[]): string => join(folder.path, ...names);
const adapter = process.env.DAWNGRAD_ADAPTER || 'auto';
const unix = process.platform === 'win32' ? test.skip : test;

/** Two steps an epoch, and as many images to validate as are asked for. */
const faces = (name: string, valid: number): string => {
  const rows = Array.from({ length: 14 + valid }, (_, i) =>
    [i % 7, pixelField(i % 21), i < 14 ? 'Training' : 'PublicTest'].join(),
  );
  return folder.write(name, ['emotion,pixels,Usage', ...rows, ''].join('\n'));
};
const csv = faces('faces.csv', 7);
const small = { ...smallest, data: csv, adapter, epochs: 3 } as const;

/** The same in a process that kills itself when it writes file `name` for the `n`-th time. */
function killed(out: string, name: string, n: number): void {
  Object.assign(process.env, { KILL_AT: String(n), KILL_FILE: name });
  try {
    const { adapter: _, tune: __, ...options } = small;
    const args = Object.entries({ ...options, ema: 0.9, out: at(out) }).flatMap(([key, value]) => [
      `--${key}`,
      `${value}`,
    ]);
    const fixture = new URL('fixtures/killed.mjs', import.meta.url).href;
    ends(null, folder.path, ['train', ...args, '--no-tune'], ['--import', fixture]);
  } finally {
    delete process.env.KILL_AT;
    delete process.env.KILL_FILE;
  }
}

unix('whenever a run is killed, its model file is of the epoch that its checkpoint calls the best', async () => {
  const best = (run: string) => {
    const { metadata } = readSafetensors(at(run, 'last', 'checkpoint.safetensors'));
    return JSON.parse(metadata.checkpoint!).best?.epoch ?? null;
  };
  // Of a run that was killed before there was anything to continue.
  const remains = folder.write('before/run.json.0123abcd.tmp', '{');
  killed('before', 'checkpoint.safetensors', 2);
  assert.not.ok(existsSync(remains), 'what it left is removed by the next one there');
  assert.equal([best('before'), existsSync(at('before', 'model.safetensors'))], [null, false]);
  killed('second', 'checkpoint.safetensors', 3);
  assert.is(best('second'), 1);

  killed('between', 'model.safetensors', 1);
  assert.equal([best('between'), existsSync(at('between', 'model.safetensors'))], [1, false]);
  await said({ resume: at('between'), adapter, maxMinutes: 1e-6 });
  const { result } = readRecord(at('between', 'run.json'));
  assert.equal([result!.status, result!.steps, result!.bestEpoch], ['stopped', 3, 1]);
  assert.is(hashOf(at('between', 'model.safetensors')), hashOf(at('second', 'model.safetensors')));

  const lost = /It held the best weights so far, of epoch 1: put it back/;
  const again = () => messageOf(() => said({ resume: at('between'), adapter }));
  const files = () =>
    ['run.json', 'metrics.csv', 'last/checkpoint.safetensors'].map((name) =>
      readFileSync(at('between', name), 'latin1'),
    );
  const before = files();
  truncateSync(at('between', 'model.safetensors'), 5000);
  const message = await again();
  assert.match(message, /model\.safetensors: has 5000 bytes, .* It is cut short\. /);
  assert.match(message, lost);
  rmSync(at('between', 'model.safetensors'));
  assert.match(await again(), /model\.safetensors: no such file\. /);
  assert.match(await again(), lost);
  assert.ok(files().every((text, i) => text === before[i]));
});

unix('a continued run says when its metrics.csv has lost epochs', async () => {
  const lines = async (run: string) => {
    cpSync(at('second'), at(run), { recursive: true });
    if (run === 'gap') rmSync(at(run, 'metrics.csv'));
    return said({ resume: at(run), adapter, maxMinutes: 1e-6 });
  };
  assert.not.match(await lines('no gap'), /lacks/);
  const shown = await lines('gap');
  assert.match(shown, /metrics\.csv lacks the first epoch, and so will the report/);
  // Its best epoch is known all the same.
  const { result } = readRecord(at('gap', 'run.json'));
  assert.equal([result!.bestEpoch, result!.validLoss], [1, null]);
  assert.is(
    result!.validAccuracy!.toPrecision(7),
    readRecord(at('no gap', 'run.json')).result!.validAccuracy!.toPrecision(7),
  );
  assert.match(shown, /^Report: /m);
  assert.ok(existsSync(at('gap', 'report.html')));
});

test('--max-minutes counts from where the command was called: what it takes to read the data is time, too', async () => {
  const { now } = performance;
  try {
    await said({ ...small, out: at('slow data'), maxMinutes: 30 }, (text) => {
      if (/training images/.test(text)) performance.now = () => now.call(performance) + 3_600_000;
    });
  } finally {
    performance.now = now;
  }
  const { result } = readRecord(at('slow data', 'run.json'));
  assert.equal([result!.status, result!.steps], ['stopped', 1]);
});

test('a run is continued from any folder, with its data where it was or where it has gone, and its record says where', async () => {
  const start = process.cwd();
  const [old, moved] = ['project', 'moved'].map((name) => join(realpathSync(folder.path), name)) as [string, string];
  const dataOf = (run: string) => readRecord(join(run, 'run.json')).data;
  const pause = { adapter, maxMinutes: 1e-6 };
  mkdirSync(join(old, 'below'), { recursive: true });
  copyFileSync(csv, join(old, 'faces.csv'));
  try {
    process.chdir(old);
    await said({ ...small, data: 'faces.csv', out: 'run', maxMinutes: 1e-6 });
    process.chdir('below');
    await said({ resume: '../run', ...pause });
    assert.is(dataOf(join(old, 'run')).path, join(old, 'faces.csv'));
    process.chdir(start);
    renameSync(old, moved);
    process.chdir(moved);
    await said({ resume: 'run', ...pause });
    assert.is(dataOf('run').path, join(moved, 'faces.csv'));
    renameSync('faces.csv', 'other.csv');
    await said({ resume: 'run', data: 'other.csv', ...pause });
    const { name, path } = dataOf('run');
    assert.equal([name, path], ['other.csv', join(moved, 'other.csv')]);
    await said({ resume: 'run', adapter });
    assert.match(readFileSync('run/report.html', 'utf8'), `--data ${join(moved, 'other.csv')}`);
  } finally {
    process.chdir(start);
  }
});

test('a run that is refused leaves no handler of signals behind', async () => {
  const before = process.listenerCount('SIGINT');
  const weights = folder.write('weights.pth', 'none');
  await said({ ...small, pretrained: weights, out: at('refused') }).then(assert.unreachable, () => {});
  assert.is(process.listenerCount('SIGINT'), before);
});

test('an interruption while an epoch ends comes before the next step, and after the last one it is none', async () => {
  const interrupt = (text: string): void => {
    if (/^epoch 2\/\d done/.test(text)) process.emit('SIGINT');
  };
  const shown = await said({ ...small, out: at('interrupted') }, interrupt);
  assert.match(shown, /^Stopping before the next step, with a checkpoint\./m);
  const { result } = readRecord(at('interrupted', 'run.json'));
  assert.equal([result!.status, result!.steps, result!.epochs], ['stopped', 4, 2]);
  assert.match(readFileSync(at('interrupted', 'report.html'), 'utf8'), /\d{4}-\d\d-\d\d \d\d:\d\d UTC/);
  await said({ ...small, epochs: 2, out: at('last') }, interrupt);
  assert.is(readRecord(at('last', 'run.json')).result!.status, 'finished');
});

test('what Ctrl-C says stays whole on a terminal, above what comes after it', async () => {
  let interrupted = false;
  const interrupt = (text: string): void => {
    if (interrupted || !/ step 2\//.test(text)) return;
    interrupted = true;
    setImmediate(() => process.emit('SIGINT'));
  };
  const lines = screen(await said({ ...small, out: at('terminal') }, interrupt, true));
  const stopping = lines.indexOf('Stopping before the next step, with a checkpoint. Once more stops at once.');
  assert.ok(stopping >= 0, lines.join('\n'));
  // Two steps are an epoch, whose end and the head of the table may come in between.
  assert.match(lines[stopping + 1]!, /^(Best|Stopped|epoch {2}train loss)/, lines.join('\n'));
});

test('a second Ctrl-C leaves no bar in the line of the prompt', async () => {
  const { exit } = process;
  let shown = '';
  const left: (string | undefined)[] = [];
  const interrupt = (text: string): void => {
    shown += text;
    if (left.length > 0 || !/ step 2\//.test(text)) return;
    left.push(undefined);
    setImmediate(() => {
      for (let i = 0; i < 2; i++) process.emit('SIGINT');
    });
  };
  process.exit = () => left.push(screen(shown).at(-1)) as never;
  try {
    await said({ ...small, out: at('twice') }, interrupt, true);
  } finally {
    process.exit = exit;
  }
  assert.equal(left, [undefined, '']);
});

test('Ctrl-C of a list reaches a run as a signal and as a message: whichever is first, that is one interruption', async () => {
  const { send, connected, exit } = process;
  const exits: unknown[] = [];
  Object.assign(process, { send: () => true, connected: true, exit: (code: unknown) => exits.push(code) });
  try {
    await said({ ...small, out: at('listed') }, (text) => {
      if (!/^epoch 1\/\d done/.test(text)) return;
      process.emit('message', 'stop', undefined);
      process.emit('SIGINT');
    });
  } finally {
    Object.assign(process, { send, connected, exit });
  }
  const { result } = readRecord(at('listed', 'run.json'));
  assert.equal([exits, result!.status, result!.epochs], [[], 'stopped', 1]);
});

test('a metrics.csv that a spreadsheet keeps open on Windows ends no run, and gets its rows once it is closed', async () => {
  const own = Object.getOwnPropertyDescriptor(process, 'platform')!;
  const { renameSync } = fs;
  let open = true;
  fs.renameSync = (from, to) => {
    if (!open || !String(to).endsWith('metrics.csv')) return renameSync(from, to);
    Object.defineProperty(process, 'platform', { ...own, value: 'win32' });
    throw Object.assign(new Error('EPERM: operation not permitted'), { code: 'EPERM' });
  };
  syncBuiltinESMExports();
  const warned: string[] = [];
  try {
    await said({ ...small, out: at('open') }, (text) => {
      if (!text.startsWith('warning: ')) return;
      Object.defineProperty(process, 'platform', own);
      warned.push(text);
      open = warned.length < 2;
    });
  } finally {
    Object.defineProperty(process, 'platform', own);
    fs.renameSync = renameSync;
    syncBuiltinESMExports();
  }
  assert.is(warned.length, 2);
  assert.match(warned[0]!, /metrics\.csv: cannot be written .* Close it where it is open\.$/m);
  assert.is(parseMetricsCsv(readFileSync(at('open', 'metrics.csv'), 'utf8'), '').length, 3);
});

test('images per second are those of training; validation takes none of its time', async () => {
  await said({ ...small, data: faces('many.csv', 1400), out: at('many') });
  const path = at('many', 'metrics.csv');
  const rows = parseMetricsCsv(readFileSync(path, 'utf8'), path);
  const training = rows.map(({ imagesPerSecond }) => 14 / imagesPerSecond);
  // Of a hundred times as many images; in the first epoch pipelines are built.
  for (const [i, { epoch, seconds }] of rows.entries()) {
    if (epoch > 1) assert.ok(training[i]! < 0.9 * seconds, `${training[i]} of ${seconds} s`);
  }
  const { imagesPerSecond } = readRecord(at('many', 'run.json')).result!;
  const mean = 42 / training.reduce((sum, seconds) => sum + seconds, 0);
  assert.ok(Math.abs(imagesPerSecond / mean - 1) < 1e-9, `${imagesPerSecond} is not ${mean}`);
});

test.run();
