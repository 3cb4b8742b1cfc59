// Commands as child processes, as a user runs them.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { readSafetensors } from '../src/train/safetensors.ts';

const bin = fileURLToPath(new URL('../src/cli/bin.ts', import.meta.url));
const tsx = import.meta.resolve('tsx');

export interface Ended {
  /** null where a signal ended it. */
  status: number | null;
  stdout: string;
  /** Without the warnings that Dawn itself prints for some drivers. */
  stderr: string;
}

/** In CI the kernels are the usual ones: nothing is timed, and bits do not depend on the machine. */
function environment(): NodeJS.ProcessEnv {
  const { DEBUG, npm_lifecycle_event, NODE_OPTIONS, ...env } = process.env;
  return { ...env, CI: '1' };
}

/** Runs `dawngrad ARGS…` in `cwd` until it ends; `node` are options for Node itself. */
export function dawngrad(cwd: string, args: readonly string[], node: readonly string[] = []): Ended {
  const ended = spawnSync(process.execPath, ['--import', tsx, ...node, bin, ...args], {
    cwd,
    env: environment(),
    encoding: 'utf8',
    timeout: 120_000,
  });
  return { status: ended.status, stdout: ended.stdout, stderr: ended.stderr.replace(/^Warning: max.*\n/gm, '') };
}

/** The same, and it must end with `status`. */
export function ends(status: number | null, cwd: string, args: readonly string[], node: readonly string[] = []): Ended {
  const ended = dawngrad(cwd, args, node);
  assert.is(ended.status, status, `dawngrad ${args.join(' ')}\n${ended.stderr}`);
  return ended;
}

/** Starts `dawngrad ARGS…` and does not wait for it; `ended` resolves to its exit code, or the signal that ended it. */
export function starts(
  cwd: string,
  args: readonly string[],
): { child: ChildProcess; shown: () => string; ended: Promise<unknown> } {
  const child = spawn(process.execPath, ['--import', tsx, bin, ...args], {
    cwd,
    env: environment(),
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let shown = '';
  child.stderr!.on('data', (text) => {
    shown += text;
  });
  const ended = new Promise((resolve) => child.on('exit', (code, signal) => resolve(code ?? signal)));
  return { child, shown: () => shown, ended };
}

/** Waits for at most a minute; `what` is said of what did not come. */
export async function until(what: string, holds: () => boolean): Promise<void> {
  const started = performance.now();
  while (!holds()) {
    assert.ok(performance.now() - started < 60_000, `${what}: not within a minute`);
    await sleep(50);
  }
}

/** SHA-256 over the tensors of a file, names and shapes included; its metadata holds times, and is left out. */
export function hashOf(path: string): string {
  const hash = createHash('sha256');
  const { tensors } = readSafetensors(path);
  for (const name of [...tensors.keys()].sort()) {
    const { dtype, shape, data } = tensors.get(name)!;
    hash.update(`${name} ${dtype} ${shape}\n`).update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  return hash.digest('hex');
}
