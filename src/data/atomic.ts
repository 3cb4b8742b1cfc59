import { randomUUID } from 'node:crypto';
import { closeSync, fsyncSync, openSync, readdirSync, renameSync, rmSync, statSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { CHUNK_BYTES } from './chunks.ts';

/** What Windows says of a file that another process has open. */
const HELD: readonly unknown[] = ['EPERM', 'EACCES', 'EBUSY'];
/** Virus scanners and indexers let go of a file within moments; a spreadsheet does not. */
const TRIES = 20;
const PAUSE_MS = 100;

/**
 * Writes a file whole or not at all: a temporary file beside it, flushed to the disk, then renamed over the old one.
 *
 * A reader, a crash or a full disk sees the old content or the new one and never a part. The chunks are written one
 * after the other, so that a model of a gigabyte needs no second copy in memory, and `writeBytes` at a time. Throws what
 * the file system throws, with `path` in its message, and leaves no temporary file behind.
 */
export function writeFileAtomic(
  path: string,
  content: string | Uint8Array | readonly Uint8Array[],
  writeBytes = CHUNK_BYTES,
): void {
  const chunks =
    typeof content === 'string'
      ? [new TextEncoder().encode(content)]
      : content instanceof Uint8Array
        ? [content]
        : content;
  const temporary = `${path}.${randomUUID().slice(0, 8)}.tmp`;
  let file: number | undefined;
  let made = false;
  try {
    file = openSync(temporary, 'wx');
    made = true;
    for (const chunk of chunks) {
      // One call may write less than it was given.
      for (let at = 0; at < chunk.byteLength; )
        at += writeSync(file, chunk, at, Math.min(writeBytes, chunk.byteLength - at));
    }
    fsyncSync(file);
    // A close that fails, as where a file server is full, has given the descriptor back all the same.
    const written = file;
    file = undefined;
    closeSync(written);
    replace(temporary, path);
  } catch (error) {
    if (file !== undefined) attempt(closeSync, file);
    if (made) attempt(rmSync, temporary, { force: true });
    throw named(error, path);
  }
  flushFolder(dirname(path));
}

/** Whether what `writeFileAtomic` threw comes of another program that has the file open, which only Windows minds. */
export const isHeld = (error: unknown): boolean =>
  process.platform === 'win32' && HELD.includes((error as NodeJS.ErrnoException).code);

function replace(temporary: string, path: string): void {
  for (let tries = 1; ; tries++) {
    try {
      renameSync(temporary, path);
      return;
    } catch (error) {
      if (!isHeld(error) || tries === TRIES) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PAUSE_MS);
    }
  }
}

/**
 * Removes the temporary files that writers which were killed left in a folder: to be called while nobody writes there, or for those
 * that were last written more than `ageMs` ago.
 */
export function removeLeftovers(folder: string, ageMs = 0): void {
  for (const name of readdirSync(folder)) {
    if (!/\.[0-9a-f]{8}\.tmp$/.test(name)) continue;
    const path = join(folder, name);
    const written = ageMs > 0 && statSync(path, { throwIfNoEntry: false })?.mtimeMs;
    // One of the future was written before the clock was set back.
    if (!written || Math.abs(Date.now() - written) > ageMs) rmSync(path, { force: true });
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
  }
  if (handle !== undefined) attempt(closeSync, handle);
}

/** For cleaning up: of what fails there, nothing is to be told that matters. */
function attempt<T extends unknown[]>(act: (...args: T) => void, ...args: T): void {
  try {
    act(...args);
  } catch {
    // What failed before is the thing to tell, if anything is.
  }
}
