import { existsSync, readFileSync, rmSync } from 'node:fs';
import { basename, dirname, join, normalize } from 'node:path';
import { ConfigError, isUserError } from '../core/errors.ts';
import type { ComparedRun } from '../train/comparison.ts';
import { type EpochRow, parseMetricsCsv } from '../train/metrics.ts';
import { checkOut, runFolder } from '../train/runfolder.ts';
import { type RunRecord, readRecord } from '../train/runrecord.ts';
import { command } from './command.ts';
import type { Experiment } from './experimentfile.ts';
import * as manuals from './manuals.ts';
import { argumentsOf, flagOf, type Table } from './option.ts';
import { type TrainOptions, trainOptions } from './options.ts';
import { readCommandLine } from './usage.ts';

/** How far an experiment is, as its folder says. */
export type State =
  /** `remains`: of a run that was killed before its first checkpoint. */
  | { kind: 'new'; remains: boolean }
  /** There is a checkpoint. */
  | { kind: 'begun'; record: RunRecord }
  /** Trained to its end, which may be a divergence: the same options would diverge again. */
  | { kind: 'done'; record: RunRecord };

const table: Table = trainOptions;

/**
 * Finds out how far an experiment is, and writes nothing. Throws ConfigError where its folder holds another run, or something that
 * is none, and DataError where its run.json is damaged.
 */
export function stateOf(experiment: Experiment, out: string, file: string): State {
  const folder = runFolder(join(out, experiment.name));
  if (!existsSync(folder.record)) {
    checkOut(folder.dir);
    return { kind: 'new', remains: false };
  }
  const record = readRecord(folder.record);
  checkSameOptions(experiment, record, folder.dir, file);
  if (record.result?.status === 'finished' || record.result?.status === 'diverged') return { kind: 'done', record };
  return existsSync(folder.checkpoint) ? { kind: 'begun', record } : { kind: 'new', remains: true };
}

/** Takes away what a run that was killed before its first checkpoint has left: it has learned nothing. */
export function clearRemains(dir: string): void {
  const { record, last } = runFolder(dir);
  rmSync(last, { recursive: true, force: true });
  rmSync(record, { force: true });
}

/** A run that was started with other options is another experiment. */
function checkSameOptions(experiment: Experiment, { commandLine }: RunRecord, dir: string, file: string): void {
  const mend = `Give another --out, or take ${dir} away.`;
  const before = givenBy(commandLine);
  if (!before) throw new ConfigError(`${dir}: was not trained by this version's train. ${mend}`);
  const { name, from } = experiment;
  const now = comparable(experiment.given);
  const then = comparable(before);
  const key = [...new Set([...Object.keys(now), ...Object.keys(then)])].find(
    (key) => !same(key, now[key], then[key], from !== null),
  );
  if (key === undefined) return;
  const says = (value: unknown) =>
    value === undefined ? `no ${flagOf(key, table[key]!)}` : argumentsOf(table, { [key]: value }).join(' ');
  throw new ConfigError(
    `${file}: experiment '${name}' has ${says(now[key])}, but ${dir} was trained with ${says(then[key])}. ${mend}`,
  );
}

/**
 * What a run was given, as its command line says, and the adapter that the environment names, which is not compared; null where that is
 * no command line of `train`.
 */
function givenBy(commandLine: readonly string[]): Partial<TrainOptions> | null {
  try {
    const call = readCommandLine(commandLine, [command(manuals.train, async () => {})], '');
    return (call?.given as Partial<TrainOptions> | undefined) ?? null;
  } catch {
    return null;
  }
}

/** What decides on a run's numbers: not where it is computed, where it lies and how often it is saved. */
function comparable(given: Partial<TrainOptions>): Record<string, unknown> {
  const kept = (key: string) => key === 'data' || !(table[key]!.resumable || key === 'out');
  const toggledOff = (key: string, value: unknown) => value === null || value === table[key]!.initial;
  return Object.fromEntries(
    Object.entries(given).filter(
      ([key, value]) =>
        kept(key) && !(table[key]!.kind.placeholder === null && toggledOff(key, value)) && value !== null,
    ),
  );
}

function same(key: string, a: unknown, b: unknown, startsFrom: boolean): boolean {
  const { placeholder } = table[key]!.kind;
  if ((placeholder === 'PATH' || placeholder === 'FILE') && typeof a === 'string' && typeof b === 'string') {
    // Weights of another experiment are beside this one, wherever both are.
    const tail = (path: string) => join(basename(dirname(path)), basename(path));
    return normalize(a) === normalize(b) || (startsFrom && key !== 'data' && tail(a) === tail(b));
  }
  return JSON.stringify(a) === JSON.stringify(b);
}

/** What there is to compare of an experiment; `status` where its folder does not say. */
export function compared({ name, reference, note }: Experiment, out: string, status: string): ComparedRun {
  const folder = runFolder(join(out, name));
  const row: ComparedRun = {
    ...{ name, status, best: null, bestEpoch: null, last: null, epochs: null },
    ...{ imagesPerSecond: null, seconds: null, parameters: null, reference, note },
  };
  let record: RunRecord;
  let rows: EpochRow[];
  try {
    if (!existsSync(folder.record)) return row;
    record = readRecord(folder.record);
    rows = existsSync(folder.metrics) ? parseMetricsCsv(readFileSync(folder.metrics, 'utf8'), folder.metrics) : [];
  } catch (error) {
    // The others are compared all the same.
    if (isUserError(error)) return { ...row, status: 'damaged' };
    throw error;
  }
  const { result, model } = record;
  const best = rows.reduce((a, b) => Math.max(a, b.validAccuracy), Number.NEGATIVE_INFINITY);
  const early = result?.stoppedEarly ? 'stopped early' : result?.status;
  return {
    ...row,
    status: result?.status === 'finished' || result?.status === 'diverged' ? early! : status,
    best: rows.length > 0 ? best : null,
    bestEpoch: rows.find(({ validAccuracy }) => validAccuracy === best)?.epoch ?? null,
    last: rows.at(-1)?.validAccuracy ?? null,
    epochs: rows.length,
    imagesPerSecond: result?.imagesPerSecond || null, // 0 before there was an epoch
    seconds: result?.seconds ?? null,
    parameters: model.parameters,
  };
}
