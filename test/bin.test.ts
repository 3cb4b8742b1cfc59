import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { commands } from '../src/cli/commands.ts';

const bin = fileURLToPath(new URL('../src/cli/bin.ts', import.meta.url));
/** Every command's options, but commands that print what they are given, and one that fails as told. */
const rehearsal = fileURLToPath(new URL('fixtures/cli.ts', import.meta.url));
/** What npm scripts run first. */
const supported = fileURLToPath(new URL('../src/cli/supported.cjs', import.meta.url));
const { version, scripts } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
const tsx = import.meta.resolve('tsx');

let folder = '';
test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), 'dawngrad-bin-'));
});
test.after.each(() => rmSync(folder, { recursive: true }));

/** Runs a program in an empty folder, outside of npm. */
function spawn(program: string, args: readonly string[], env: Record<string, string> = {}, node: string[] = []) {
  const { DAWNGRAD_ADAPTER, DEBUG, npm_lifecycle_event, NODE_OPTIONS, NO_COLOR, ...rest } = process.env;
  const started = spawnSync(process.execPath, ['--import', tsx, ...node, program, ...args], {
    cwd: folder,
    env: { ...rest, ...env },
    encoding: 'utf8',
    timeout: 30_000,
  });
  return { status: started.status, stdout: started.stdout, stderr: started.stderr };
}

/** The one line on stderr of a program that was to fail with `status`, and left nothing on disk. */
function failure(status: number, program: string, args: readonly string[], env: Record<string, string> = {}): string {
  const run = spawn(program, args, env);
  const where = `${args.join(' ')}: ${run.stderr}`;
  assert.is(run.status, status, where);
  assert.is(run.stdout, '', where);
  assert.match(run.stderr, /^dawngrad: [^\n]+\n$/, where);
  assert.equal(readdirSync(folder), [], where);
  return run.stderr;
}

test('help and version are printed on stdout, with 0', () => {
  const shown = spawn(bin, ['--help']);
  assert.is(shown.status, 0);
  assert.is(shown.stderr, '');
  for (const { name, summary } of commands) assert.match(shown.stdout, `  ${name} `, summary);
  assert.equal(spawn(bin, ['--version']), { status: 0, stdout: `${version}\n`, stderr: '' });
  const help = spawn(rehearsal, ['help', 'train']);
  assert.is(help.status, 0);
  assert.is(help.stdout, spawn(rehearsal, ['train', '--help']).stdout);
});

test('no command and an unknown one are refused', () => {
  assert.match(failure(2, bin, []), 'no command');
  assert.match(failure(2, bin, ['trian']), "unknown command 'trian'");
});

test('bad usage is one line on stderr, exit code 2, and nothing on disk', () => {
  const cases: [program: string, args: string[], pattern: RegExp][] = [
    [bin, ['train', '--epoch', '3'], /unknown option '--epoch'\. Did you mean --epochs\?/],
    [bin, ['train', '--arch', 'vgg16'], /Did you mean vgg16_bn\?/],
    [bin, ['train', '--resume', 'runs/a', '--lr', '1'], /Leave out --lr/],
    [bin, ['train', '--resume', 'runs/a'], /--resume runs\/a: no such folder/],
    [bin, ['train', 'faces\n.csv'], /unexpected argument 'faces \.csv'/],
    [rehearsal, ['evaluate', '--data', 'toyfaces'], /--model FILE is missing/],
    [rehearsal, ['predict', '--model', 'm.safetensors'], /IMAGE_OR_FOLDER… is missing/],
  ];
  for (const [program, args, pattern] of cases) assert.match(failure(2, program, args), pattern);
});

test('--out with a run in it is refused, and the run is left as it is', () => {
  writeFileSync(join(folder, 'run.json'), '{}');
  const run = spawn(bin, ['train', '--out', '.']);
  assert.is(run.status, 2);
  assert.match(run.stderr, /^dawngrad: --out \.: already holds run\.json\. Choose another folder, or .*\n$/);
  assert.equal(readdirSync(folder), ['run.json']);
});

