import { closeSync, openSync, readFileSync, rmSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ConfigError } from '../core/errors.ts';
import { writeFileAtomic } from '../data/atomic.ts';

interface Workers {
  /** The process that keeps the folder. */
  pid: number;
  /** The one that trains there for it, if any: of a list of experiments. */
  child: number | null;
}

export interface WorkLock {
  /** Notes who trains, so that nobody else starts while it ends. */
  child(pid: number | null): void;
  /** Gives the folder back; the end of the process does, too, unless it is killed. */
  release(): void;
}

/** A run that lost the process that had started it stops after its step; steps of a large network on a CPU are slow. */
const PATIENCE_MS = 120_000;

/** Longer than anybody needs from making the file, or from seeing that its owner is gone, to what is done next. */
const SETTLED_MS = 300;

/**
 * Keeps a folder for this process, of all on this machine. Waits for a training process that a killed one has left behind, which is
 * about to stop.
 *
 * Throws ConfigError, in a message that `what` begins, where another process is at work.
 */
export async function lockFolder(
  what: string,
  dir: string,
  say: (line: string) => void,
  patienceMs = PATIENCE_MS,
): Promise<WorkLock> {
  const path = join(dir, '.at-work.json');
  const own: Workers = { pid: process.pid, child: null };
  const started = performance.now();
  let told = false;
  for (;;) {
    if (take(what, path, own)) {
      // Whoever saw the file of somebody dead here may be about to remove this one in its place.
      await sleep(SETTLED_MS);
      if (read(path)?.pid === own.pid) break;
      continue;
    }
    const found = read(path);
    // A process with this one's number is gone: after a restart, in a container above all, numbers come again.
    const owner = found?.pid === process.pid ? 0 : found?.pid;
    const busy = found && [owner ?? 0, found.child ?? 0].find(alive);
    if (!busy) {
      if (found || age(path) > SETTLED_MS) {
        rmSync(path, { force: true });
      } else {
        await sleep(50);
      }
      continue;
    }
    if (busy === found.pid || performance.now() - started > patienceMs) {
      throw new ConfigError(
        `${what}: process ${busy} is at work there. Wait for it; if it is something else, remove ${path}.`,
      );
    }
    if (!told) say(`Waiting for process ${busy}, which was left behind and stops after its step.`);
    told = true;
    await sleep(100);
  }
  const release = () => {
    process.off('exit', release);
    if (read(path)?.pid === own.pid) remove(path);
  };
  process.on('exit', release);
  return { child: (pid) => writeFileAtomic(path, JSON.stringify({ ...own, child: pid })), release };
}

/** Makes the file, unless it is there. */
function take(what: string, path: string, workers: Workers): boolean {
  let made = false;
  try {
    const file = openSync(path, 'wx');
    made = true;
    try {
      writeSync(file, JSON.stringify(workers));
    } finally {
      closeSync(file);
    }
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    if (made) remove(path);
    throw new ConfigError(
      `${what}: cannot be written (${(error as Error).message}). Make room there, or make it writable.`,
    );
  }
}

/** Where the disk does not let it go, what went wrong before is the thing to tell: nobody minds the file of a process that is gone. */
function remove(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // It stays.
  }
}

/** Undefined where there is no file, or one that was cut short: its process was killed, or has only begun to write. */
function read(path: string): Workers | undefined {
  try {
    const { pid, child } = JSON.parse(readFileSync(path, 'utf8')) as Partial<Workers>;
    return { pid: Number(pid), child: typeof child === 'number' ? child : null };
  } catch {
    return undefined;
  }
}

/** Milliseconds since the file was written, or to come where a file server's clock is ahead; 0 where there is none. */
function age(path: string): number {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat ? Math.abs(Date.now() - stat.mtimeMs) : 0;
}

function alive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
