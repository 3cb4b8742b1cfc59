import { basename, resolve } from 'node:path';
import { ConfigError, DataError } from '../core/errors.ts';
import type { Normalisation } from '../data/batches.ts';
import type { Origin } from '../data/dataset.ts';
import { readStart } from '../data/wholefile.ts';
import { fastaiBody } from '../models/index.ts';
import { headNames, type Module, type StateEntry, toMemoryLayout } from '../nn/index.ts';
import { checkFinite, type ModelFacts, originsOf, parseFacts } from './modelfile.ts';
import { readPth } from './pth.ts';
import { type FileTensor, readMetadata, readSafetensors, toF32 } from './safetensors.ts';

/** Weights to start from, before they are in a network. */
export interface Pretrained {
  path: string;
  tensors: ReadonlyMap<string, FileTensor>;
  /** What a model file of a run says beside them; null for torchvision's. */
  facts: Required<ModelFacts> | null;
}

/** What run.json keeps of the weights that a run started from: enough to go on without the file. */
export interface PretrainedRecord {
  /** Base name of the file. */
  name: string;
  /** Absolute. */
  path: string;
  /** Tensors that were taken from it. */
  tensors: number;
  /** Whether the head is the file's, or new. */
  head: 'loaded' | 'new';
  /** What images are normalised by: that which the weights were trained with. */
  normalisation: Normalisation;
  /** The sets that they were trained on, the latest first; not in records of earlier versions. */
  origins?: readonly Origin[];
  /** `draws` of its model file; none of torchvision's, nor in records of earlier versions. */
  draws?: readonly number[];
}

/** Of ImageNet's training images; what torchvision's weights expect. */
export const IMAGENET: Normalisation = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };

/**
 * Reads weights from torchvision's `.pth` (of both formats), a `.safetensors` of the same, or the model.safetensors of a run; which
 * of them it is, its content says. Throws DataError for anything else.
 */
export function readPretrained(path: string): Pretrained {
  const file = readWeights(path);
  checkFinite(file.tensors, path);
  return file;
}

function readWeights(path: string): Pretrained {
  if (isPth(path)) return { path, tensors: readPth(path), facts: null };
  const { tensors, metadata } = readSafetensors(path);
  return { path, tensors, facts: metadata.dawngrad === undefined ? null : parseFacts(metadata.dawngrad, path) };
}

/** True for a file of PyTorch's. */
function isPth(path: string): boolean {
  const start = startOf(path);
  const zip = start[0] === 0x50 && start[1] === 0x4b;
  // A pickle's first byte may be that of a header's length, but then the header follows.
  return zip || (start[0] === 0x80 && start[8] !== 0x7b);
}

/** The sets that the weights in a file were trained on, as far as it says, the latest first. Throws DataError without a file. */
export function pretrainedOrigins(path: string): Origin[] {
  const facts = factsIn(path);
  return facts ? originsOf(facts) : [];
}

/** The width of the network that weights in a file are of; null where it does not say. Throws DataError without a file. */
export const pretrainedWidth = (path: string): number | null => factsIn(path)?.options.width ?? null;

function factsIn(path: string): Required<ModelFacts> | null {
  const text = isPth(path) ? undefined : readMetadata(path).dawngrad;
  return text === undefined ? null : parseFacts(text, path);
}

/** The first nine bytes; none where the file cannot be read, which its reader will say. */
function startOf(path: string): Uint8Array {
  try {
    return readStart(path, 9);
  } catch {
    // The reader of safetensors knows words for it.
    return new Uint8Array(9);
  }
}

/**
 * What images are normalised by for these weights: ImageNet's numbers, or those of the run. For one channel, whose stem is the sum of
 * the RGB weights, their means: fast.ai leaves it to the user there.
 */
function pretrainedNormalisation({ facts }: Pretrained, channels: 1 | 3): Normalisation {
  const { mean, std } = facts?.normalisation ?? IMAGENET;
  if (channels === 3) return { mean, std };
  const average = (values: number[]) => [values.reduce((sum, value) => sum + value) / values.length];
  return { mean: average(mean), std: average(std) };
}

/** The network that weights go into. */
export interface PretrainedTarget {
  arch: string;
  channels: 1 | 3;
  classes: readonly string[];
}

/**
 * Puts a file's weights and running statistics into a network, by torchvision's names or fast.ai's. All of the body has to be there
 * and fit; a 1-channel stem takes the sum of RGB weights, as with fast.ai. The head stays new, as fast.ai's is, unless that of the
 * file fits tensor by tensor and is not known to be for other classes: then training goes on where it ended.
 *
 * Throws, before anything is written, DataError that names the first tensor that is missing, left over or of another shape, and
 * ConfigError for a run's file of another architecture.
 */
