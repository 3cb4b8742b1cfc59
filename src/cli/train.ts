import { existsSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import { ConfigError } from '../core/errors.ts';
import { counted, inPercent } from '../core/words.ts';
import { type Dataset, loadDataset, type Origin } from '../data/dataset.ts';
import type { Gpu } from '../gpu/gpu.ts';
import { callOf, quoted } from '../train/call.ts';
import { type PretrainedRecord, pretrainedOrigins, pretrainedWidth } from '../train/pretrained.ts';
import { createProgress, type Progress } from '../train/progress.ts';
import { rate } from '../train/reportparts.ts';
import { Run, type RunOrigin } from '../train/run.ts';
import { checkOut, createRunFolder, openRunFolder, type RunFolder } from '../train/runfolder.ts';
import type { RunRecord, RunResult } from '../train/runrecord.ts';
import { openAdapter } from './adapter.ts';
import { checkStored, resolveDefaults, resumeOptions, type Situation } from './defaults.ts';
import { ofList, onInterrupt } from './interrupt.ts';
import { readOptions } from './option.ts';
import { TOYFACES, type TrainOptions, trainOptions } from './options.ts';
import { dawngradVersion, versions } from './version.ts';
import { lockFolder, type WorkLock } from './worklock.ts';

/** `dawngrad train`: trains a network and writes a run folder, or continues one. */
export async function train(given: Partial<TrainOptions>): Promise<void> {
  const calledMs = performance.now();
  const resumed = typeof given.resume === 'string' ? openRunFolder(given.resume) : null;
  if (!resumed) checkOut(given.out ?? null);
  if (resumed?.record.result?.status === 'finished') {
    const { dir, report } = resumed.folder;
    console.error(`--resume ${dir}: the run is finished; nothing is left to do. Report: ${report}`);
    return;
  }
  const recorded = resumed && recordedOptions(resumed);
  const lock = resumed && (await lockRun('--resume', resumed.folder.dir));

  const gpu = await openAdapter(given.adapter ?? recorded?.adapter);
  try {
    const situation = { software: gpu.adapter.software, data: given.data ?? TOYFACES };
    // Where CI says so, runs are to be the same on every machine.
    const forCi = process.env.CI ? { tune: false } : {};
    const options = recorded ? resumeOptions(recorded, given) : newOptions({ ...forCi, ...given }, situation);
    const result = await trainOn(gpu, options, resumed, calledMs);
    if (result.status === 'diverged') process.exitCode = 1;
  } finally {
    gpu.close();
    lock?.release();
  }
}

/** A run that is continued. */
interface Resumed {
  folder: RunFolder;
  record: RunRecord;
}

/**
 * The options that a run was started with. `data` becomes the recorded absolute path, so that a run can be resumed from any folder. If
 * nothing is there, but the path as it was given leads to something from here, that is taken: run and data were moved together.
 */
function recordedOptions({ folder, record }: Resumed): TrainOptions {
  const options = readOptions(trainOptions, record.options, folder.record);
  const { path } = record.data;
  const moved = path === null || (!existsSync(path) && existsSync(options.data));
  return moved ? options : { ...options, data: path };
}

async function trainOn(gpu: Gpu, options: TrainOptions, resumed: Resumed | null, calledMs: number): Promise<RunResult> {
  // A resumed run has been told already.
  const trainedOn = resumed ? [] : originsOfPretrained(options);
  const data = await loadFor(options, trainedOn);
  if (data.seen) warnOfSeen(data, trainedOn);
  if (resumed) checkSame(gpu, data.fingerprint, resumed.record);
  const origin: RunOrigin = {
    ...(resumed?.record ?? {
      commandLine: process.argv.slice(2),
      startedAt: new Date().toISOString(),
      options: { ...options },
      seed: options.seed,
      versions: versions(),
      adapter: adapterFacts(gpu),
    }),
    // For a resumed run this is unchanged, except for the path.
    data: {
      name: options.data === TOYFACES ? TOYFACES : basename(resolve(options.data)),
      path: options.data === TOYFACES ? null : resolve(options.data),
      classes: data.classes,
      counts: { train: data.train.count, valid: data.valid.count, test: data.test?.count ?? null },
      validName: data.validName,
      fingerprint: data.fingerprint,
    },
  };
  let progress: Progress | null = null;
  const interrupt = onInterrupt('Stopping before the next step, with a checkpoint.', () => progress);
  let lock: WorkLock | null = null;
  try {
    const run = new Run({
      gpu,
      calledMs,
      config: options,
      data,
      origin,
      openFolder: () => resumed?.folder ?? createRunFolder(options.out, options.arch),
      resume: resumed !== null,
      createProgress: (steps) => {
        progress = createProgress(process.stderr, steps);
        return progress;
      },
      interrupted: interrupt.requested,
    });
    // A run that is continued has its folder's lock already: its checkpoint is read under it.
    if (!resumed) lock = await lockRun('--out', run.folder.dir);
    if (run.pretrained && !resumed) console.error(startOf(run.pretrained, options));
    const { arch, width, head } = options;
    console.error(
      `${arch}, width ${width}, ${head} head: ${counted(run.trainer.model.parameterCount(), 'parameter')}; ${counted(run.trainer.totalSteps, 'step')} of ${counted(options.batch * options.accumulate, 'image')}`,
    );
    const result = await run.train();
    for (const line of epilogue(run.folder, result, options)) console.error(line);
    return result;
  } finally {
    interrupt.release();
    lock?.release();
  }
}

/** One process of a machine at a time trains in a folder. Throws ConfigError where another one does. */
const lockRun = (flag: string, dir: string): Promise<WorkLock> =>
  lockFolder(`${flag} ${dir}`, dir, (line) => console.error(line));

/**
 * The options of a new run: `resolveDefaults`, and the width of weights that a run has written, where it is one of `--width`. Throws
 * DataError where there are no weights.
 */
export function newOptions(given: Partial<TrainOptions>, situation: Situation): TrainOptions {
  const width = typeof given.pretrained === 'string' ? pretrainedWidth(given.pretrained) : null;
  return resolveDefaults(trainOptions.width.kind.has(width) ? { width, ...given } : given, situation);
}

/** What the weights that the options start from were trained on. Throws DataError, before any data are read, where there is no such file. */
export const originsOfPretrained = ({ pretrained }: TrainOptions): Origin[] =>
  pretrained === null ? [] : pretrainedOrigins(pretrained);

/** Loads the data that the options name, and says what it is. */
export async function loadFor(options: TrainOptions, trainedOn: readonly Origin[] = []): Promise<Dataset> {
  const { data: source, valid, seed, limit, store, channels, resume } = options;
  const data = await loadDataset({
    data: source,
    valid: valid ?? undefined,
    seed,
    limit: limit ?? undefined,
    store: store ?? undefined,
    channels,
    trainedOn,
  });
  // A run that is continued has what it was started with.
  if (resume === null) checkStored(store, data.train.side);
  console.error(
    `${data.name}: ${data.train.count} training images, ${data.valid.count} to validate (${data.validName}), ${data.classes.length} classes`,
  );
  return data;
}

/** Says so where images are to validate that the weights which the run starts from were trained on. */
function warnOfSeen({ valid, seen, origin }: Dataset, trainedOn: readonly Origin[]): void {
  const { trained = 0 } = seen?.valid ?? {};
  const [before, ...others] = trainedOn.filter(({ images }) => images === origin?.images);
  if (trained === 0 || !before) return;
  const { valid: share, seed, limit } = before;
  const flags = [share && `--valid ${quoted(share)}`, `--seed ${seed}`, limit && `--limit ${limit}`].filter(Boolean);
  // Where they were divided in several ways none keeps all of them apart.
  const mend = others.length === 0 ? ` ${flags.join(' ')} divides them as then.` : '';
  console.error(
    `Note: the weights of --pretrained were trained on ${trained} of the ${valid.count} images to validate: how it does on new ones is not seen here.${mend}`,
  );
}

/** What is said of the weights that a run starts from. */
function startOf({ name, tensors, head }: PretrainedRecord, { arch, freezeEpochs }: TrainOptions): string {
  const frozen = freezeEpochs === 1 ? 'the first epoch' : `the first ${freezeEpochs} epochs`;
  return `${name}: ${tensors} tensors of ${arch}, ${head === 'new' ? 'with a new head' : 'the head among them'}${freezeEpochs > 0 ? `; the body is frozen in ${frozen}` : ''}`;
}

/** What is printed at the end: how it went, and what to do next. */
function epilogue({ dir, report, model }: RunFolder, result: RunResult, options: TrainOptions): string[] {
  const lines: string[] = [];
  if (result.validAccuracy !== null) {
    lines.push(
      `Best: ${inPercent(result.validAccuracy, 2)} of the validation images right, in epoch ${result.bestEpoch}.`,
      `${Math.round(result.seconds)} s in all, trained at ${rate(result.imagesPerSecond)} images/s, ${(result.peakGpuBytes / 1e6).toFixed(0)} MB of GPU memory at most.`,
    );
  }
  if (result.status === 'stopped') lines.push(`Stopped; continue with: ${callOf('train', '--resume', quoted(dir))}`);
  if (result.status === 'diverged')
    lines.push(
      result.validAccuracy === null
        ? `No epoch was complete: ${model} holds the weights as they were before it.`
        : `The last good weights are in ${model}.`,
    );
  if (result.validAccuracy !== null) lines.push(`Report: ${report}`);
  if (result.status === 'finished' && options.data === TOYFACES && !ofList()) {
    lines.push(`Now with real faces, FER2013 from Kaggle: ${callOf('train', '--data fer2013.csv')}`);
  }
  return lines;
}

const adapterFacts = ({ adapter: { kind, name, driver, software, fingerprint, why } }: Gpu) => ({
  kind,
  name,
  driver,
  software,
  fingerprint,
  why,
});

/** A resumed run needs its data; on another adapter it goes on, but not bit by bit. */
function checkSame(gpu: Gpu, fingerprint: string, record: RunRecord): void {
  if (fingerprint !== record.data.fingerprint) {
    throw new ConfigError(
      `--resume: the data is not what the run was started with (${record.data.name}). Give its --data, unchanged.`,
    );
  }
  if (record.versions.dawngrad !== dawngradVersion) {
    console.error(
      `Note: the run was started by dawngrad ${record.versions.dawngrad}; by ${dawngradVersion} it continues, but not to the same bits.`,
    );
  }
  if (gpu.adapter.fingerprint !== record.adapter.fingerprint) {
    console.error(
      `Note: the run was started on ${record.adapter.name}; on another adapter it continues, but not to the same bits.`,
    );
  }
}
