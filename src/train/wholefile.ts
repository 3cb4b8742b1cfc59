import { closeSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs';

/** Bytes of one read, at most: no system gives 2 GiB or more at once, and Node's readFileSync refuses files of that size. */
const READ_BYTES = 2 ** 30;

/** Reads a whole file of any size that the memory holds, `readBytes` at a time. Throws what the file system throws. */
export function readWholeFile(path: string, readBytes = READ_BYTES): Uint8Array {
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
