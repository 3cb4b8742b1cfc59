import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { writeFileAtomic } from '../data/atomic.ts';
import { winnersFile } from './winners.ts';

/** Kernels of drivers that are known to get some wrong, as they were found right: by problem, the names of variants. */
export type Found = Map<string, readonly string[]>;

/** One file for each adapter and driver. */
export const foundFile = (fingerprint: string): string => winnersFile(fingerprint).replace(/\.json$/, '-right.json');

const shaderFolder = new URL('../../shaders/', import.meta.url);

/** A hash of every kernel's text: what was found of one text says nothing of another. */
function kernelsHash(): string {
  const hash = createHash('sha256');
  const names = readdirSync(shaderFolder, { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.wgsl'),
  );
  for (const name of names.sort())
    hash.update(name).update(readFileSync(new URL(name.replaceAll('\\', '/'), shaderFolder)));
  return hash.digest('hex').slice(0, 16);
}

/** The doubted variants that earlier runs found right on an adapter. A file that is not there, damaged or of other kernels holds none. */
export function readFound(fingerprint: string): Found {
  try {
    const kept = JSON.parse(readFileSync(foundFile(fingerprint), 'utf8')) as Record<string, unknown>;
    if (kept.fingerprint !== fingerprint || kept.kernels !== kernelsHash()) return new Map();
    const entries = Object.entries(kept.right as Record<string, unknown>);
    return new Map(entries.filter((entry): entry is [string, string[]] => isNames(entry[1])));
  } catch {
    return new Map();
  }
}

/** Adds to what is kept. Returns a line that says why where it could not be kept, else null. */
export function keepFound(fingerprint: string, found: Found): string | null {
  const path = foundFile(fingerprint);
  const right = Object.fromEntries([...readFound(fingerprint), ...found]);
  try {
    mkdirSync(dirname(path), { recursive: true });
    writeFileAtomic(path, `${JSON.stringify({ fingerprint, kernels: kernelsHash(), right }, null, 1)}\n`);
    return null;
  } catch (error) {
    return `warning: the next run checks its kernels again: ${(error as Error).message}`;
  }
}

const isNames = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((name) => typeof name === 'string');
