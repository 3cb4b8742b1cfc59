import { ConfigError } from '../core/errors.ts';
import { counted, listOf } from '../core/words.ts';
import { hasPool, headsOf } from '../models/names.ts';
import type { ModelOptions } from '../models/options.ts';
import { flagOf, type Table, withDefaults } from './option.ts';
import {
  type ColorizeOptions,
  type ExperimentsOptions,
  type PredictOptions,
  TOYFACES,
  type TrainOptions,
  trainOptions,
} from './options.ts';

/** What the defaults depend on beside the options themselves. */
export interface Situation {
  /** The adapter computes on the CPU. */
  software: boolean;
  /** `toyfaces`, or the path of the data. */
  data: string;
}

export interface Preset {
  /** When it holds, in words that follow the value in `--help`; empty where that needs no mention. */
  readonly label: string;
  readonly holds: (options: TrainOptions, situation: Situation) => boolean;
  readonly values: Partial<TrainOptions>;
}

const PRETRAINED = 'with --pretrained';
const ONE_CYCLE = 'one-cycle';

const hasHead = (arch: string, head: ModelOptions['head']): boolean => headsOf(arch).includes(head);

/**
 * Defaults other than the table's, each where it holds; later rows win over earlier ones, and see what those decided.
 *
 * On a software adapter a step costs about a thousand times more: there the network is narrower. There and in the first run,
 * which is short everywhere, it uses what learns fastest in few steps: behind the vgg head, whose weights begin at N(0, 0.01),
 * the loss stands still for the first dozens of steps, the longer the narrower the network is. A row yields to an option that would
 * make no sense with it (`--pool`, `--nesterov`). Weights that are given are fine-tuned as fast.ai does it, in
 * torchvision's width where their file names none.
 */
export const presets: readonly Preset[] = [
  { label: 'with a ResNet', holds: ({ arch }) => hasHead(arch, 'linear'), values: { head: 'linear' } },
  { label: 'with fer_vgg', holds: ({ arch }) => arch === 'fer_vgg', values: { dropout: 0.2 } },
  { label: `with ${TOYFACES}`, holds: (_, { data }) => data === TOYFACES, values: { epochs: 20, augment: 'flip' } },
  { label: 'on a software adapter', holds: (_, { software }) => software, values: { width: 0.25 } },
  {
    label: `with ${TOYFACES} on a software adapter`,
    holds: (_, { software, data }) => software && data === TOYFACES,
    values: { width: 0.125, epochs: 7, batch: 16 },
  },
  {
    label: `with ${TOYFACES} or on a software adapter`,
    holds: ({ arch, pool }, { software, data }) =>
      (software || data === TOYFACES) && pool === null && hasHead(arch, 'fastai'),
    values: { head: 'fastai' },
  },
  {
    label: `with ${TOYFACES} or on a software adapter`,
    holds: ({ nesterov }, { software, data }) => (software || data === TOYFACES) && !nesterov,
    values: { optimizer: 'adamw' },
  },
  {
    label: PRETRAINED,
    holds: ({ pretrained, arch, pool }) => pretrained !== null && pool === null && hasHead(arch, 'fastai'),
    values: { head: 'fastai' },
  },
  {
    label: PRETRAINED,
    holds: ({ pretrained, nesterov }) => pretrained !== null && !nesterov,
    values: { optimizer: 'fastai-adam' },
  },
  {
    label: PRETRAINED,
    holds: ({ pretrained }) => pretrained !== null,
    values: { lrMult: 100, decay: 'weights' },
  },
  {
    label: `${PRETRAINED} of torchvision`,
    holds: ({ pretrained }) => pretrained !== null,
    values: { width: 1 },
  },
  {
    label: `${PRETRAINED} and ${ONE_CYCLE}`,
    holds: ({ pretrained, schedule }) => pretrained !== null && schedule === ONE_CYCLE,
    values: { freezeEpochs: 1 },
  },
  {
    label: 'with another optimizer than sgd',
    holds: ({ optimizer }) => optimizer !== 'sgd',
    values: { lr: 2e-3 },
  },
  {
    label: `with ${TOYFACES} and adamw`,
    holds: ({ optimizer }, { data }) => data === TOYFACES && optimizer === 'adamw',
    values: { dropout: 0.1 },
  },
  {
    label: `with ${TOYFACES} on a software adapter`,
    holds: ({ optimizer }, { software, data }) => software && data === TOYFACES && optimizer === 'adamw',
    values: { lr: 4e-3 },
  },
  {
    label: 'with adamw or fastai-adam',
    holds: ({ optimizer }) => optimizer === 'adamw' || optimizer === 'fastai-adam',
    values: { weightDecay: 0.01 },
  },
  { label: 'with fastai-adam', holds: ({ optimizer }) => optimizer === 'fastai-adam', values: { decay: 'weights' } },
  { label: `with ${ONE_CYCLE}`, holds: ({ schedule }) => schedule === ONE_CYCLE, values: { momentum: 0.95 } },
  { label: '', holds: ({ arch, head, pool }) => hasPool(arch) && head === 'vgg' && pool === null, values: { pool: 1 } },
  { label: '', holds: ({ head }) => head === 'linear', values: { dropout: 0 } },
];

