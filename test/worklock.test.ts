import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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

const path = () => join(folder, '.at-work.json');

test('what is released is this process’s own, once, and leaves nothing behind', async () => {
  const before = process.listenerCount('exit');
  const first = await lock();
  assert.is(process.listenerCount('exit'), before + 1);
  first.child(7);
  assert.equal(JSON.parse(readFileSync(path(), 'utf8')), { pid: process.pid, child: 7 });
  const others = '{"pid": 2147483646, "child": null}';
  writeFileSync(path(), others);
  first.release();
  assert.is(process.listenerCount('exit'), before);
  assert.is(readFileSync(path(), 'utf8'), others, 'it has been taken over');
});

test('one who may not be asked is at work, and is waited for no time; a child that was left behind is told of once', async () => {
  const { kill } = process;
  process.kill = (pid) => {
    throw Object.assign(new Error(`kill ${pid}`), { code: pid === 11 ? 'ESRCH' : 'EPERM' });
  };
  const lines: string[] = [];
  const refused = (workers: object, patienceMs?: number) => {
    writeFileSync(path(), JSON.stringify(workers));
    return lockFolder('--out x', folder, (line) => lines.push(line), patienceMs).then(
      () => 'mine',
      ({ message }: Error) => message,
    );
  };
  try {
    assert.match(await refused({ pid: 12, child: 11 }, 350), /^--out x: process 12 is at work there\. Wait for it; /);
    assert.equal(lines, []);
    assert.match(await refused({ pid: 11, child: 13 }, 350), /^--out x: process 13 is at work there/);
    assert.equal(lines, ['Waiting for process 13, which was left behind and stops after its step.']);
  } finally {
    process.kill = kill;
  }
});

test.run();
