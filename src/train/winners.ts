import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { writeFileAtomic } from '../data/atomic.ts';
import { cacheFolder } from '../gpu/cachedir.ts';
import type { Winner } from '../ops/matrix/prepare.ts';

/** Raise it when kernels become faster or slower under their old names: winners are then found anew. */
const VERSION = 5;

/** One file for each adapter and driver. */
export function winnersFile(fingerprint: string): string {
  const key = createHash('sha256').update(fingerprint).digest('hex').slice(0, 16);
  return join(cacheFolder(), 'kernels', `${key}.json`);
}

/**
 * The fastest variants that earlier runs found on an adapter, by problem. A file that is not there, damaged, of another version or
 * of another adapter holds none.
 */
export function readWinners(fingerprint: string): Map<string, Winner> {
  try {
    const kept: unknown = JSON.parse(readFileSync(winnersFile(fingerprint), 'utf8'));
    if (!isObject(kept) || kept.version !== VERSION || kept.fingerprint !== fingerprint) return new Map();
    if (!isObject(kept.winners)) return new Map();
    return new Map(Object.entries(kept.winners).filter((entry): entry is [string, Winner] => isWinner(entry[1])));
  } catch {
    return new Map();
  }
}

/**
 * Adds winners to those that are kept; of two runs at the same time the later one may undo what the earlier has added, which is then
 * found again. Returns a line that says why where they could not be kept, else null.
 */
export function keepWinners(fingerprint: string, winners: ReadonlyMap<string, Winner>): string | null {
  const path = winnersFile(fingerprint);
  const all = Object.fromEntries([...readWinners(fingerprint), ...winners]);
  try {
    mkdirSync(dirname(path), { recursive: true });
    writeFileAtomic(path, `${JSON.stringify({ version: VERSION, fingerprint, winners: all }, null, 1)}\n`);
    return null;
  } catch (error) {
    return `warning: the next run tunes again: ${(error as Error).message}`;
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isWinner = (value: unknown): value is Winner =>
  isObject(value) &&
  typeof value.variant === 'string' &&
  Array.isArray(value.of) &&
  value.of.every((name) => typeof name === 'string');