/** Those of a sweep, which is a schedule of its own. */
export const sweepPresets = presets.filter(({ label }) => !label.endsWith(ONE_CYCLE));

/**
 * The options of a new run: what the user gave, then the presets that hold, then the table.
 *
 * Pure; what was given is never changed. Throws ConfigError where two options contradict each other.
 */
export function resolveDefaults(given: Partial<TrainOptions>, situation: Situation): TrainOptions {
  let options: TrainOptions = withDefaults(trainOptions, given);
  for (const { holds, values } of presets) {
    if (holds(options, situation)) options = { ...options, ...values, ...given };
  }
  checkContradictions(options);
  return options;
}

/**
 * The options of a run that is continued: those it was started with, and of those given the ones that leave it the same run.
 *
 * `recorded` is what run.json says; its limit of time was used up, and does not come again. Throws ConfigError where a given option
 * would change the run.
 */
export function resumeOptions(recorded: TrainOptions, given: Partial<TrainOptions>): TrainOptions {
  checkGiven(given);
  return { ...recorded, maxMinutes: null, ...given };
}

/** What contradicts what; every rule is silent about options that are not there. */
const contradictions: readonly ((options: Partial<TrainOptions>) => string | false)[] = [
  ({ head, pool }) =>
    head === 'fastai' &&
    typeof pool === 'number' &&
    '--pool is for --head vgg; the fastai head pools to 1×1. Leave out one of the two.',
  ({ arch, pool }) =>
    arch !== undefined &&
    typeof pool === 'number' &&
    !hasPool(arch) &&
    `--pool is for the vgg head of the VGGs; ${arch} has none such. Leave out one of the two.`,
  ({ arch, head }) =>
    arch !== undefined &&
    head !== undefined &&
    !hasHead(arch, head) &&
    `--head ${head} is no head of ${arch}. Choose ${listOf([...headsOf(arch)], 'or')}.`,
  ({ head, dropout = 0 }) =>
    head === 'linear' &&
    dropout > 0 &&
    `--dropout ${dropout} is for a head with hidden layers, and linear has none. Leave it out or give 0, or choose --head fastai.`,
  ({ nesterov, optimizer }) =>
    nesterov === true &&
    optimizer !== undefined &&
    optimizer !== 'sgd' &&
    `--nesterov is for --optimizer sgd, not ${optimizer}. Leave out one of the two.`,
  ({ nesterov, momentum }) =>
    nesterov === true && momentum === 0 && '--nesterov needs a momentum above 0. Leave out --momentum 0.',
  ({ freezeEpochs = 0, schedule }) =>
    freezeEpochs > 0 &&
    schedule !== undefined &&
    schedule !== ONE_CYCLE &&
    `--freeze-epochs ${freezeEpochs} is for --schedule one-cycle, of which both its phases are. Leave out one of the two.`,
  ({ freezeEpochs = 0, pretrained }) =>
    freezeEpochs > 0 &&
    pretrained === null &&
    `--freeze-epochs ${freezeEpochs} needs --pretrained FILE: frozen layers would keep weights drawn at random.`,
  ({ warmup, schedule }) =>
    warmup !== undefined &&
    warmup > 0 &&
    schedule === ONE_CYCLE &&
    '--warmup is for other schedules; one-cycle has its own. Leave it out or choose another --schedule.',
  ({ warmup, epochs }) =>
    warmup !== undefined &&
    epochs !== undefined &&
    warmup >= epochs &&
    warmup > 0 &&
    `--warmup ${warmup} leaves nothing of ${counted(epochs, 'epoch')}. Choose less than ${epochs}.`,
];

