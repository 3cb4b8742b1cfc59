import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { lockFolder } from '../src/cli/worklock.ts';
import { ConfigError } from '../src/core/errors.ts';
import { type Faults, onFailingDisk } from './faults.ts';

let folder = '';
test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), 'dawngrad-worklock-'));
});
test.after.each(() => rmSync(folder, { recursive: true }));

const lock = () => lockFolder('--out x', folder, () => {});

test('a lock that the disk does not take whole is not there at all', async () => {
  const cases: Faults[] = [{ openSync: 1 }, { writeSync: 1 }, { closeSync: 1 }, { writeSync: 1, rmSync: 1 }];
  for (const faults of cases) {
    let told: unknown;
    try {
      await onFailingDisk(faults, lock, 'ENOSPC');
    } catch (error) {
      told = error;
    }
    const [first] = Object.keys(faults);
    assert.instance(told, ConfigError);
    assert.is(
      (told as Error).message,
      `--out x: cannot be written (ENOSPC: injected, ${first}). Make room there, or make it writable.`,
    );
    // One that cannot be removed is empty, and in nobody's way.
    assert.equal(readdirSync(folder), faults.rmSync ? ['.at-work.json'] : []);
  }
  (await lock()).release();
  assert.equal(readdirSync(folder), []);
});

test('a disk that has become read-only keeps the lock, which hides no failure and is in nobody’s way', async () => {
  const first = await lock();
  await onFailingDisk({ rmSync: 0 }, () => first.release(), 'EROFS');
  assert.equal(readdirSync(folder), ['.at-work.json']);
  (await lock()).release();
  assert.equal(readdirSync(folder), []);
});

test.run();
