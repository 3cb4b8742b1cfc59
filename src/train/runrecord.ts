import { readFileSync } from 'node:fs';
import { DataError } from '../core/errors.ts';
import { isRecord, parseJson } from '../core/json.ts';
import { isSeed } from '../core/random.ts';
import { writeFileAtomic } from '../data/atomic.ts';
import type { Adapter } from '../gpu/gpu.ts';
import type { PretrainedRecord } from './pretrained.ts';

/** Which reader understands a run.json; raised when a field changes its meaning or goes away. */
const VERSION = 1;

/** The adapter of a run. */
export type AdapterRecord = Pick<Adapter, 'kind' | 'name' | 'driver' | 'software' | 'fingerprint' | 'why'>;

/** What run.json holds: all that it takes to say what a run was, and to continue it. */
export interface RunRecord {
  version: typeof VERSION;
  /** The command line, the program's name and Node's not included. */
  commandLine: string[];
  /** When the run was started, ISO 8601 in UTC. */
  startedAt: string;
  /** Every option with its value, defaults included, by the names of the table of options. */
  options: Record<string, unknown>;
  seed: number;
  versions: { dawngrad: string; node: string; webgpu: string };
  /** Bits are promised for the same adapter, driver and plan only. */
  adapter: AdapterRecord;
  /** The variant that computes each matrix product and convolution, by operation and shape; obeyed on resume. */
  kernelPlan: Record<string, string>;
  data: DataRecord;
  model: ModelRecord;
  /** The weights it started from; null where it drew its own. Absent in records of versions that could not. */
  pretrained?: PretrainedRecord | null;
  /** null until the run has ended, cleanly or not. */
  result: RunResult | null;
}

/** The data set of a run. */
export interface DataRecord {
  /** `toyfaces`, or the base name of the file or folder. */
  name: string;
  /** Absolute; null for what the program draws itself. */
  path: string | null;
  classes: string[];
  /** Images in each split; null where there is no such split. */
  counts: { train: number; valid: number; test: number | null };
  /** What validated, in words. */
  validName: string;
  /** Hash of what was read: another set is noticed on resume. */
  fingerprint: string;
}

/** The network of a run. */
export interface ModelRecord {
  arch: string;
  width: number;
  head: string;
  pool: number | null;
  channels: number;
  /** Side of the input in pixels. */
  size: number;
  /** Trainable numbers. */
  parameters: number;
}

/** How a run ended. Accuracies are fractions. */
export interface RunResult {
  /** `diverged` kept the last good weights; `stopped` by --max-minutes or Ctrl-C can be resumed. */
  status: 'finished' | 'stopped' | 'diverged';
  /** Only where a `finished` run ended before its last epoch, for --patience. */
  stoppedEarly?: true;
  /** Complete epochs, and steps in all. */
  epochs: number;
  steps: number;
  /** The epoch whose weights are in model.safetensors; null where none was complete. */
  bestEpoch: number | null;
  validLoss: number | null;
  validAccuracy: number | null;
  /** Training and validation, of all parts of a resumed run. */
  seconds: number;
  /** Of training alone. */
  imagesPerSecond: number;
  peakGpuBytes: number;
  /** With f16: the loss scale at the end, and the updates that were left out for an overflow. */
  lossScale?: { scale: number; skippedUpdates: number };
}

/** Writes run.json, whole or not at all. Throws what the file system throws. */
export function writeRecord(path: string, record: Omit<RunRecord, 'version'>): void {
  writeFileAtomic(path, `${JSON.stringify({ version: VERSION, ...record }, null, 2)}\n`);
}

const expected: Readonly<Record<keyof RunRecord, (value: unknown) => boolean>> = {
  version: (value) => value === VERSION,
  commandLine: Array.isArray,
  startedAt: (value) => typeof value === 'string',
  options: isRecord,
  seed: isSeed,
  versions: isRecord,
  adapter: isRecord,
  kernelPlan: isRecord,
  data: isRecord,
  model: isRecord,
  pretrained: (value) => value === undefined || value === null || isRecord(value),
  result: (value) => value === null || isRecord(value),
};

/** The mend of a damaged record. */
const ANEW = 'Restore the file, or start the run again in another folder.';

/** Reads run.json. Throws DataError where it is not there, broken, of another program, or of a later version. */
export function readRecord(path: string): RunRecord {
  let json: unknown;
  try {
    json = parseJson(readFileSync(path, 'utf8'));
  } catch (error) {
    const { message } = error as Error;
    if (error instanceof SyntaxError)
      throw new DataError(`${path}: is no JSON, so it is truncated or damaged (${message}). ${ANEW}`);
    throw new DataError(`${path}: cannot be read (${message}). Check that it is there and may be read.`);
  }
  if (!isRecord(json) || !('version' in json)) {
    throw new DataError(`${path}: was not written by dawngrad. Choose the folder of a run.`);
  }
  if (typeof json.version === 'number' && json.version > VERSION) {
    throw new DataError(`${path}: version ${json.version}; this dawngrad reads ${VERSION}. Use the one that wrote it.`);
  }
  const record = json;
  const wrong = Object.entries(expected).find(([key, holds]) => !holds(record[key]));
  if (wrong) {
    const [key] = wrong;
    throw new DataError(`${path}: ${key} is ${key in record ? 'not what it should be' : 'missing'}. ${ANEW}`);
  }
  return json as unknown as RunRecord;
}
