import {
  closeSync,
  constants,
  fstatSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isMainThread } from 'node:worker_threads';
import { GpuError } from '../core/errors.ts';

/** No thread needs a file this long to read or write a few pages. */
const PATIENCE_MS = 500;

/**
 * Runs `load`, and hands what native code printed to file descriptor 2 meanwhile to `onPrint`, if anything.
 *
 * Dawn and drivers print there, past `process.stderr`. Node cannot duplicate a descriptor, so 2 is opened anew afterwards, which is
 * the same thing only for what has no position: a terminal, a pipe, a device, a file that is appended to. For others, on systems other
 * than Linux, in worker threads, and where no temporary file can be made, `load` just runs; in a file, `printAhead` then brings the
 * lines into order. Synchronous, so that nothing of this program can print in between.
 */
export function holdStderr<T>(load: () => T, onPrint: (text: string) => void): T {
  const stderr = openAnew();
  if (!stderr) return load();
  const held = openTemporary();
  if (held === undefined) {
    closeSync(stderr.fd);
    return load();
  }
  become2(held, constants.O_WRONLY | constants.O_APPEND);
  try {
    return load();
  } finally {
    become2(stderr.fd, stderr.flags);
    closeSync(stderr.fd);
    const text = readFileSync(held, 'utf8');
    closeSync(held);
    if (text) onPrint(text);
  }
}

/** A file without a name; undefined where the temporary folder cannot be written to. */
function openTemporary(): number | undefined {
  try {
    const folder = mkdtempSync(join(tmpdir(), 'dawngrad-'));
    try {
      return openSync(join(folder, 'stderr'), 'w+');
    } finally {
      rmSync(folder, { recursive: true });
    }
  } catch {
    return undefined;
  }
}

/** How far standard error is in the file that it goes to, in bytes; undefined where it goes to no file, or always to the end of one. */
export function stderrPosition(): number | undefined {
  if (process.platform !== 'linux') return undefined;
  try {
    const { position, append } = descriptor2();
    return fstatSync(2).isFile() && !append ? position : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Prints `text` on standard error, in a file ahead of what native code printed there since it was at `start` (`stderrPosition`).
 *
 * It is printed as ever, so that whoever shares the file's position goes on behind it. Then the range is written once more in the other
 * order, if it ends in `text` and not in what another process printed.
 */
export function printAhead(text: string, start: number | undefined): void {
  process.stderr.write(text);
  if (start === undefined) return;
  try {
    const file = openSync('/proc/self/fd/2', constants.O_RDWR);
    try {
      const range = Buffer.alloc(descriptor2().position - start);
      const line = Buffer.from(text);
      if (readSync(file, range, 0, range.length, start) !== range.length) return;
      const native = range.subarray(0, -line.length);
      if (range.subarray(native.length).equals(line))
        writeSync(file, Buffer.concat([line, native]), 0, range.length, start);
    } finally {
      closeSync(file);
    }
  } catch {
    // A file that this process may write to but not open again keeps the order of printing.
  }
}

/** Where descriptor 2 is in its file, and O_APPEND if it has that. */
function descriptor2(): { position: number; append: number } {
  const info = readFileSync('/proc/self/fdinfo/2', 'latin1');
  const [, position = ''] = /^pos:\s*(\d+)/m.exec(info) ?? [];
  const [, octal = ''] = /^flags:\s*(\d+)/m.exec(info) ?? [];
  return { position: Number(position), append: Number.parseInt(octal, 8) & constants.O_APPEND };
}

/** A second opening of what descriptor 2 writes to; undefined where that would be another place. */
function openAnew(): { fd: number; flags: number } | undefined {
  // What a worker thread opens is closed when it ends: descriptor 2 would be, which is all threads'.
  if (process.platform !== 'linux' || !isMainThread) return undefined;
  try {
    const kind = fstatSync(2);
    const { append } = descriptor2();
    if (!kind.isCharacterDevice() && !kind.isFIFO() && !append) return undefined;
    // Without O_NONBLOCK, a pipe that nobody reads any more would be waited for; Node sets it for its own pipes, too.
    const flags = constants.O_WRONLY | constants.O_NOCTTY | append | (kind.isFIFO() ? constants.O_NONBLOCK : 0);
    return { fd: openSync('/proc/self/fd/2', flags), flags };
  } catch {
    return undefined;
  }
}

/** Makes descriptor 2 write to what `fd` does. An opening gets the lowest number that is free, which is 2 once that is closed. */
function become2(fd: number, flags: number): void {
  closeSync(2);
  const others: number[] = [];
  for (let got = reopen(fd, flags); got !== 2; got = reopen(fd, flags)) {
    // Another thread opened a file just now, and has it for a moment.
    others.push(got);
    if (others.length > PATIENCE_MS)
      throw new GpuError('another thread keeps file descriptor 2, which is standard error.');
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
  }
  for (const other of others) closeSync(other);
}

function reopen(fd: number, flags: number): number {
  try {
    return openSync(`/proc/self/fd/${fd}`, flags);
  } catch {
    // The terminal was closed, or the pipe's reader has gone.
    return openSync('/dev/null', constants.O_WRONLY);
  }
}
