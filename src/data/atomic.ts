import { randomUUID } from 'node:crypto';
import { closeSync, fsyncSync, openSync, readdirSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';

/**
 * Writes a file whole or not at all: a temporary file beside it, flushed to the disk, then renamed over the old one.
 *
 * A reader, a crash or a full disk sees the old content or the new one and never a part. The chunks are written one
 * after the other, so that a model of a gigabyte needs no second copy in memory. Throws what the file system throws,
 * with `path` in its message, and leaves no temporary file behind.
 */
export function writeFileAtomic(path: string, content: string | Uint8Array | readonly Uint8Array[]): void {
  const chunks =
    typeof content === 'string'
      ? [new TextEncoder().encode(content)]
      : content instanceof Uint8Array
        ? [content]
        : content;
  const temporary = `${path}.${randomUUID().slice(0, 8)}.tmp`;
  let file: number | undefined;
  try {
    file = openSync(temporary, 'wx');
    for (const chunk of chunks) {
      // One call may write less than it was given, and never more than 2 GiB.
      for (let at = 0; at < chunk.byteLength; ) at += writeSync(file, chunk, at, chunk.byteLength - at);
    }
    fsyncSync(file);
    closeSync(file);
    file = undefined;
    renameSync(temporary, path);
  } catch (error) {
    if (file !== undefined) closeSync(file);
    rmSync(temporary, { force: true });
    throw named(error, path);
  }
  flushFolder(dirname(path));
}

/** Removes the temporary files that writers which were killed left in a folder; to be called while nobody writes there. */
export function removeLeftovers(folder: string): void {
  for (const name of readdirSync(folder)) {
    if (/\.[0-9a-f]{8}\.tmp$/.test(name)) rmSync(join(folder, name), { force: true });
  }
}

/** The system's error with the file that was to be written: `write` itself names none, and `open` the temporary one. */
function named(error: unknown, path: string): unknown {
  if (!(error instanceof Error && 'code' in error)) return error;
  return Object.assign(error, {
    path,
    message: `${path}: cannot be written (${error.message}). What was there is kept.`,
  });
}

/** Makes the rename itself survive a power cut, where the system can: Windows cannot open a folder. */
function flushFolder(folder: string): void {
  let handle: number | undefined;
  try {
    handle = openSync(folder, 'r');
    fsyncSync(handle);
  } catch {
    // The file is complete either way.
  } finally {
    if (handle !== undefined) closeSync(handle);
  }
}
