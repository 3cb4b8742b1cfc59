import { statSync } from 'node:fs';
import { ConfigError, DataError } from '../core/errors.ts';
import { checkSeed } from '../core/random.ts';
import { cached, fileSignature } from './cache.ts';
import { sha256 } from './chunks.ts';
import { readFer2013, sourceOfLine } from './fer2013.ts';
import { specialKind } from './find.ts';
import { listFolder, readFolder } from './folder.ts';
import { emotions, type Rows, TRAINING } from './rows.ts';
import { type Division, divide, type Split, splitRows } from './split.ts';
import { drawToyfaces } from './toyfaces.ts';

export type SplitName = 'train' | 'valid' | 'test';

/** A labelled image set held on the CPU: square u8 images, channels last. */
export interface ImageSet {
  /** [count, side, side, channels] */
  pixels: Uint8Array;
  labels: Uint8Array;
  count: number;
  side: number;
  channels: 1 | 3;
}

/** What a set was divided from, and how: a model file keeps it, so that `evaluate` can tell what its network has seen. */
export interface Origin extends Division {
  /** SHA-256 over all images that there were, with labels and usages, whichever split they went to. */
  images: string;
}

/** How many images of a split a network has met in its training. */
export interface Seen {
  /** It was trained on these. */
  trained: number;
  /** These chose its best epoch. */
  validated: number;
}

export interface Dataset {
  /** 'fer2013', 'folder', 'toyfaces' or 'arrays' */
  name: string;
  /** The index is the label. */
  classes: string[];
  train: ImageSet;
  valid: ImageSet;
  /** The held-out images, where there are some: PrivateTest, or a folder's `test/`. */
  test: ImageSet | null;
  /** What validates, in words for run.json: 'PublicTest', '10 % of train, stratified, seed 1'. */
  validName: string;
  /** SHA-256 over classes, sizes, labels and pixels of each split: two sets with the same fingerprint are the same. */
  fingerprint: string;
  /** Null for toyfaces and arrays, which come divided. */
  origin: Origin | null;
  /** What the network of `DataOptions.trainedOn` has seen of each split; null where it was never trained on these images. */
  seen: Readonly<Record<SplitName, Seen>> | null;
  /** Where an image comes from: 'fer2013.csv:1234', 'train/angry/x.jpg', 'toyfaces #12'. */
  source(split: SplitName, index: number): string;
}

export interface DataOptions {
  /** A FER2013 CSV, a folder of class folders, or 'toyfaces'. */
  data: string;
  /**
   * 'PublicTest', 'both', a share such as '10%', or 'all': see `splitRows`. Default to evaluate: as for the training, if it was on these
   * images; else all of them, where no file name, folder or `Usage` says of any what it is for.
   */
  valid?: string | undefined;
  /** Draws the share that validates, and what `limit` takes. Default to evaluate: as for the training; else 1. */
  seed?: number | undefined;
  /** In place of `valid` and `seed`: as the same images were divided when they were loaded otherwise. */
  division?: Division | undefined;
  /** Images of each split: drawn stratified and seeded, in the set's order. */
  limit?: number | undefined;
  /** Side that images of a folder are stored at. Default 48. */
  store?: number | undefined;
  /** 1 stores gray; 3 keeps colour where there is some (all-gray sets are stored with 1: the gather kernel replicates). */
  channels?: 1 | 3 | undefined;
  /** The classes of a model that is evaluated: folder names then get its labels, and some may be absent. */
  classes?: string[] | undefined;
  /** 'evaluate' accepts a set without training rows, and one of a single class. Default 'train'. */
  use?: 'train' | 'evaluate' | undefined;
  /** The sets that a model was trained on, the latest first: one that is evaluated, or whose weights a training starts from. */
  trainedOn?: readonly Origin[] | undefined;
}

/**
 * Loads a FER2013 CSV, a folder of class folders or the toyfaces, and splits it.
 *
 * Throws DataError, beginning with `file:line` or the path, where the data is not right; ConfigError for a wrong option.
 */
