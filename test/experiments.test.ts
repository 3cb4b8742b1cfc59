// Lists of experiments from end to end: what is skipped, continued, refused, and what becomes of a run or of the whole that is killed.
import { spawn } from 'node:child_process';
import { copyFileSync, existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { checkExperiments } from '../src/cli/defaults.ts';
import { experiments } from '../src/cli/experiments.ts';
import { withDefaults } from '../src/cli/option.ts';
import { type ExperimentsOptions, experimentsOptions } from '../src/cli/options.ts';
import { lockFolder } from '../src/cli/worklock.ts';
import { readRecord } from '../src/train/runrecord.ts';
import { readSafetensors } from '../src/train/safetensors.ts';
import { ends, hashOf, starts, until } from './child.ts';
import { scratchFolder } from './files.ts';
import { messageOf, within } from './gpu.ts';

const scratch = scratchFolder();
test.after(() => scratch.remove());
const at = (...names: string[]) => join(scratch.path, ...names);
const killed = ['--import', new URL('fixtures/killed.mjs', import.meta.url).href];

/** One step an epoch. */
const tiny = {
  ...{ arch: 'vgg11_bn', width: 0.01, head: 'fastai', size: 32, limit: 14, batch: 14, epochs: 2, tune: false },
  ...{ optimizer: 'adamw', lr: 0.002 },
};
const list = (name: string, experiments: object[], defaults: object = tiny) =>
  scratch.write(`${name}.json`, JSON.stringify({ defaults, experiments }));
const positionOf = (run: string) =>
  JSON.parse(readSafetensors(at(run, 'last', 'checkpoint.safetensors')).metadata.checkpoint!).position;

// Signals are the tests' way to kill; Windows has none.
const unix = process.platform === 'win32' ? test.skip : test;

/** Runs `experiments` in this process; what it says. */
async function said(file: string, given: Partial<ExperimentsOptions> = {}): Promise<string> {
  const { error, log } = console;
  const lines: string[] = [];
  console.error = console.log = (line: string) => void lines.push(line);
  const cwd = process.cwd();
  process.chdir(scratch.path);
  try {
    await within(60_000, experiments({ ...withDefaults(experimentsOptions, { files: [file], ...given }) }));
  } finally {
    process.chdir(cwd);
    Object.assign(console, { error, log });
  }
  return lines.join('\n');
}

unix('what is killed goes on, what is done is skipped, what diverges or fails stops nothing', async () => {
  const two = [
    { name: 'a', reference: { accuracy: 0.5 } },
    { name: 'wild', options: { lr: 1e6, epochs: 9 } },
  ];
  list('two', [...two, { name: 'bad', options: { batch: 15 } }]);
  const listed = await said('two.json', { list: true });
  assert.match(
    listed,
    /^1\. a: not begun\n {3}train --arch vgg11_bn .*--no-tune .*--lr 0\.002 --out runs.two.a\n2\. wild/,
  );
  const own = /^1\. .*\n {3}train (.*) --out/.exec(listed)![1]!.split(' ');
  assert.not(existsSync(at('runs')), 'a list is no run');
  const named = list('named', [{ name: 'a' }], { ...tiny, adapter: 'some adapter' });
  assert.match(
    await said(named, { list: true, out: "a list's" }),
    / --adapter 'some adapter' --out 'a list'\\''s.a'$/m,
  );
  assert.match(await said(named, { list: true, adapter: 'auto' }), / --adapter auto /);
  const coloured = list('coloured', [{ name: 'a', options: { data: '\x1b[31mfaces\n' } }]);
  assert.match(await said(coloured, { list: true }), / --data '\\u001b\[31mfaces\\u000a' /);

  // Killed while the checkpoint of the first epoch is written.
  process.env.KILL_AT = '2';
  const first = ends(1, scratch.path, ['experiments', 'two.json'], killed);
  delete process.env.KILL_AT;
  assert.match(first.stderr, /^\[1\/3\] a: failed \(killed by SIGKILL\); the list goes on$/m);
  assert.match(first.stderr, /^dawngrad: --batch 15 is larger than the set, which has 14 images/m);
  assert.match(first.stderr, /^\[3\/3\] bad: failed \(exit code 2\); the list goes on$/m);
  assert.match(first.stderr, /^2 of 3 failed: a, bad\n1 of 3 diverged: wild$/m);
  assert.equal([readRecord(at('runs', 'two', 'a', 'run.json')).result, positionOf('runs/two/a').epoch], [null, 0]);
  const broken = readFileSync(at('runs', 'two', 'results.md'), 'utf8');
  for (const row of ['| a | failed | ', '| wild | diverged | ', '| bad | failed | – |']) assert.match(broken, row);

  list('two', two);
  const second = ends(1, scratch.path, ['experiments', 'two.json']);
  assert.match(second.stderr, /^\[1\/2\] a: train --resume runs.two.a( --adapter \S+)?$/m);
  assert.match(second.stderr, /^\[2\/2\] wild: diverged before$/m);
  assert.match(second.stderr, /^1 of 2 diverged: wild$/m);
  assert.match(second.stderr, /^Best: /m);
  assert.not.match(second.stderr, /real faces/, 'what to do next is told once a command');
  const table = readFileSync(at('runs', 'two', 'results.md'), 'utf8');
  const { result } = readRecord(at('runs', 'two', 'a', 'run.json'));
  assert.is(result!.status, 'finished');
  const best = `${(100 * result!.validAccuracy!).toFixed(2)} %`;
  assert.match(table, `| a | finished | ${best} | ${result!.bestEpoch} |`);
  assert.match(table, '| 50.00 % |');
  assert.match(readFileSync(at('runs', 'two', 'results.svg'), 'utf8'), /^<svg/);

  const before = statSync(at('runs', 'two', 'a', 'run.json')).mtimeMs;
  assert.match(await said('two.json'), /^\[1\/2\] a: finished before\n\[2\/2\] wild: diverged before\nComparison: /);
  assert.is(process.exitCode, 1, 'one of them has diverged');
  process.exitCode = 0;
  list('two', two.slice(0, 1));
  assert.match(await said('two.json'), /^\[1\/1\] a: finished before\nComparison: \S+results\.md and results\.svg$/);
  assert.is(process.exitCode, 0);
  assert.is(statSync(at('runs', 'two', 'a', 'run.json')).mtimeMs, before);

  assert.match(ends(0, scratch.path, ['train', ...own, '--out', 'elsewhere']).stderr, /real faces/);
  const bits = (...folder: string[]) => hashOf(at(...folder, 'last', 'checkpoint.safetensors'));
  assert.is(bits('runs', 'two', 'a'), bits('elsewhere'), 'the bits of a run in a go');
});

unix('a comparison says which run had which data, and what the command line changed', async () => {
  list('sets', [{ name: 'few' }, { name: 'more', options: { limit: 21 } }], { ...tiny, epochs: 3 });
  await said('sets.json', { epochs: 1, without: 'lr' });
  const table = readFileSync(at('runs', 'sets', 'results.md'), 'utf8');
  assert.match(table, /^few: toyfaces: 14 training images, .*\)\.\n\nmore: toyfaces: 21 training images, .*\)\.$/m);
  assert.match(table, /^On .*, with dawngrad \d+\.\d+\.\d+\.$/m);
  assert.match(table, /^With --epochs 1 --without lr on the command line, in place of what the file says\.$/m);
});