test('what a command throws is one line; 2 for what the user can mend, 1 for the rest', () => {
  const cases: [how: string, status: number, line: RegExp][] = [
    ['shape', 2, /^dawngrad: x \[1,2\] is not \[2,1\]\.$/m],
    ['data', 2, /^dawngrad: faces\.csv:3: a row with 2,303 pixels\.$/m],
    ['escape', 2, /^dawngrad: faces\.csv:4: '\\u001b\]0;title\\u0007\\u009b2J' is no emotion\.$/m],
    ['config', 2, /^dawngrad: no such adapter\.$/m],
    ['parameter', 2, /^dawngrad: --valid 60 %: expected/m],
    ['path', 2, /^dawngrad: head shots: no such file or folder\.$/m],
    ['gpu', 1, /^dawngrad: the device is lost\.$/m],
    ['system', 1, /^dawngrad: ENOSPC: no space left on device, write$/m],
    ['bug', 1, /^dawngrad: TypeError: x is undefined \(DEBUG=1 shows where\)$/m],
    ['thrown', 1, /^dawngrad: unknown failure: a string$/m],
    ['later', 1, /^dawngrad: lost while waiting\.$/m],
    ['rejected', 1, /^dawngrad: rejected and nobody cared\.$/m],
  ];
  for (const [how, status, line] of cases) assert.match(failure(status, rehearsal, ['fail', '--how', how]), line);
});

test('DEBUG shows where it was thrown, and changes no exit code', () => {
  const shown = spawn(rehearsal, ['fail', '--how', 'data'], { DEBUG: '1' });
  assert.is(shown.status, 2);
  assert.match(shown.stderr, /^DataError: faces\.csv:3.*\n.*\n? +at /s);
  assert.match(failure(2, rehearsal, ['fail', '--how', 'data'], { DEBUG: '0' }), /^dawngrad: /);
});

// Windows has neither bash nor EPIPE.
const unix = process.platform === 'win32' ? test.skip : test;
/** The rehearsal that fails as told, with its output sent where a shell sends it. */
function redirected(how: string, where: string) {
  const { DEBUG, NO_COLOR, ...env } = process.env;
  const command = `"${process.execPath}" --import "${tsx}" "${rehearsal}" fail --how ${how} ${where}`;
  return spawnSync('bash', ['-c', `set -o pipefail; ${command}`], { cwd: folder, env, encoding: 'utf8' });
}
/** What `head -n 1` shows of it. */
function head(how: string, pipe: string): string {
  const run = redirected(how, `${pipe} head -n 1`);
  assert.equal([run.status, run.stderr], [0, '']);
  return run.stdout;
}

unix('a reader that stops reading ends the program quietly', () => {
  assert.match(head('flood', '|'), /^line 0 /);
});

unix('but one of progress alone ends nothing', () => {
  assert.is(head('unheard', '2>&1 |'), 'epoch 0 of a training\n');
  assert.equal(readdirSync(folder), ['weights']);
});

(process.platform === 'linux' ? test : test.skip)(
  'a full disk ends what prints its results there, not what logs there',
  () => {
    const { status, stderr } = redirected('flood', '> /dev/full');
    assert.equal(
      [status, stderr],
      [1, 'dawngrad: standard output cannot be written (ENOSPC: no space left on device, write).\n'],
    );
    assert.is(redirected('unheard', '2> /dev/full').status, 0);
    assert.equal(readdirSync(folder), ['weights']);
  },
);

test('an old Node gets a line that says so, before anything is loaded', () => {
  const pretend = (old: string) => [
    '--import',
    `data:text/javascript,Object.defineProperty(process.versions,'node',{value:'${old}'})`,
  ];
  for (const old of ['18.20.4', '20.10.0', '12.22.0']) {
    for (const program of [bin, supported]) {
      const run = spawn(program, ['--version'], {}, pretend(old));
      assert.is(run.status, 2);
      assert.is(run.stdout, '');
      assert.match(run.stderr, new RegExp(`^dawngrad: needs Node 20\\.11 or later, and this is ${old}\\..*\n$`));
    }
  }
  for (const fine of ['20.11.0', '22.0.0', '100.1.0']) {
    assert.is(spawn(bin, ['--version'], {}, pretend(fine)).stdout, `${version}\n`);
    assert.equal(spawn(supported, [], {}, pretend(fine)), { status: 0, stdout: '', stderr: '' });
  }
});

test('npm scripts look at the version of Node before they give it an option that an old one refuses', () => {
  for (const [name, script] of Object.entries<string>(scripts)) {
    if (/--import|tsc --noEmit/.test(script))
      assert.match(script, /^(node src\/cli\/supported\.cjs|npm run check) && /, name);
  }
});

test('the entry loads nothing before it has looked at the version of Node', () => {
  const text = readFileSync(bin, 'utf8');
  assert.match(text, /^#!\/usr\/bin\/env node\n/);
  assert.not.match(text, /^(import|export)\b/m);
  assert.not.match(text, /\?\.|\?\?|^\s*await /m);
});

test.run();