export async function loadDataset(options: DataOptions): Promise<Dataset> {
  const { data, limit, store = 48, seed } = options;
  if (limit !== undefined && !(Number.isInteger(limit) && limit > 0)) {
    throw new ConfigError(`limit ${limit}: expected a whole number of images, 1 or more.`);
  }
  if (!(Number.isInteger(store) && store >= 8 && store <= 1024)) {
    throw new ConfigError(`store ${store}: expected a side in pixels, 8 to 1024.`);
  }
  if (seed !== undefined) checkSeed(seed);
  if (data === 'toyfaces') return toyfaces(options);
  try {
    return await loadPath(options, store);
  } catch (error) {
    // What the system says of a file (no permission, a dangling link) is the user's to mend, like any other bad input.
    if (!(error instanceof Error && 'syscall' in error)) throw error;
    const file = 'path' in error ? String(error.path) : data;
    throw new DataError(`${file}: cannot be read (${error.message}). Check that it exists and may be read.`);
  }
}

async function loadPath(options: DataOptions, store: number): Promise<Dataset> {
  const { data } = options;
  const stats = statSync(data, { throwIfNoEntry: false });
  if (stats === undefined) {
    throw new DataError(
      `${data}: no such file or folder. Give a FER2013 CSV, a folder of class folders of images, or toyfaces.`,
    );
  }
  const special = specialKind(stats);
  if (special !== null)
    throw new DataError(`${data}: ${special}, not a regular file. Give the path of the CSV itself.`);
  if (!stats.isDirectory()) {
    const source = { path: data, variant: 'fer2013', signature: fileSignature(data) };
    const rows = await cached(source, async () => {
      const read = await readFer2013(data);
      checkUnchanged(data, source.signature, fileSignature(data));
      return read;
    });
    return fromRows('fer2013', rows, options);
  }
  const listing = listFolder(data, options.classes);
  const channels = options.channels ?? 3;
  const variant = `folder, store ${store}, channels ${channels}, classes ${JSON.stringify(listing.classes)}`;
  const rows = await cached({ path: data, variant, signature: listing.signature }, async () => {
    const read = await readFolder(listing, store, channels);
    checkUnchanged(data, listing.signature, listFolder(data, options.classes).signature);
    return read;
  });
  return fromRows('folder', rows, options);
}

/** Half of an old set and half of a new one would be trained on, and no run that began with it could be continued. */
function checkUnchanged(path: string, before: string, after: string): void {
  if (after !== before)
    throw new DataError(`${path}: changed while it was read. Start again once nothing writes to it.`);
}

function fromRows(name: string, rows: Rows, options: DataOptions): Dataset {
  const { data } = options;
  const images = hashOf(rows);
  const trainedOn = (options.trainedOn ?? []).filter((origin) => origin.images === images);
  const division = divisionOf(rows, options, trainedOn[0] ?? null);
  const indices = divide(rows, division, data);
  // Not `rows` itself: the closure would keep all pixels alive where a limit copied a few.
  const { files, lines } = rows;
  const parts = {
    classes: rows.classes,
    train: selectImages(rows, indices.train),
    valid: selectImages(rows, indices.valid),
    test: indices.test && selectImages(rows, indices.test),
  };
  if ((options.use ?? 'train') === 'train') {
    checkTrainable(parts, data);
    // A folder's classes are the names found in it; FER2013's, and a model's, are given, and some may be absent.
    if (files !== null && options.classes === undefined)
      checkEachTrains(rows, splitRows(rows, division.valid, division.seed, data).train, data);
  }
  return assemble({
    name,
    ...parts,
    validName: indices.validName,
    origin: { images, ...division },
    seen:
      trainedOn.length > 0
        ? seenOf(
            indices,
            trainedOn.map((origin) => divide(rows, origin, data)),
          )
        : null,
    source(part, index) {
      const row = indices[part]?.[index];
      if (row === undefined) throw new RangeError(`source: no image ${index} in ${part}.`);
      return files ? files[row]! : sourceOfLine(data, lines![row]!);
    },
  });
}

/** How rows are divided that a model of `trainedOn` was trained on, or, if that is null, others; to train, it is as the options say. */
function divisionOf(rows: Rows, options: DataOptions, trainedOn: Division | null): Division {
  const { limit, division, use = 'train' } = options;
  if (division) return { valid: division.valid, seed: division.seed, limit };
  if (use === 'train') return { valid: options.valid, seed: options.seed ?? 1, limit };
  const seed = options.seed ?? trainedOn?.seed ?? 1;
  const unmarked = rows.usage.every((usage) => usage === TRAINING);
  const valid = options.valid ?? (trainedOn ? trainedOn.valid : unmarked ? 'all' : undefined);
  return { valid, seed, limit };
}