unix('a run that has begun needs the weights no more that it started from', async () => {
  copyFileSync(at('runs', 'two', 'a', 'model.safetensors'), at('weights.safetensors'));
  list('tuned', [{ name: 'a', options: { pretrained: 'weights.safetensors', epochs: 1 } }]);
  process.env.KILL_AT = '2';
  ends(1, scratch.path, ['experiments', 'tuned.json'], killed);
  delete process.env.KILL_AT;
  rmSync(at('weights.safetensors'));
  assert.match(await said('tuned.json', { list: true }), /^1\. a: begun$/m);
  const { stderr } = ends(0, scratch.path, ['experiments', 'tuned.json']);
  assert.match(stderr, /^\[1\/1\] a: train --resume runs.tuned.a/m);
});

unix('the whole is checked before anything starts, and refused in a line', async () => {
  const refused = async (file: string, pattern: RegExp, given: Partial<ExperimentsOptions> = {}) => {
    const message = await messageOf(() => said(file, given));
    assert.match(message, pattern);
    assert.not.match(message, /\n/);
  };
  const wrong = list('wrong', [{ name: 'a' }, { name: 'b', options: { epoch: 1 } }]);
  const { stderr } = ends(2, scratch.path, ['experiments', wrong]);
  assert.match(stderr, /^dawngrad: \S*wrong\.json: experiment 'b': unknown option 'epoch'\. Did you mean epochs\?\n$/);
  list('lost', [{ name: 'a' }, { name: 'b', options: { data: 'nowhere.csv' } }]);
  await refused('lost.json', /^lost\.json: experiment 'b': --data nowhere\.csv: no such file\. Give --data PATH\.$/);
  list('unready', [{ name: 'a', options: { 'lr-mult': 9, 'freeze-epochs': 1, pretrained: 'none.pth' } }]);
  await refused(
    'unready.json',
    /: --pretrained none\.pth: no such file\. .* --without pretrained,freeze-epochs,lr-mult\.$/,
  );
  list('two', [{ name: 'a', options: { lr: 0.003 } }]);
  await refused(
    'two.json',
    /^two\.json: experiment 'a' has --lr 0\.003, but runs.two.a was trained with --lr 0\.002\./,
  );
  await refused('two.json', /^--out two\.json.a: cannot be written/, { out: 'two.json' });
  await refused('two.json', /^--without: train has no option 'x'\. Give names/, { without: 'lr, x' });
  for (const name of ['wrong', 'lost']) assert.not(existsSync(at('runs', name)));
  assert.throws(() => checkExperiments({ files: ['a.json', 'b.json'] }), /unexpected argument 'b\.json'/);
});

