// Commands that are printed to be typed again.
import { spawnSync } from 'node:child_process';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { callOf, quoted } from '../src/train/call.ts';
import { onPlatform } from './platform.ts';

const { npm_lifecycle_event, npm_package_name } = process.env;
test.before.each(() => {
  process.env.npm_lifecycle_event = 'train';
  process.env.npm_package_name = 'dawngrad';
});
test.after.each(() => {
  for (const [name, value] of Object.entries({ npm_lifecycle_event, npm_package_name })) {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
});

test('a POSIX shell reads arguments back whole', () => {
  const typed = ['runs/1-vgg', 'a&b.csv', "it's here", 'runs\\1', '$HOME', '*', 'ü, ö'];
  const call = onPlatform('linux', () => callOf('train', ...typed.map(quoted)));
  assert.is(
    onPlatform('linux', () => callOf('train')),
    'npm run train',
  );
  assert.is(call.split(' ').slice(0, 5).join(' '), 'npm run train -- runs/1-vgg');
  if (process.platform === 'win32') return;
  const shell = spawnSync('sh', ['-c', `printf '%s\\n' ${call}`], { encoding: 'utf8' });
  assert.equal(shell.stdout.trimEnd().split('\n'), ['npm', 'run', 'train', '--', ...typed]);
});

test('on Windows cmd.exe, PowerShell and bash do', () => {
  const typed = ['runs\\1-vgg', 'C:\\my faces\\', 'a&b.csv', "it's.csv", 'model,best', '--lr', '0.1'];
  assert.is(
    onPlatform('win32', () => callOf('train', ...typed.map(quoted))),
    `npm.cmd run train -- "runs\\1-vgg" "C:\\my faces\\\\" "a&b.csv" "it's.csv" "model,best" --lr 0.1`,
  );
});

test.run();
