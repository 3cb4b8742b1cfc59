import { DataError } from '../core/errors.ts';
import { assemble, type Dataset, type ImageSet, selectImages } from './dataset.ts';
import { stratified } from './split.ts';

/** Images and their labels, in the same order. */
export interface LabelledArrays {
  /** u8, channels last: [count, side, side] or [count, side, side, channels] in one array, or an array for each image. */
  images: Uint8Array | Uint8ClampedArray | readonly (Uint8Array | Uint8ClampedArray)[];
  /** Index into `classes` for each image. */
  labels: ArrayLike<number>;
}

export interface ArraysOptions extends LabelledArrays {
  classes: readonly string[];
  /** 1 or 3. Default: whichever makes the images square. */
  channels?: 1 | 3;
  /** Images to validate on, or the share of `images` to hold back, stratified and seeded. Default 0.1. */
  valid?: LabelledArrays | number;
  test?: LabelledArrays;
  /** Draws the share that validates. Default 1. */
  seed?: number;
  name?: string;
}

/**
 * Makes a data set of a user's own images: square, u8, channels last.
 *
 *     const set = data.fromArrays({ images, labels, classes: ['cat', 'dog'] });
 *
 * The pixels are copied. Throws DataError for sizes, labels and classes that do not fit.
 */
export function fromArrays(options: ArraysOptions): Dataset {
  const { classes, seed = 1, name = 'arrays', valid = 0.1 } = options;
  if (classes.length < 2 || classes.length > 256) {
    throw new DataError(`fromArrays: classes has ${classes.length} names; expected 2 to 256.`);
  }
  const twice = classes.findIndex((className, label) => classes.indexOf(className) < label);
  if (twice >= 0) {
    throw new DataError(
      `fromArrays: classes has '${classes[twice]}' twice; expected a name of its own for each class.`,
    );
  }
  const all = imageSetOf('images', options, classes.length, options.channels);
  const test = options.test ? imageSetOf('test', options.test, classes.length, all.channels, all.side) : null;
  const source = (part: string, index: number) => `${name}: ${part}[${index}]`;
  const rest = { name, classes: [...classes], test };

  if (typeof valid !== 'number') {
    const validSet = imageSetOf('valid', valid, classes.length, all.channels, all.side);
    return assemble({ ...rest, train: all, valid: validSet, validName: 'images of their own', source });
  }
  if (!(valid > 0 && valid < 1))
    throw new DataError(`fromArrays: valid is ${valid}; expected a share above 0 and below 1, or images and labels.`);
  const every = Uint32Array.from({ length: all.count }, (_, i) => i);
  const held = stratified(all.labels, every, Math.round(all.count * valid), classes.length, seed, 1);
  if (held.length === 0) {
    throw new DataError(
      `fromArrays: ${all.count} images are too few to hold back a share of ${valid}. Give more, or valid: { images, labels }.`,
    );
  }
  const isHeld = new Set(held);
  const kept = every.filter((index) => !isHeld.has(index));
  return assemble({
    ...rest,
    train: selectImages(all, kept),
    valid: selectImages(all, held),
    validName: `${Number((valid * 100).toFixed(2))} % of train, stratified, seed ${seed}`,
    // By the place in the user's own array, whichever split the image went to.
    source: (part, index) =>
      part === 'test' ? source(part, index) : source('images', (part === 'train' ? kept : held)[index]!),
  });
}

function imageSetOf(
  what: string,
  { images, labels }: LabelledArrays,
  classCount: number,
  channels?: 1 | 3,
  side?: number,
): ImageSet {
  const count = labels.length;
  if (count === 0) throw new DataError(`fromArrays: ${what} has no labels; expected one for each image.`);
  const parts = ArrayBuffer.isView(images) ? [images] : images;
  const wrong = parts.findIndex((part) => !(part instanceof Uint8Array || part instanceof Uint8ClampedArray));
  if (wrong >= 0)
    throw new DataError(`fromArrays: ${what} must be Uint8Array, 0 to 255; scale and round other values first.`);
  if (!ArrayBuffer.isView(images)) {
    if (images.length !== count)
      throw new DataError(`fromArrays: ${what} has ${images.length} images and ${count} labels; expected as many.`);
    const odd = images.findIndex((image) => image.length !== images[0]!.length);
    if (odd >= 0) {
      throw new DataError(
        `fromArrays: ${what}[${odd}] has ${images[odd]!.length} values, ${what}[0] has ${images[0]!.length}; expected one size.`,
      );
    }
  }
  const bytes = parts.reduce((sum, part) => sum + part.length, 0);
  const each = bytes / count;
  if (!Number.isInteger(each)) {
    throw new DataError(
      `fromArrays: ${what} has ${bytes} values, which ${count} labels do not divide; expected count × side × side × channels.`,
    );
  }
  if (channels === undefined && Number.isInteger(Math.sqrt(each / 4)) && parts[0] instanceof Uint8ClampedArray) {
    throw new DataError(
      `fromArrays: ${what} has ${each} values an image, clamped ones, as a canvas gives them in RGBA. Leave out every fourth; for gray images say channels: 1.`,
    );
  }
  const fits = ([1, 3] as const).find(
    (c) => (channels ?? c) === c && Number.isInteger(Math.sqrt(each / c)) && each > 0,
  );
  if (fits === undefined) {
    const form = channels === undefined ? 'side × side × 1 or 3' : `side × side × ${channels}`;
    throw new DataError(`fromArrays: ${what} has ${each} values an image; expected ${form}, square and channels last.`);
  }
  const found = Math.sqrt(each / fits);
  if (side !== undefined && found !== side) {
    throw new DataError(
      `fromArrays: ${what} is ${found}×${found}; expected ${side}×${side} as the training images. Resize them.`,
    );
  }
  const label = Array.from(labels).findIndex((value) => !(Number.isInteger(value) && value >= 0 && value < classCount));
  if (label >= 0) {
    throw new DataError(
      `fromArrays: label ${label} of ${what} is ${labels[label]}; expected 0 to ${classCount - 1}, an index into classes.`,
    );
  }
  const pixels = new Uint8Array(bytes);
  let at = 0;
  for (const part of parts) {
    pixels.set(part, at);
    at += part.length;
  }
  return { pixels, labels: Uint8Array.from(labels), count, side: found, channels: fits };
}
