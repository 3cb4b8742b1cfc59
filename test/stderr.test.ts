import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

const fixture = fileURLToPath(new URL('fixtures/stderr.ts', import.meta.url));
const linux = process.platform === 'linux' ? test : test.skip;

let folder = '';
test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), 'dawngrad-stderr-'));
});
test.after.each(() => rmSync(folder, { recursive: true }));

/** Runs one of the fixture's programs with its standard error as the shell's `redirection` says; returns what the shell printed. */
function run(program: string, redirection: string): string {
  const command = `"$NODE" --import "$TSX" "$FIXTURE" ${program} ${redirection}`;
  const { stdout, status } = spawnSync('sh', ['-c', command], {
    cwd: folder,
    env: { ...process.env, NODE: process.execPath, TSX: import.meta.resolve('tsx'), FIXTURE: fixture },
    encoding: 'utf8',
    timeout: 60_000,
  });
  assert.is(status, 0, stdout);
  return stdout;
}

const inOrder = 'before\nstream before\nafter 7\nstream after\nduring\n';

linux('what is printed while drivers load is held back from a pipe', () => {
  assert.is(run('held', '2>&1 | cat'), inOrder);
});

linux('and from a file that is appended to, which keeps what it had', () => {
  writeFileSync(join(folder, 'log'), 'earlier\n');
  run('held', '>> log 2>&1');
  assert.is(readFileSync(join(folder, 'log'), 'utf8'), `earlier\n${inOrder}`);
});

linux('another file gets everything, in the order in which it is printed', () => {
  run('held', '2> log');
  assert.is(readFileSync(join(folder, 'log'), 'utf8'), 'before\nstream before\nduring\nafter 7\nstream after\n');
});

linux('there a line can be put ahead of what was printed before it, and whoever shares the file goes on behind', () => {
  assert.is(run('ahead', '> log 2>&1; cat log'), 'native before\nahead\nnative\nstream after\n');
  const shell = '(echo begin; "$NODE" --import "$TSX" "$FIXTURE" ahead; echo end) > log 2>&1; cat log';
  assert.is(run('ahead', `> /dev/null 2>&1; ${shell}`), 'begin\nnative before\nahead\nnative\nstream after\nend\n');
});

linux('but not ahead of what another process printed meanwhile', () => {
  assert.is(run('disturbed', '2> log; cat log'), 'native\nahead\nanother\n');
});

linux('a pipe that nobody reads any more is not waited for', () => {
  assert.is(run('held', '2>&1 | head -n 1'), 'before\n');
  run('held', '2>&1 | true');
});

linux('a hold ends where loading throws', () => {
  assert.is(run('thrown', '2>&1 | cat'), 'held during\nError: no driver\n');
});

linux('where no temporary file can be made, nothing is held', () => {
  assert.is(run('homeless', '2>&1 | cat'), 'during\nafter 7, 0 descriptors more\n');
});

linux('a thread that opens files meanwhile neither loses nor gets anything', () => {
  assert.is(run('threads', '2>&1 | cat'), 'all held\n');
});

linux('a worker thread that opens a GPU leaves the others their standard error', () => {
  assert.is(run('worker', '2>&1 | cat'), 'during\nError: no driver\nstill open\n');
});

linux('the first line that a command prints says what was chosen, and why', () => {
  assert.match(run('adapter', '2>&1 | cat'), /^[^\n]+: [^\n]+\n$/);
  assert.match(run('adapter', '> log 2>&1; head -n 1 log'), /^[^\n]+: [^\n]+\n$/);
});

test.run();
