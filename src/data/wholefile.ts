import { closeSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs';
import { CHUNK_BYTES } from './chunks.ts';

/**
 * Reads a whole file of any size that the memory holds, `readBytes` at a time; Node's readFileSync refuses 2 GiB or more.
 * Throws what the file system throws.
 */
export function readWholeFile(path: string, readBytes = CHUNK_BYTES): Uint8Array {
  const file = openSync(path, 'r');
  try {
    const stats = fstatSync(file);
    // Others, such as pipes, have no size.
    if (!stats.isFile()) return readFileSync(file);
    const bytes = new Uint8Array(stats.size);
    let at = 0;
    for (;;) {
      const read = readSync(file, bytes, at, Math.min(readBytes, bytes.byteLength - at), null);
      at += read;
      // Before its end where somebody cuts the file short: what is there is what a reader will find too short.
      if (read === 0 || at === bytes.byteLength) return bytes.subarray(0, at);
    }
  } finally {
    closeSync(file);
  }
}

/** The first bytes of a file; fewer where it has no more. Throws what the file system throws. */
export function readStart(path: string, count: number): Uint8Array<ArrayBuffer> {
  const file = openSync(path, 'r');
  try {
    const bytes = new Uint8Array(count);
    return bytes.slice(0, readSync(file, bytes, 0, count, null));
  } finally {
    closeSync(file);
  }
}
