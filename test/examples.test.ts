// The programs that the README shows, run as they are.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

/** The output of a program in `examples/`, which must end well. */
function outputOf(name: string): string {
  const program = fileURLToPath(new URL(`examples/${name}.ts`, import.meta.url));
  const { NODE_OPTIONS, DEBUG, ...env } = process.env;
  const ended = spawnSync(process.execPath, ['--import', import.meta.resolve('tsx'), program], {
    env: { ...env, DAWNGRAD_ADAPTER: env.DAWNGRAD_ADAPTER ?? 'swiftshader' },
    encoding: 'utf8',
    timeout: 60_000,
  });
  assert.is(ended.status, 0, ended.stderr);
  return ended.stdout;
}

test('loop.ts trains', () => {
  const losses = [...outputOf('loop').matchAll(/^epoch \d: loss ([\d.]+)$/gm)].map(([, loss]) => Number(loss));
  assert.is(losses.length, 4);
  // Guessing has a loss of ln 7 = 1.95.
  assert.ok(losses[0]! > 1.95 && losses[3]! < 1.7, `${losses}`);
});

test('operation.ts computes x / (1 + |x|) and its gradient', () => {
  const [y, dx] = outputOf('operation')
    .trim()
    .split('\n')
    .map((line) => line.split(/ +/).slice(1).map(Number));
  const near = (found: number[], wanted: number[]) =>
    assert.ok(found.length === 4 && found.every((v, i) => Math.abs(v - wanted[i]!) < 1e-6), `${found}, not ${wanted}`);
  near(y!, [-3 / 4, -1 / 3, 0, 1 / 2]);
  near(dx!, [1 / 16, 4 / 9, 1, 1 / 4]);
});

test.run();