unix('a run killed before it says which run it is stops nothing later', async () => {
  list('soon', [{ name: 'a', options: { epochs: 1 } }]);
  Object.assign(process.env, { KILL_AT: '1', KILL_FILE: 'run.json' });
  const { stderr } = ends(1, scratch.path, ['experiments', 'soon.json'], killed);
  delete process.env.KILL_AT;
  delete process.env.KILL_FILE;
  assert.match(stderr, /^\[1\/1\] a: failed \(killed by SIGKILL\)/m);
  assert.not(existsSync(at('runs', 'soon', 'a', 'run.json')));
  assert.match(await said('soon.json', { list: true }), /^1\. a: not begun$/m);
});

unix('what a killed run left is not taken from under another process', async () => {
  list('busy', [{ name: 'a', options: { epochs: 1 } }]);
  process.env.KILL_AT = '1';
  ends(1, scratch.path, ['experiments', 'busy.json'], killed);
  delete process.env.KILL_AT;
  const record = at('runs', 'busy', 'a', 'run.json');
  assert.ok(existsSync(record));
  const lock = await lockFolder('a', at('runs', 'busy', 'a'), () => {});
  const refused = ends(1, scratch.path, ['experiments', 'busy.json']);
  assert.match(refused.stderr, /^\[1\/1\] a: runs.busy.a: process \d+ is at work there\./m);
  assert.match(refused.stderr, /^1 of 1 failed: a$/m);
  assert.ok(existsSync(record));
  lock.release();
  assert.match(ends(0, scratch.path, ['experiments', 'busy.json']).stderr, /^Best: /m);
});