function hashOf({ classes, side, channels, labels, usage, pixels }: Rows): string {
  return sha256([JSON.stringify([classes, side, channels]), labels, usage, pixels]);
}

/** What a network that was trained on some splits of some rows has seen of another one. */
function seenOf(split: Split, trained: readonly Split[]): Record<SplitName, Seen> {
  const met = new Set(trained.flatMap(({ train }) => [...train]));
  const chose = new Set(trained.flatMap(({ valid }) => [...valid]));
  const count = (rows: Uint32Array | null): Seen => {
    const seen = { trained: 0, validated: 0 };
    for (const row of rows ?? []) {
      if (met.has(row)) seen.trained++;
      else if (chose.has(row)) seen.validated++;
    }
    return seen;
  };
  return { train: count(split.train), valid: count(split.valid), test: count(split.test) };
}

/** Throws DataError where there is nothing to train or to validate on, or nothing to tell apart. */
function checkTrainable({ classes, train, valid }: Pick<Dataset, 'classes' | 'train' | 'valid'>, path: string): void {
  if (train.count === 0)
    throw new DataError(`${path}: no Training images, only ones to validate or test on. Add some, or use evaluate.`);
  if (valid.count === 0)
    throw new DataError(`${path}: too few images to hold some back for validation (${train.count} in all). Add more.`);
  if (train.labels.some((label) => label !== train.labels[0])) return;
  throw new DataError(
    `${path}: ${train.count === 1 ? 'its one training image is' : `all ${train.count} training images are`} '${classes[train.labels[0]!]}'; there is nothing to tell apart. Expected two classes or more.`,
  );
}

function checkEachTrains({ classes, labels }: Rows, train: Uint32Array, path: string): void {
  const present = new Set(Array.from(train, (row) => labels[row]!));
  const absent = classes.filter((_, label) => !present.has(label));
  if (absent.length === 0) return;
  throw new DataError(
    `${path}: no images to train on of '${absent.join("', '")}', only ones to validate or test. Add some, or remove the class.`,
  );
}

/** Completes a data set with its fingerprint; one that comes divided has no origin. */
export function assemble(set: Omit<Dataset, 'fingerprint' | 'origin' | 'seen'> & Partial<Dataset>): Dataset {
  const parts: (string | Uint8Array)[] = [JSON.stringify(set.classes)];
  for (const part of ['train', 'valid', 'test'] as const) {
    const images = set[part];
    if (images === null) continue;
    const { count, side, channels } = images;
    parts.push(`\n${part} ${count} ${side} ${channels}\n`, images.labels, images.pixels);
  }
  return { origin: null, seen: null, ...set, fingerprint: sha256(parts) };
}

/** The bytes of one image: a view. */
export function pixelsOf({ pixels, side, channels }: ImageSet, index: number): Uint8Array {
  const size = side * side * channels;
  return pixels.subarray(index * size, (index + 1) * size);
}

/** The images at the given ascending places: a view where they lie side by side (FER2013's splits do), else a copy. */
export function selectImages(from: Omit<ImageSet, 'count'>, indices: Uint32Array): ImageSet {
  const { side, channels } = from;
  const size = side * side * channels;
  const count = indices.length;
  const first = indices[0] ?? 0;
  // Distinct and ascending: side by side exactly when the last is count - 1 after the first.
  if (count === 0 || indices[count - 1]! === first + count - 1) {
    const pixels = from.pixels.subarray(first * size, (first + count) * size);
    return { pixels, labels: from.labels.subarray(first, first + count), count, side, channels };
  }
  const pixels = new Uint8Array(count * size);
  indices.forEach((place, i) => {
    pixels.set(from.pixels.subarray(place * size, (place + 1) * size), i * size);
  });
  return { pixels, labels: Uint8Array.from(indices, (place) => from.labels[place]!), count, side, channels };
}

function toyfaces({ limit, valid: validName, use = 'train' }: DataOptions): Dataset {
  if (validName !== undefined) {
    throw new ConfigError(`valid ${validName}: toyfaces have a validation set of their own. Leave it out.`);
  }
  const { firstNumber, ...images } = drawToyfaces(limit);
  const parts = { classes: [...emotions], ...images };
  if (use === 'train') checkTrainable(parts, 'toyfaces');
  const { valid } = parts;
  return assemble({
    name: 'toyfaces',
    ...parts,
    validName: `${valid.count} toyfaces of their own`,
    source: (part, index) => `toyfaces #${firstNumber[part] + index}`,
  });
}
