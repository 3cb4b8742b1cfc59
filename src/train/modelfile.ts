import { ConfigError, DataError } from '../core/errors.ts';
import { isSeed } from '../core/random.ts';
import { AUGMENTATIONS, type AugmentationName } from '../data/augment.ts';
import type { Normalisation } from '../data/batches.ts';
import type { Origin } from '../data/dataset.ts';
import { createModel, MODEL_NAMES, type ModelOptions, type ModelSettings, type Network } from '../models/index.ts';
import { completed } from '../models/names.ts';
import { type Module, readState, unfilled, writeState } from '../nn/index.ts';
import { type FileTensor, readSafetensors, toF32, writeSafetensors } from './safetensors.ts';

/** What a model file says beside its tensors: enough to build the network and feed it. */
export interface ModelFacts {
  arch: string;
  options: ModelOptions;
  classes: string[];
  /** Of x/255, for each input channel; one number each where all have the same. */
  normalisation: Normalisation;
  /** Side that images were stored at before the GPU resized them. Default: the input's. */
  storedSide?: number;
  /** 1 where the network was trained on gray images: what it is shown is made gray too. Default: the input's channels. */
  storedChannels?: 1 | 3;
  /**
   * What the training images went through: it says what the network is shown of an image that is not augmented, and what
   * test-time augmentation draws. Default: none.
   */
  augment?: AugmentationName;
  /** `origin` of the data set that it was trained on. Default null: `evaluate` then takes all images for new ones. */
  trainedOn?: Origin | null;
  /** Those of the sets that the weights were trained on from which it started, the latest first. Default none. */
  startedFrom?: readonly Origin[];
  /**
   * Seeds of the order, augmentation and dropout in its training and those of the weights that it started from, the latest first.
   * Default: its seed.
   */
  draws?: readonly number[];
}

/** A model file before its network is built; reading one needs no GPU. */
export interface ModelFile {
  path: string;
  facts: Required<ModelFacts>;
  tensors: ReadonlyMap<string, FileTensor>;
}

const MEND = 'Give the model.safetensors of a run.';
const RUNNING_MEAN = /running_mean$/;

/**
 * A network's state as file tensors, named and laid out as torchvision's state_dict. `batches` becomes the `num_batches_tracked`
 * that PyTorch keeps with each batch norm: how many it was trained on.
 */
export async function stateTensors(model: Module, batches = 0): Promise<Map<string, FileTensor>> {
  const tensors = new Map<string, FileTensor>();
  for (const [name, { shape, data }] of await readState(model)) {
    tensors.set(name, { dtype: 'F32', shape: [...shape], data });
    if (RUNNING_MEAN.test(name)) {
      const counter = name.replace(RUNNING_MEAN, 'num_batches_tracked');
      tensors.set(counter, { dtype: 'I64', shape: [], data: BigInt64Array.of(BigInt(batches)) });
    }
  }
  return tensors;
}

/** Puts file tensors into a network; throws DataError as `writeState` does, whose message `mend` ends. */
export function loadTensors(
  model: Module,
  tensors: ReadonlyMap<string, FileTensor>,
  source: string,
  mend?: string,
): void {
  const floats = new Map<string, { shape: number[]; data: Float32Array }>();
  for (const [name, tensor] of tensors) {
    if (!name.endsWith('num_batches_tracked')) floats.set(name, { shape: tensor.shape, data: toF32(tensor) });
  }
  writeState(model, floats, source, mend);
}

/**
 * Writes `model.safetensors`: weights that PyTorch loads, and in the metadata what dawngrad needs to use them; `options` are those that
 * `createModel` was given. Throws ConfigError for a network that it does not know, and for facts that no reader would take.
 */
export async function saveModel(
  path: string,
  model: Module,
  given: Omit<ModelFacts, 'options'> & { options: ModelSettings },
  batches: number,
): Promise<void> {
  if (!MODEL_NAMES.includes(given.arch)) {
    throw new ConfigError(
      `saveModel: no network is called '${given.arch}'; there are ${MODEL_NAMES.join(', ')}. Save one of your own by writeSafetensors(path, await stateTensors(model)).`,
    );
  }
  const facts = { ...given, options: completed(given.arch, given.options) };
  const wrong = wrongFact(facts);
  if (wrong) throw new ConfigError(`saveModel: the facts have no valid ${wrong}, and no such file could be read.`);
  const metadata = { format: 'pt', dawngrad: JSON.stringify(facts) };
  writeSafetensors(path, await stateTensors(model, batches), metadata);
}

/** Reads a model file. Throws DataError when it is not one of ours, or damaged. */
export function readModelFile(path: string): ModelFile {
  const { tensors, metadata } = readSafetensors(path);
  const facts = parseFacts(metadata.dawngrad, path);
  checkFinite(tensors, path);
  return { path, facts, tensors };
}

/** Throws DataError for the first tensor with a value that is infinite or no number: no network computes with such weights. */
export function checkFinite(tensors: ReadonlyMap<string, FileTensor>, path: string): void {
  for (const [name, tensor] of tensors) {
    if (tensor.data instanceof BigInt64Array) continue;
    const values = toF32(tensor);
    for (let i = 0; i < values.length; i++) {
      if (Number.isFinite(values[i])) continue;
      throw new DataError(
        `${path}: value ${i + 1} of tensor '${name}' is ${values[i]}. The file is damaged, or was written by a run that diverged. Give another.`,
      );
    }
  }
}

