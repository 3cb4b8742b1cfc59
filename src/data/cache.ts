import { createHash } from 'node:crypto';
import { closeSync, mkdirSync, openSync, readSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { ABANDONED_MS, cacheFolder } from '../gpu/cachedir.ts';
import { removeLeftovers, writeFileAtomic } from './atomic.ts';
import { sha256 } from './chunks.ts';
import type { Rows } from './rows.ts';
import { readWholeFile } from './wholefile.ts';

/** Raise it when what is cached, or how it is parsed, changes: older files are then rebuilt. */
const formatVersion = 4;
const magic = 'dawngrad rows\n';
const sampleCount = 32;
const sampleBytes = 4096;

/** Where a parsed set comes from, and what tells that it has changed. */
export interface CacheSource {
  path: string;
  /** Options that change what is parsed, e.g. 'store 48'. */
  variant: string;
  /** From `fileSignature`, or a hash over a folder's listing. */
  signature: string;
}

/**
 * Returns the parsed set of an earlier run when its source has not changed since, else parses and keeps it.
 *
 * A cache file that is damaged, of another version or of a changed source is rebuilt without a word. A cache folder that
 * cannot be written costs one warning: the next run parses again.
 */
export async function cached(source: CacheSource, parse: () => Promise<Rows>): Promise<Rows> {
  const file = cacheFile(source);
  const kept = readCache(file, source.signature);
  if (kept !== null) return kept;
  const rows = await parse();
  try {
    writeCache(file, source.signature, rows);
  } catch (error) {
    warnOnce(`warning: ${source.path} is not cached, so the next run reads it anew: ${(error as Error).message}`);
  }
  return rows;
}

/**
 * Size, times and 32 samples of 4 KiB: enough to notice an edit that keeps size and modification time, at the cost of
 * 128 KiB of a 271 MB file.
 */
export function fileSignature(path: string): string {
  const { size, mtimeMs, ctimeMs } = statSync(path);
  const hash = createHash('sha256').update(`${size} ${mtimeMs} ${ctimeMs}\n`);
  const sample = Buffer.alloc(Math.min(sampleBytes, size));
  const file = openSync(path, 'r');
  try {
    for (let i = 0; i < sampleCount; i++) {
      const at = Math.floor(((size - sample.length) * i) / (sampleCount - 1));
      hash.update(sample.subarray(0, readSync(file, sample, 0, sample.length, at)));
    }
  } finally {
    closeSync(file);
  }
  return hash.digest('hex');
}

/** One file a source and variant: a changed source overwrites its own cache, so that the folder does not grow. */
function cacheFile({ path, variant }: CacheSource): string {
  const real = realpathSync(path);
  const key = createHash('sha256').update(`${real}\n${variant}`).digest('hex').slice(0, 16);
  return join(cacheFolder(), 'data', `${basename(real).replace(/[^\w.-]/g, '_')}-${key}.rows`);
}

type Header = Pick<Rows, 'classes' | 'side' | 'channels' | 'count' | 'partNames' | 'files'> & {
  version: number;
  signature: string;
  hasLines: boolean;
  sha256: string;
};

/** Layout: magic, header size (u32, little endian), JSON header, then labels, usage, lines (u32, where there are some), pixels. */
function writeCache(file: string, signature: string, rows: Rows): void {
  const { classes, side, channels, count, partNames, files, lines } = rows;
  const body = [rows.labels, rows.usage, ...(lines ? [bytesOf(lines)] : []), rows.pixels];
  const header: Header = {
    version: formatVersion,
    signature,
    classes,
    side,
    channels,
    count,
    partNames,
    files,
    hasLines: lines !== null,
    sha256: sha256(body),
  };
  const json = Buffer.from(JSON.stringify(header));
  const sizeField = Buffer.alloc(4);
  sizeField.writeUInt32LE(json.length);

  const folder = dirname(file);
  mkdirSync(folder, { recursive: true });
  removeLeftovers(folder, ABANDONED_MS);
  writeFileAtomic(file, [Buffer.from(magic), sizeField, json, ...body]);
}

function readCache(file: string, signature: string): Rows | null {
  try {
    const bytes = readWholeFile(file);
    const head = Buffer.from(bytes.buffer, bytes.byteOffset, magic.length + 4);
    if (head.toString('latin1', 0, magic.length) !== magic) return null;
    const bodyAt = head.length + head.readUInt32LE(magic.length);
    const header: Header = JSON.parse(new TextDecoder().decode(bytes.subarray(head.length, bodyAt)));
    if (header.version !== formatVersion || header.signature !== signature) return null;
    const { classes, side, channels, count, partNames, files, hasLines } = header;
    const body = bytes.subarray(bodyAt);
    if (body.length !== count * (2 + (hasLines ? 4 : 0) + side * side * channels)) return null;
    if (sha256([body]) !== header.sha256) return null;
    let at = 0;
    const take = (size: number) => {
      at += size;
      return body.subarray(at - size, at);
    };
    const labels = take(count);
    const usage = take(count);
    const lines = hasLines ? new Uint32Array(take(count * 4).slice().buffer) : null;
    return {
      classes,
      side,
      channels,
      count,
      pixels: take(count * side * side * channels),
      labels,
      usage,
      partNames,
      lines,
      files,
    };
  } catch {
    // Absent, unreadable or damaged all mean the same: parse again.
    return null;
  }
}

const bytesOf = (array: Uint32Array): Uint8Array => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

let warned = false;
function warnOnce(text: string): void {
  if (!warned) console.error(text);
  warned = true;
}
