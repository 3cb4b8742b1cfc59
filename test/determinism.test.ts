import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { within } from './gpu.ts';

const LIMIT_MS = 240_000;

/** The hash that `digest.ts` prints in a process of its own. */
async function digest(...args: string[]): Promise<string> {
  const program = fileURLToPath(new URL('digest.ts', import.meta.url));
  const { stdout } = await within(
    LIMIT_MS,
    promisify(execFile)(process.execPath, ['--import', 'tsx', program, ...args], { timeout: LIMIT_MS }),
  );
  assert.match(stdout, /^[0-9a-f]{64}$/);
  return stdout;
}

const full = process.env.DAWNGRAD_TEST === 'full';

for (const flags of full ? ['checked', 'fast'] : ['fast']) {
  test(`two processes that train from one seed, ${flags} flags, have the same bits, dropout included; from another they differ`, async () => {
    const once = await digest('1', flags);
    assert.is(await digest('1', flags), once);
    assert.is.not(await digest('2', flags), once);
  });
}

test.run();
