import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { isRecord } from '../core/json.ts';
import { removeLeftovers, writeFileAtomic } from '../data/atomic.ts';
import { ABANDONED_MS, cacheFolder } from '../gpu/cachedir.ts';
import type { Winner } from '../ops/matrix/prepare.ts';

/** What was found out about kernels on an adapter, each by problem. */
export interface KnownKernels {
  /** The fastest variants. */
  winners: Map<string, Winner>;
  /** The variants, of those that drivers are known to get wrong, that were found right. */
  verified: Map<string, readonly string[]>;
}

/** One file for each adapter and driver. */
export function kernelFile(fingerprint: string): string {
  const key = createHash('sha256').update(fingerprint).digest('hex').slice(0, 16);
  return join(cacheFolder(), 'kernels', `${key}.json`);
}

/** What earlier runs found out. A file that is not there, damaged, of other kernels or of another adapter says nothing. */
export function readKernels(fingerprint: string): KnownKernels {
  try {
    const kept: unknown = JSON.parse(readFileSync(kernelFile(fingerprint), 'utf8'));
    if (isRecord(kept) && kept.kernels === kernelsHash() && kept.fingerprint === fingerprint) {
      return { winners: entriesOf(kept.winners, isWinner), verified: entriesOf(kept.verified, isNames) };
    }
  } catch {
    // Nothing is known then.
  }
  return { winners: new Map(), verified: new Map() };
}

/**
 * Adds to what is kept; of two runs at the same time the later one may undo what the earlier has added, which is then found again.
 * Returns a line that says why where it could not be kept, else null.
 */
export function keepKernels(fingerprint: string, { winners, verified }: Partial<KnownKernels>): string | null {
  const path = kernelFile(fingerprint);
  const known = readKernels(fingerprint);
  const kept = {
    ...{ kernels: kernelsHash(), fingerprint },
    winners: Object.fromEntries([...known.winners, ...(winners ?? [])]),
    verified: Object.fromEntries([...known.verified, ...(verified ?? [])]),
  };
  try {
    mkdirSync(dirname(path), { recursive: true });
    removeLeftovers(dirname(path), ABANDONED_MS);
    writeFileAtomic(path, `${JSON.stringify(kept, null, 1)}\n`);
    return null;
  } catch (error) {
    return `warning: the next run checks and tunes its kernels again: ${(error as Error).message}`;
  }
}

let hash: string | undefined;

/** A hash of every kernel and of the code that chooses their tiles: what was found of one text says nothing of another. */
function kernelsHash(): string {
  if (hash !== undefined) return hash;
  const sum = createHash('sha256');
  for (const folder of ['../../shaders/', '../ops/matrix/']) {
    const url = new URL(folder, import.meta.url);
    const names = readdirSync(url, { recursive: true, encoding: 'utf8' }).map((name) => name.replaceAll('\\', '/'));
    for (const name of names.filter((name) => /\.(wgsl|js|ts)$/.test(name)).sort()) {
      sum.update(name).update(readFileSync(new URL(name, url)));
    }
  }
  hash = sum.digest('hex').slice(0, 16);
  return hash;
}

const isNames = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((name) => typeof name === 'string');

const isWinner = (value: unknown): value is Winner =>
  isRecord(value) && typeof value.variant === 'string' && isNames(value.of);

/** The entries of what should be an object, less those that are not what they should be. */
function entriesOf<T>(kept: unknown, is: (value: unknown) => value is T): Map<string, T> {
  const entries = isRecord(kept) ? Object.entries(kept) : [];
  return new Map(entries.filter((entry): entry is [string, T] => is(entry[1])));
}