function checkContradictions(options: Partial<TrainOptions>): void {
  for (const contradiction of contradictions) {
    const message = contradiction(options);
    if (message) throw new ConfigError(message);
  }
}

/**
 * Checks what a user gave, before anything is opened; defaults are not known yet, and what is not there contradicts nothing.
 *
 * Throws ConfigError where two options contradict each other, and where one would change the run that `--resume` continues.
 */
export function checkGiven(given: Partial<TrainOptions>): void {
  checkContradictions(given);
  if (typeof given.resume !== 'string') return;
  const table: Table = trainOptions;
  const changing = Object.keys(given).filter((key) => !table[key]!.resumable);
  if (changing.length === 0) return;
  const flags = changing.map((key) => flagOf(key, table[key]!));
  throw new ConfigError(
    `--resume ${given.resume} continues a run with the options it was started with. ` +
      `Leave out ${listOf(flags, 'and')}, or start a new run without --resume.`,
  );
}

/**
 * Checks what was given as --store against the side that the images of a data set have: only a folder's are stored at another than
 * their own. Throws ConfigError.
 */
export function checkStored(store: number | null, side: number): void {
  if (store === null || store === side) return;
  throw new ConfigError(
    `--store ${store} is for folders of images; these images have ${side} px a side. Leave it out.`,
  );
}

/** Checks what was given to `predict`. Throws ConfigError. */
export function checkPredict({ cam, camMaps }: Partial<PredictOptions>): void {
  if (typeof camMaps === 'number' && typeof cam !== 'string')
    throw new ConfigError(`predict: --cam-maps ${camMaps} is for --cam DIR. Give that too, or leave it out.`);
}

/** Checks what was given to `experiments`: one file. Throws ConfigError. */
export function checkExperiments({ files = [] }: Partial<ExperimentsOptions>): void {
  if (files.length > 1)
    throw new ConfigError(
      `experiments: unexpected argument '${files[1]}'. It takes one file; lists are run one by one.`,
    );
}

/** Checks what was given to `colorize`: it either trains or colours. Throws ConfigError. */
export function checkColorize({ train, paths = [], ...rest }: Partial<ColorizeOptions>): void {
  const trained = ['size', 'width', 'epochs', 'batch', 'lr', 'seed', 'limit'] as const;
  const { size } = rest;
  if (size !== undefined && size % 4 !== 0)
    throw new ConfigError(`--size ${size}: the colouriser halves images twice. Use ${4 * Math.round(size / 4)}.`);
  if (typeof train === 'string') {
    if (paths.length > 0)
      throw new ConfigError(`colorize: --train learns from ${train} and colours nothing. Leave out ${paths[0]}.`);
    return;
  }
  if (paths.length !== 2)
    throw new ConfigError('colorize: expected --model FILE IN OUT, or --model FILE --train FOLDER to make one.');
  const idle = trained.find((key) => rest[key] !== undefined);
  if (idle) throw new ConfigError(`colorize: --${idle} is for --train FOLDER. Leave it out.`);
}
