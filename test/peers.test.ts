// The comparison with other engines, whose packages the suite does not have: what it says of them, and that this engine's turn works.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Contestant } from '../bench/peers/contestant.ts';
import { gpu, messageOf } from './gpu.ts';

const program = fileURLToPath(new URL('../bench/peers/run.ts', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'dawngrad-peers-'));
test.after(() => rmSync(folder, { recursive: true }));

function peers(...args: string[]) {
  const { DEBUG, ...rest } = process.env;
  const env = { ...rest, DAWNGRAD_CACHE: folder };
  const argv = ['--import', import.meta.resolve('tsx'), program, '--adapter', gpu.adapter.name, ...args];
  const run = spawnSync(process.execPath, argv, { cwd: folder, env, encoding: 'utf8', timeout: 110_000 });
  return { status: run.status, stdout: run.stdout, stderr: run.stderr };
}

test('peers that are not installed are left out with a line, and the others run', () => {
  const small = ['--width', '0.125', '--batch', '2', '--rounds', '2', '--steps', '1'];
  const { status, stdout, stderr } = peers(...small, '--engines', 'dawngrad,tfjs,jax', '--json', 'out.json');
  assert.is(status, 0, stderr);
  assert.ok(stdout.startsWith(gpu.adapter.name), stdout);
  assert.match(stdout, /^tfjs: left out, @tensorflow\/tfjs is not in the folder that --packages names\.$/m);
  assert.match(stdout, /^jax-js: left out, /m);
  assert.match(stdout, /^dawngrad [\d.]+ +[\d.]+ ms an image +±\d+ % +1\.00× ours$/m);
  const { results, adapter, batch, width } = JSON.parse(readFileSync(join(folder, 'out.json'), 'utf8'));
  assert.equal([adapter.name, batch, width], [gpu.adapter.name, 2, 0.125]);
  const [ours, ...others] = results;
  assert.equal([ours.name, ours.steps, ours.ratio], ['dawngrad', 2, 1]);
  assert.ok(Math.abs(ours.ms / 2 - ours.msPerImage) < 0.01 && ours.ms > 0);
  for (const other of others) assert.equal(Object.keys(other), ['name', 'skipped']);
});

test('what cannot be compared is said in a line, with 2', () => {
  for (const [args, message] of [
    [['--packages', 'nowhere'], /--packages nowhere: there is no such folder/],
    [['--engines', 'caffe'], /--engines caffe: there are dawngrad; tfjs; .*jax-js/],
    [['--json', 'no/out.json'], /there is no folder no\./],
    [['--json', '.'], /--json \.: is no regular file\./],
    [['--adapter', 'null'], /^dawngrad: --adapter: "null" compiles kernels but computes nothing: .* Valid: auto, /m],
  ] as const) {
    const { status, stderr } = peers(...args);
    assert.is(status, 2, stderr);
    assert.match(stderr, message);
  }
});

test('an engine that ends, hangs or computes nonsense is out', async () => {
  const task = { adapter: '', batch: 1, width: 1, packages: '' };
  /** What happens to a contestant with this program, asked for a round. */
  const ending = async (code: string, limitMs = 20_000) => {
    const file = join(folder, `${Math.random()}.mjs`);
    writeFileSync(file, code);
    const contestant = new Contestant({ name: 'test', program: file, needs: [] }, task);
    try {
      return await messageOf(async () => {
        await contestant.ready(limitMs);
        await contestant.round(1, limitMs);
      });
    } finally {
      contestant.end();
    }
  };
  assert.match(await ending('throw new TypeError("no such adapter")'), /^it ended: .*TypeError: no such adapter/);
  assert.match(await ending('setInterval(() => {}, 1000)', 3000), /^not done after 0\.05\d* minutes$/);
  const say = (text: string) => `console.log(${JSON.stringify(text)});`;
  const nonsense = `${say('hello')}${say('peer: {"ready":"1"}')}${say('peer: {"ms":[3],"loss":null}')}setInterval(() => {}, 1000)`;
  assert.match(await ending(nonsense), /^its loss is not a number$/);
});

test.run();
