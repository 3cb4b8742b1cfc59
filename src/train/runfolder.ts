import { accessSync, constants, existsSync, mkdirSync, readdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { ConfigError } from '../core/errors.ts';
import { type RunRecord, readRecord } from './runrecord.ts';

/** Where everything of a run is. Paths only: nothing says that the files are there. */
export interface RunFolder {
  dir: string;
  /** Options, seed, versions, adapter, kernel plan, data and result: see RunRecord. */
  record: string;
  /** A row an epoch. */
  metrics: string;
  /** The best epoch's weights, as torchvision names and lays them out. */
  model: string;
  /** A folder: everything that resuming needs. */
  last: string;
  /** The file in it; it is there from before the first step on. */
  checkpoint: string;
  curves: string;
  confusion: string;
  topLosses: string;
  /** Where the network looks. */
  cams: string;
  report: string;
}

const files: Readonly<Record<Exclude<keyof RunFolder, 'dir'>, string>> = {
  record: 'run.json',
  metrics: 'metrics.csv',
  model: 'model.safetensors',
  last: 'last',
  checkpoint: join('last', 'checkpoint.safetensors'),
  curves: 'curves.svg',
  confusion: 'confusion.svg',
  topLosses: 'top-losses.png',
  cams: 'grad-cam.png',
  report: 'report.html',
};

/** The paths of a run in `dir`. */
export function runFolder(dir: string): RunFolder {
  const paths = Object.entries(files).map(([key, name]) => [key, join(dir, name)]);
  return { dir, ...(Object.fromEntries(paths) as Omit<RunFolder, 'dir'>) };
}

/** Parent of the folders of runs that were told no other. */
const home = 'runs';

/**
 * Checks that a new run could be written to `out`, or to a folder in `runs/` where it is null, and writes nothing: to be
 * called before minutes are spent on data and GPU.
 *
 * Throws ConfigError where it already holds a run or a file that a run would overwrite, or cannot be written.
 */
export function checkOut(out: string | null): void {
  const dir = out ?? home;
  const present = entriesOf(dir);
  const held = out !== null && Object.values(files).find((name) => present?.includes(name));
  if (held) {
    const resumable = held === files.record && existsSync(join(dir, files.checkpoint));
    const mend = resumable ? `continue it with --resume ${dir}` : 'empty this one';
    throw new ConfigError(`--out ${dir}: already holds ${held}. Choose another folder, or ${mend}.`);
  }
  checkFolder(`--out ${dir}`, dir);
}

/** Checks that files could be written to `dir`, and writes nothing; `what` begins the message. Throws ConfigError. */
export function checkFolder(what: string, dir: string): void {
  try {
    // Folders that are not there yet are made; the first one above them that is there must take them.
    checkWritable(firstExisting(resolve(dir)));
  } catch (error) {
    throw unwritable(what, error);
  }
}

/** Makes a folder and those above it, where they are not there; `what` begins the message. Throws ConfigError. */
export function makeFolder(what: string, dir: string): void {
  try {
    makeBelow(resolve(dir));
  } catch (error) {
    throw unwritable(what, error);
  }
}

/** One by one: Node's own recursion does not return where the system takes no folder, as in /proc. */
function makeBelow(dir: string): void {
  // A drive of Windows that is not there has no parent, either.
  if (existsSync(dir) || dirname(dir) === dir) return;
  makeBelow(dirname(dir));
  try {
    mkdirSync(dir);
  } catch (error) {
    // Another process was first.
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}

/**
 * Makes the folder of a new run, parents included: `out`, or `runs/TIME-ARCH` where it is null, with a number where two
 * runs start in one second.
 *
 * Throws ConfigError as `checkOut` does.
 */
export function createRunFolder(out: string | null, arch: string, now = new Date()): RunFolder {
  if (out !== null) {
    checkOut(out);
    make(out);
    return runFolder(out);
  }
  checkOut(null);
  const stem = join(home, `${timestamp(now)}-${arch}`);
  for (let count = 1; ; count++) {
    const dir = count === 1 ? stem : `${stem}-${count}`;
    if (make(dir)) return runFolder(dir);
  }
}

/**
 * Finds the run that `--resume dir` continues, and writes nothing.
 *
 * Throws ConfigError where there is no run or no checkpoint or the folder cannot be written, DataError where its run.json is damaged.
 */
export function openRunFolder(dir: string): { folder: RunFolder; record: RunRecord } {
  const folder = runFolder(dir);
  const present = entriesOf(dir);
  if (!present) throw new ConfigError(`--resume ${dir}: no such folder. Give the folder of a run, such as runs/NAME.`);
  if (!present.includes(files.record)) {
    throw new ConfigError(`--resume ${dir}: holds no ${files.record}, so it is no run. Give the folder of a run.`);
  }
  const record = readRecord(folder.record);
  if (!existsSync(folder.checkpoint)) {
    throw new ConfigError(
      `--resume ${dir}: holds no ${files.checkpoint}: the run ended before its first one. Start it again with another --out, or empty the folder first.`,
    );
  }
  try {
    checkWritable(dir);
  } catch (error) {
    throw unwritable(`--resume ${dir}`, error, 'Make it writable, or continue a copy of it.');
  }
  return { folder, record };
}

/** Throws what the file system says where `dir` is no folder or takes no files. */
function checkWritable(dir: string): void {
  readdirSync(dir);
  accessSync(dir, constants.W_OK | constants.X_OK);
}

/** True where a folder was made, false where one was there. Throws ConfigError where neither. */
function make(dir: string): boolean {
  makeFolder(`--out ${dir}`, dirname(dir));
  try {
    mkdirSync(dir);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST' && entriesOf(dir)) return false;
    throw unwritable(`--out ${dir}`, error);
  }
}

function unwritable(what: string, error: unknown, mend = 'Choose another folder.'): ConfigError {
  const { code, message } = error as NodeJS.ErrnoException;
  const why = code === 'ENOTDIR' ? 'it is a file, or below one' : message;
  return new ConfigError(`${what}: cannot be written (${why}). ${mend}`);
}

/** Names in a folder; null where there is none. */
function entriesOf(dir: string): string[] | null {
  try {
    return readdirSync(dir);
  } catch {
    return null;
  }
}

function firstExisting(path: string): string {
  return existsSync(path) || dirname(path) === path ? path : firstExisting(dirname(path));
}

/** Local time that sorts as text and is a file name on every system: `20250131-140509`. */
function timestamp(now: Date): string {
  const two = (value: number): string => String(value).padStart(2, '0');
  const day = `${now.getFullYear()}${two(now.getMonth() + 1)}${two(now.getDate())}`;
  return `${day}-${two(now.getHours())}${two(now.getMinutes())}${two(now.getSeconds())}`;
}
