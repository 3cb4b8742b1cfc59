// Commands as child processes, as a user runs them.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
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

/** Runs `dawngrad ARGS…` in `cwd` until it ends; `node` are options for Node itself. */
export function dawngrad(cwd: string, args: readonly string[], node: readonly string[] = []): Ended {
  const { DEBUG, npm_lifecycle_event, NODE_OPTIONS, ...env } = process.env;
  const ended = spawnSync(process.execPath, ['--import', tsx, ...node, bin, ...args], {
    cwd,
    // In CI the kernels are the usual ones: nothing is timed, and bits do not depend on the machine.
    env: { ...env, CI: '1', DAWNGRAD_ADAPTER: env.DAWNGRAD_ADAPTER ?? 'swiftshader' },
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
