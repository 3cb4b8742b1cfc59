// README is held against the program: its commands, and every option of `train` with its values and default.
import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { commands } from '../src/cli/commands.ts';
import { resolveDefaults } from '../src/cli/defaults.ts';
import { flagOf, type Option } from '../src/cli/option.ts';
import { TOYFACES, trainOptions } from '../src/cli/options.ts';
import { pythonFor } from '../src/models/index.ts';

const readFrom = (path: string): string => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');
const readme = readFrom('README.md');

/** A row of the table of options. */
function rowOf([key, option]: readonly [string, Option]): string {
  const { help, kind, initial, otherwise = '' } = option;
  const flag = [flagOf(key, option), ...(kind.placeholder === null ? [] : [kind.placeholder])].join(' ');
  const said = kind.placeholder?.includes('|') ? '' : kind.range; // the flag itself lists them
  const usual = typeof initial === 'boolean' ? '' : (initial ?? otherwise);
  return `| \`${flag.replace('|', '\\|')}\` | ${said ? `${help} (${said})` : help} | ${usual} |`;
}

test('README has every option of train as --help has it, in its order', () => {
  const rows = Object.entries(trainOptions).map(rowOf);
  const [, table = ''] = /^\| option \| meaning \| default \|\n\|---\|---\|---\|\n((?:\|.*\n)+)/m.exec(readme) ?? [];
  assert.equal(table.trimEnd().split('\n'), rows);
});

test('README’s Python is what the report of such a run says', () => {
  const [, flags, python] = /for `([^`]+)`:\n\n```python\n(.*?)```/s.exec(readme)!;
  assert.is(flags, '--width 0.25 --head vgg');
  const options = { classes: 7, channels: 3, size: 48, width: 0.25, head: 'vgg', pool: 1, seed: 1 } as const;
  assert.is(python, pythonFor('vgg16_bn', options));
});

test('README’s sentence on defaults says what they are on a software adapter and with toyfaces', () => {
  assert.match(
    readme,
    /a narrower network, and there and with toyfaces the head is `fastai` and\nthe optimizer `adamw`/,
  );
  const decided = (software: boolean, data: string) => resolveDefaults({}, { software, data });
  assert.ok(decided(true, 'faces.csv').width < trainOptions.width.initial!);
  for (const { head, optimizer } of [decided(true, 'faces.csv'), decided(false, TOYFACES)])
    assert.equal([head, optimizer], ['fastai', 'adamw']);
});

test('README names every command, and each is an npm script', () => {
  const { scripts } = JSON.parse(readFrom('package.json')) as { scripts: Record<string, string> };
  for (const { name } of commands) {
    assert.ok(readme.includes(`| \`npm run ${name}`), `README's table of commands has no ${name}`);
    assert.match(scripts[name] ?? '', new RegExp(`bin\\.ts ${name}$`));
  }
});

test.run();