export function loadPretrained(model: Module, file: Pretrained, target: PretrainedTarget): PretrainedRecord {
  const { path, facts } = file;
  const { arch, channels, classes } = target;
  if (facts && facts.arch !== arch) {
    throw new ConfigError(`${path}: holds a ${facts.arch}, not a ${arch}. Give arch ${facts.arch}.`);
  }
  const heads = model
    .layerGroups()
    .at(-1)!
    .map(([name]) => name);
  const tensors = torchvisionNames(file.tensors, fastaiBody(arch), heads[0]!);
  const state = model.state();
  const head = headNames(model);
  const body = [...state].filter(([name]) => !head.has(name));
  const values = new Map<string, Float32Array>();
  for (const [name, entry] of body) values.set(name, bodyValues(name, entry, tensors.get(name), file, arch));

  const others = [...tensors.keys()].filter((name) => !values.has(name));
  const ofHead = others.filter((name) => heads.some((part) => name.startsWith(`${part}.`)));
  const extra = others.filter((name) => !ofHead.includes(name));
  if (extra.length > 0) {
    throw new DataError(
      `${path}: tensor '${extra[0]}' is not in ${arch} (${extra.length} such). Give a file of ${arch}, or the file's arch.`,
    );
  }
  const sameClasses = facts === null || facts.classes.join('\n') === classes.join('\n');
  const fits = [...head].every((name) => tensors.get(name)?.shape.join() === state.get(name)!.fileShape.join());
  const loaded = sameClasses && fits && ofHead.length === head.size;
  if (loaded) for (const name of head) values.set(name, toF32(tensors.get(name)!));
  for (const [name, data] of values) {
    const entry = state.get(name)!;
    entry.tensor.write(toMemoryLayout(data, entry));
  }
  return {
    name: basename(path),
    path: resolve(path),
    tensors: values.size,
    head: loaded ? 'loaded' : 'new',
    normalisation: pretrainedNormalisation(file, channels),
    origins: facts ? originsOf(facts) : [],
    draws: facts?.draws ?? [],
  };
}

/** fast.ai's pools and flattening, with which its head begins; ours has them apart. */
const FASTAI_POOLS = 2;

/** A file's tensors under torchvision's names where they have fast.ai's, `0.…` for the body and `1.…` for the head; no counters. */
function torchvisionNames(
  tensors: ReadonlyMap<string, FileTensor>,
  body: readonly string[],
  head: string,
): Map<string, FileTensor> {
  const all = [...tensors].filter(([name]) => !name.endsWith('num_batches_tracked'));
  const numbered = all.map(([name]) => /^([01])\.(\d+)\.(.+)$/.exec(name));
  if (body.length === 0 || numbered.includes(null)) return new Map(all);
  return new Map(
    all.map(([name, tensor], i) => {
      const [, part, number, rest] = numbered[i]!;
      const own = part === '1' ? `${head}.${Number(number) - FASTAI_POOLS}` : body[Number(number)];
      return [own === undefined ? name : `${own}.${rest}`, tensor];
    }),
  );
}

/** Values of a tensor of the body in the file's layout, as the network has it. */
function bodyValues(
  name: string,
  { fileShape }: StateEntry,
  found: FileTensor | undefined,
  { path, facts }: Pretrained,
  arch: string,
): Float32Array {
  if (!found) {
    throw new DataError(`${path}: tensor '${name}' of ${arch} is missing. Give a file of ${arch}, or the file's arch.`);
  }
  const { shape } = found;
  if (shape.join() === fileShape.join()) return toF32(found);
  const onlyInput = shape.length === 4 && fileShape.length === 4 && [0, 2, 3].every((d) => shape[d] === fileShape[d]);
  if (onlyInput && shape[1] === 3 && fileShape[1] === 1) return summedOverInput(toF32(found), shape);
  const mend =
    onlyInput && shape[1] === 1 && fileShape[1] === 3
      ? 'Give channels 1.'
      : facts
        ? `Give width ${facts.options.width}.`
        : "Give the file's width, which is 1 for torchvision's, and its arch.";
  throw new DataError(`${path}: tensor '${name}' is [${shape}] but the network's is [${fileShape}]. ${mend}`);
}

/** [K,C,R,S] → [K,1,R,S]. */
function summedOverInput(values: Float32Array, [k, c, r, s]: readonly number[]): Float32Array {
  const area = r! * s!;
  const sums = new Float32Array(k! * area);
  for (const i of sums.keys()) {
    const [filter, at] = [Math.floor(i / area), i % area];
    for (let channel = 0; channel < c!; channel++) sums[i]! += values[(filter * c! + channel) * area + at]!;
  }
  return sums;
}