/**
 * Builds the network of a model file on the open GPU, in evaluation mode. Throws DataError when there is none of its options, or its
 * tensors do not fit it.
 */
export function buildModel({ path, facts, tensors }: ModelFile): Network {
  const model = unfilled(() => networkOf(facts, path)).eval();
  loadTensors(model, tensors, path, MEND);
  return model;
}

/** Each option may be valid and all of them together no network: the file is named, for the user gave no such option. */
function networkOf({ arch, options }: ModelFacts, path: string): Network {
  try {
    return createModel(arch, options);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new DataError(`${path}: its metadata describes no network (${error.message.replace(/\.$/, '')}). ${MEND}`);
  }
}

/** Reads a model file and builds its network, in evaluation mode. Throws DataError as the two above do. */
export function loadModel(path: string): { model: Network; facts: Required<ModelFacts> } {
  const file = readModelFile(path);
  return { model: buildModel(file), facts: file.facts };
}

type Check = (value: unknown) => boolean;

/** The upper ends are far beyond what trains: a damaged size must not take the machine's memory. */
const whole =
  (most: number): Check =>
  (value) =>
    Number.isInteger(value) && (value as number) >= 1 && (value as number) <= most;
const above0: Check = (value) => Number.isFinite(value) && (value as number) > 0;
const oneOf =
  (...values: unknown[]): Check =>
  (value) =>
    values.includes(value);

const optionChecks: Readonly<Record<keyof ModelOptions, Check>> = {
  classes: whole(256),
  channels: oneOf(1, 3),
  size: whole(4096),
  width: (value) => above0(value) && (value as number) <= 16,
  head: oneOf('vgg', 'linear', 'fastai'),
  pool: whole(64),
  dropout: (value) =>
    value === undefined || (Number.isFinite(value) && (value as number) >= 0 && (value as number) < 1),
  // No weights depend on it any more, and files of earlier versions have others.
  seed: Number.isInteger,
};

const isOrigin = ({ images, valid, seed, limit }: Partial<Origin>): boolean =>
  typeof images === 'string' &&
  (valid === undefined || typeof valid === 'string') &&
  isSeed(seed) &&
  (limit === undefined || whole(Number.MAX_SAFE_INTEGER)(limit));

/** The sets that a network was trained on, the latest first. */
export const originsOf = ({ trainedOn, startedFrom = [] }: ModelFacts): Origin[] =>
  trainedOn ? [trainedOn, ...startedFrom] : [...startedFrom];

/** Reads what a model file says beside its tensors. Throws DataError where that is no network of ours. */
export function parseFacts(text: string | undefined, path: string): Required<ModelFacts> {
  if (!text) throw new DataError(`${path}: its metadata does not say which network it is. ${MEND}`);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new DataError(`${path}: its metadata 'dawngrad' is not JSON. ${MEND}`);
  }
  const facts = (json && typeof json === 'object' ? json : {}) as Partial<ModelFacts>;
  if (typeof facts.arch === 'string' && !MODEL_NAMES.includes(facts.arch)) {
    throw new DataError(
      `${path}: holds a '${facts.arch}'; this version knows ${MODEL_NAMES.join(', ')}. Use the version that wrote it.`,
    );
  }
  const wrong = wrongFact(facts);
  if (wrong) throw new DataError(`${path}: its metadata has no valid ${wrong}. ${MEND}`);
  return withDefaults(facts as ModelFacts);
}

const withDefaults = (facts: ModelFacts): Required<ModelFacts> => {
  const { size, channels, seed } = facts.options;
  const unseen = { trainedOn: null, startedFrom: [], draws: [seed] };
  return { storedSide: size, storedChannels: channels, augment: 'none', ...unseen, ...facts };
};

/** The first of the facts that is none; null where all are. */
function wrongFact(facts: Partial<ModelFacts>): string | null {
  const { classes, normalisation, options } = facts;
  const { size, channels } = options ?? {};
  const { storedSide = size, storedChannels = channels, augment = 'none', trainedOn = null, startedFrom = [] } = facts;
  const { draws = [] } = facts;
  const numbers = (values: unknown, check: Check) =>
    Array.isArray(values) && [1, channels].includes(values.length) && values.every(check);
  const checks: readonly [name: string, holds: boolean][] = [
    ['arch', typeof facts.arch === 'string'],
    ...Object.entries(optionChecks).map(
      ([key, check]) => [`options.${key}`, check(options?.[key as keyof ModelOptions])] as [string, boolean],
    ),
    [
      'classes',
      Array.isArray(classes) &&
        classes.length === options?.classes &&
        new Set(classes).size === classes.length &&
        classes.every((name) => typeof name === 'string'),
    ],
    ['normalisation.mean', numbers(normalisation?.mean, Number.isFinite)],
    ['normalisation.std', numbers(normalisation?.std, above0)],
    ['storedSide', whole(4096)(storedSide)],
    ['storedChannels', oneOf(1, 3)(storedChannels)],
    ['augment', oneOf(...Object.keys(AUGMENTATIONS))(augment)],
    ['trainedOn', trainedOn === null || isOrigin(trainedOn)],
    ['draws', Array.isArray(draws) && draws.every(Number.isInteger)],
    ['startedFrom', Array.isArray(startedFrom) && startedFrom.every((origin) => isOrigin(origin ?? {}))],
  ];
  return checks.find(([, holds]) => !holds)?.[0] ?? null;
}