unix(
  'killed, the whole takes its run along, which has its checkpoint; called again it goes on; Ctrl-C ends it cleanly',
  async () => {
    list('long', [{ name: 'endless' }, { name: 'next' }], { ...tiny, epochs: 10_000, 'checkpoint-every': 1 });
    const first = starts(scratch.path, ['experiments', 'long.json']);
    await until('a first epoch', () => existsSync(at('runs', 'long', 'endless', 'metrics.csv')));
    first.child.kill('SIGKILL');
    assert.is(await first.ended, 'SIGKILL');

    // At once: the run that was left behind may still be there.
    const second = starts(scratch.path, ['experiments', 'long.json']);
    await until('the run goes on', () => /^\[1\/2\] endless: train --resume/m.test(second.shown()));
    const { status, epochs } = readRecord(at('runs', 'long', 'endless', 'run.json')).result!;
    assert.is(status, 'stopped', 'the run that was left behind ended by itself, and cleanly');
    await until('another epoch', () => positionOf('runs/long/endless').epoch > epochs);
    assert.match(
      await messageOf(() => lockFolder('--out x', at('runs', 'long'), () => {})),
      /^--out x: process \d+ is at work there\. Wait for it/,
    );
    second.child.kill('SIGINT');
    assert.is(await second.ended, 0);
    assert.match(second.shown(), /^Stopped; the same command goes on\.$/m);
    const { result } = readRecord(at('runs', 'long', 'endless', 'run.json'));
    assert.is(result!.status, 'stopped');
    assert.ok(result!.epochs > epochs);
    assert.not(existsSync(at('runs', 'long', 'next')));
    assert.not(existsSync(at('runs', 'long', '.at-work.json')));
    assert.match(readFileSync(at('runs', 'long', 'results.md'), 'utf8'), /\| endless \| stopped \| \d/);
  },
);

test('a lock of a process that is gone, or cut short, is nobody’s', async () => {
  const waiting: string[] = [];
  for (const left of [
    '',
    '{"pid": 0}',
    '{"pid": 2147483646, "child": null}',
    '{"pid": 2147483646, "child": 2147483645}',
    `{"pid": ${process.pid}, "child": null}`,
  ]) {
    writeFileSync(at('.at-work.json'), left);
    (await lockFolder('--out x', scratch.path, (line) => waiting.push(line))).release();
    assert.not(existsSync(at('.at-work.json')));
  }
  assert.equal(waiting, []);
  // A process that trains for one that is gone is waited for, but not for ever.
  writeFileSync(at('.at-work.json'), JSON.stringify({ pid: 2147483646, child: process.pid }));
  assert.match(
    await messageOf(() => lockFolder('--out x', scratch.path, (line) => waiting.push(line), 300)),
    /is at work there/,
  );
  assert.match(waiting.join('\n'), /^Waiting for process \d+, which was left behind/);
});

test('of processes that start together one gets the folder, be it free or left behind', async () => {
  const lock = JSON.stringify(new URL('../src/cli/worklock.ts', import.meta.url).href);
  const go = at('go');
  /** All start when `go` is there, and whoever has the lock has it until the others have looked. */
  const script = `
    import { existsSync } from 'node:fs';
    import { setTimeout as sleep } from 'node:timers/promises';
    const { lockFolder } = await import(${lock});
    console.log('ready');
    while (!existsSync(${JSON.stringify(go)})) await sleep(1);
    try {
      await lockFolder('--out x', ${JSON.stringify(scratch.path)}, () => {});
      console.log('mine');
      await sleep(1500);
    } catch {
      console.log('refused');
    }`;
  for (const left of [undefined, '{"pid": 2147483646, "child": null}']) {
    rmSync(go, { force: true });
    rmSync(at('.at-work.json'), { force: true });
    if (left) writeFileSync(at('.at-work.json'), left);
    const said = ['', '', '', ''];
    const ended = said.map(async (_, i) => {
      const child = spawn(process.execPath, [
        '--import',
        import.meta.resolve('tsx'),
        '--input-type=module',
        '-e',
        script,
      ]);
      child.stdout.on('data', (text) => (said[i] += text));
      await new Promise((resolve) => child.on('close', resolve));
    });
    await until('all are ready', () => said.every((text) => text.startsWith('ready')));
    writeFileSync(go, '');
    await Promise.all(ended);
    assert.equal(said.sort(), ['ready\nmine\n', ...Array(3).fill('ready\nrefused\n')], left ?? 'free');
  }
});

test.run();
