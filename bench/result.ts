import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { checkFile } from '../src/cli/outputs.ts';
import { ConfigError, DataError } from '../src/core/errors.ts';
import { writeFileAtomic } from '../src/data/atomic.ts';
import type { Ceilings } from './ceilings.ts';
import type { HostResult } from './host.ts';
import type { StepResult } from './step.ts';

/** A case that was measured. */
export interface CaseResult {
  name: string;
  shape: string;
  /** The variant of the matrix kernels that computed it, where one did. */
  variant?: string;
  /** Median of one run. */
  ms: number;
  /** Half the distance between the quartiles, as a share of the median. */
  spread: number;
  repeats: number;
  /** Rate in what the ceilings say limits it: one of the two. */
  gflops?: number;
  gbps?: number;
  /** The least time that its arithmetic and bytes allow on this adapter, over the time it took. */
  share: number;
}

/** A case whose kernel computes something else; it was not timed. */
export interface WrongCase {
  name: string;
  shape: string;
  wrong: string;
}

/** A run of the benchmark: what `--json` writes. */
export interface BenchResult {
  adapter: { kind: string; name: string; driver: string; fingerprint: string; why: string };
  flags: string;
  date: string;
  versions: { dawngrad: string; node: string; webgpu: string };
  /** `load` is the mean number of processes that wanted a core in the minute before. */
  machine: { platform: string; cpu: string; cores: number; load: number };
  /** What was left out: `--quick` and `--filter`. */
  quick: boolean;
  filter: string | null;
  ceilings: Ceilings | null;
  step: StepResult | null;
  cases: (CaseResult | WrongCase)[];
  host: HostResult | null;
}

/** JSON with six digits of each number: more would be noise. */
export const toJson = (result: object): string =>
  `${JSON.stringify(
    result,
    (_, value) =>
      typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(6)) : (value as unknown),
    2,
  )}\n`;

/** Refuses, before anything is measured, a file that no results could be written to. Throws ConfigError. */
export function checkJson(json: string): void {
  if (!existsSync(dirname(json)))
    throw new ConfigError(`--json ${json}: there is no folder ${dirname(json)}. Create it first.`);
  if (!isOpenEnded(json)) checkFile(`--json ${json}`, json);
}

/** Writes results, whole or not at all where the path is that of a file. */
export function writeJson(json: string, text: string): void {
  if (isOpenEnded(json)) writeFileSync(json, text);
  else writeFileAtomic(json, text);
}

/** True for pipes, terminals and the like, such as /dev/stdout. */
function isOpenEnded(path: string): boolean {
  const stats = statSync(path, { throwIfNoEntry: false });
  return stats !== undefined && !stats.isFile() && !stats.isDirectory();
}

/** Reads what `toJson` wrote. Throws DataError when the file is something else. */
export function readResult(path: string): BenchResult {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new DataError(
      `${path}: cannot be read (${(error as NodeJS.ErrnoException).code}). Write one with --json FILE.`,
    );
  }
  try {
    const result = JSON.parse(text) as BenchResult;
    if (isComparable(result)) return result;
  } catch {
    // Said below.
  }
  throw new DataError(`${path}: is no result of this benchmark. Write one with --json FILE.`);
}

/** True for what has all that a comparison takes from it. Throws where it is not even an object. */
function isComparable(result: BenchResult): boolean {
  const { adapter, date, cases } = result;
  if (typeof adapter.fingerprint !== 'string' || typeof date !== 'string' || !Array.isArray(cases)) return false;
  return [...timesOf(result)].every(
    ([name, { shape, ms }]) => [name, shape].every((word) => typeof word === 'string') && Number.isFinite(ms),
  );
}

/** Everything in a run that has a time that can be compared, by name: not the first step's, which has tuned or not. */
export function timesOf({ step, cases, host }: BenchResult): Map<string, { shape: string; ms: number }> {
  const times = new Map<string, { shape: string; ms: number }>();
  if (step) {
    times.set('training step', { shape: step.name, ms: step.ms });
    times.set('evaluation step', { shape: step.name, ms: step.evaluationMsPerImage * step.batch });
  }
  for (const entry of cases) if ('ms' in entry) times.set(entry.name, entry);
  if (host) {
    times.set('host step', { shape: 'null backend', ms: host.msPerStep });
    // Results from before steps were repeated do not have it.
    if (host.msPerRepeatedStep) times.set('host step, repeated', { shape: 'null backend', ms: host.msPerRepeatedStep });
  }
  return times;
}
