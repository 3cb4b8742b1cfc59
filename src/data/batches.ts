import { ConfigError, ShapeError } from '../core/errors.ts';
import { kernel } from '../core/kernel.ts';
import { Random } from '../core/random.ts';
import { reserveStepWords, type StepSlot, stepStorage } from '../core/stepbuffer.ts';
import { Tensor } from '../core/tensor.ts';
import { currentGpu } from '../gpu/gpu.ts';
import {
  AUGMENTATIONS,
  type Augmentation,
  abilities,
  drawViews,
  type Frame,
  type Framing,
  frameOf,
  isExact,
} from './augment.ts';
import type { ImageSet } from './dataset.ts';
import { type Mixed, Mixup } from './mixup.ts';

const gather = kernel('gather', 'gather');

/** Mean and standard deviation of x/255, the numbers that images are normalised by: for each channel, or one for all. */
export interface Normalisation {
  mean: number[];
  std: number[];
}

/** Mean and standard deviation over all pixels of a set, for each of `channels` (a gray set repeats its own). */
export function normalisationOf({ pixels, channels: own }: ImageSet, channels: number): Normalisation {
  const sums = new Float64Array(own);
  const squares = new Float64Array(own);
  for (let i = 0; i < pixels.length; i++) {
    const value = pixels[i]!;
    sums[i % own]! += value;
    squares[i % own]! += value * value;
  }
  const n = pixels.length / own;
  const pick = (values: number[]) => Array.from({ length: channels }, (_, c) => values[Math.min(c, own - 1)]!);
  const mean = [...sums].map((sum) => sum / n);
  // Whole numbers up to 255² sum exactly in f64, so this difference is safe here.
  const std = [...squares].map((square, c) => Math.sqrt(Math.max(square / n - mean[c]! ** 2, 1e-8)) / 255);
  return { mean: pick(mean.map((value) => value / 255)), std: pick(std) };
}

export interface BatchOptions {
  batch: number;
  /** Side of the input, resized on the GPU. Default: the side of the images. */
  size?: number;
  /** Channels of the input; gray is replicated. Default: those of the images. */
  channels?: 1 | 3;
  /** Default: computed from this set. For validation, pass that of the training images. */
  normalisation?: Normalisation;
  augmentation?: Augmentation;
  /** What is seen of an image where nothing is drawn. Default: what the augmentation starts from. */
  framing?: Framing;
  /** The α of mixup; 0, the default, is none. */
  mixup?: number;
  /** What x is stored as. Default: f32. */
  dtype?: 'f32' | 'f16';
}

/** Marks an empty place in an incomplete last batch; kernels ignore it. */
export const NO_IMAGE = 0xffffffff;

export interface Batch {
  /** [batch, size, size, channels] */
  x: Tensor;
  /** u32 [batch]; NO_IMAGE where there is none. */
  labels: Tensor;
  /** With mixup. */
  mixed?: Mixed;
}

/**
 * A set of images on the GPU as bytes, and the kernel that makes batches of it: gather by index, augment, normalise. A set too
 * large for one binding stays on the CPU and its batches are copied as they are asked for.
 */
export class Batches {
  readonly count: number;
  readonly batch: number;
  readonly normalisation: Normalisation;
  private readonly set: ImageSet;
  private readonly size: number;
  private readonly channels: 1 | 3;
  private readonly augmentation: Augmentation;
  private readonly frame: Frame;
  private readonly mixup: Mixup | null;
  private readonly images: Tensor;
  private readonly labels: Tensor;
  private readonly indices: StepSlot;
  private readonly streamed: boolean;
  private readonly dtype: 'f32' | 'f16';

  constructor(set: ImageSet, options: BatchOptions) {
    if (options.batch > set.count) {
      throw new ConfigError(
        `batch ${options.batch} is larger than the set, which has ${set.count} images. Use a smaller batch.`,
      );
    }
    if (!Number.isInteger(options.batch) || options.batch < 1)
      throw new ConfigError(`batch is ${options.batch}; it is a whole number from 1 on.`);
    this.set = set;
    this.count = set.count;
    this.batch = options.batch;
    this.size = options.size ?? set.side;
    this.channels = options.channels ?? set.channels;
    this.normalisation = options.normalisation ?? normalisationOf(set, this.channels);
    const { mean, std } = this.normalisation;
    const wanted = [1, this.channels];
    const fit = wanted.includes(mean.length) && wanted.includes(std.length);
    if (!fit || ![...mean, ...std].every(Number.isFinite) || std.includes(0))
      throw new ConfigError(
        `Batches: normalisation has mean [${mean}] and std [${std}]; they are a number for each channel, of which there are ${this.channels}, or one for all; std not 0.`,
      );
    this.augmentation = options.augmentation ?? AUGMENTATIONS.none;
    this.frame = frameOf(options.framing ?? this.augmentation.framing, set.side, this.size);
    const { mixup = 0 } = options;
    this.mixup = mixup === 0 ? null : new Mixup(mixup, options.batch);
    this.dtype = options.dtype ?? 'f32';
    this.indices = reserveStepWords(options.batch);
    this.streamed = set.pixels.length > currentGpu().maxTensorBytes;
    this.images = this.streamed
      ? Tensor.empty([words(options.batch * imageBytes(set))], 'u32')
      : Tensor.from(packed(set.pixels));
    this.labels = this.streamed ? Tensor.empty([options.batch], 'u32') : Tensor.from(Uint32Array.from(set.labels));
  }

  /** Whole batches in the set. */
  get full(): number {
    return Math.floor(this.count / this.batch);
  }

  /** Batches that hold all images, the last one perhaps in part. */
  get all(): number {
    return Math.ceil(this.count / this.batch);
  }

  /** The image indices of an epoch in random order, the same for the same epoch and seed. */
  order(epoch: number, seed = 1): Uint32Array {
    return new Random(seed, 1000 + epoch).permutation(this.count);
  }

  /** The whole batches of an epoch, as `take` takes them: images in random order, those that fill no batch left out. */
  *shuffled(epoch: number, seed = 1): Generator<Uint32Array> {
    const order = this.order(epoch, seed);
    for (let n = 0; n < this.full; n++) yield order.subarray(n * this.batch, (n + 1) * this.batch);
  }

  /** The same of `count` epochs, one after another. */
  *epochs(count: number, seed = 1): Generator<Uint32Array> {
    for (let epoch = 0; epoch < count; epoch++) yield* this.shuffled(epoch, seed);
  }

  /** Makes a batch of the images that `indices` name; call it within a step. Fewer than a batch are filled up with none. */
  take(indices: ArrayLike<number>): Batch {
    this.choose(indices);
    return this.gather();
  }

  /**
   * The host's half of `take`: says which images are next. A repeated step calls it in `prepare`. Throws ShapeError for more indices
   * than a batch has places, and for one of no image.
   */
  choose(indices: ArrayLike<number>): void {
    const { batch, count } = this;
    if (indices.length > batch) {
      throw new ShapeError(`Batches: ${indices.length} indices are more than a batch of ${batch} takes.`);
    }
    const chosen = new Uint32Array(batch).fill(NO_IMAGE);
    for (let n = 0; n < indices.length; n++) {
      const index = indices[n]!;
      if (!(Number.isInteger(index) && index >= 0 && index < count)) {
        throw new ShapeError(`Batches: there is no image ${index}; the set has ${count}, numbered from 0.`);
      }
      chosen[n] = index;
    }
    if (this.streamed) this.copyToGpu(chosen);
    this.indices.setInts(chosen);
    this.mixup?.choose(indices.length);
  }

  /** The GPU's half of `take`: makes the batch that was chosen, seen through an augmentation of its own or one frame for all. */
  gather(through: Augmentation | Frame = this.augmentation): Batch {
    const { batch, size, set } = this;
    if (!('draw' in through)) return this.see(through, null, { NEAREST: isExact(through) });
    const views = drawViews(through, batch, set.side, size);
    if (!views) return this.gather(this.frame);
    return this.see(this.frame, views, abilities(through, set.side, size));
  }

  /** Makes a batch: of views where there are some, else of what the frame shows. */
  see(frame: Frame, views: Tensor | null, consts: Readonly<Record<string, boolean | number>>): Batch {
    const { batch, size, channels, normalisation, mixup } = this;
    const x = Tensor.empty([batch, size, size, channels], this.dtype);
    const labels = Tensor.empty([batch], 'u32');
    // Software drivers pay for each invocation; on hardware there are as many as there are pixels.
    const span = x.storage.gpu.adapter.software ? size : 1;
    const strips = Math.ceil(size / span);
    const channel = (values: number[], c: number) => values[Math.min(c, values.length - 1)]!;
    const [mean0, mean1, mean2] = [0, 1, 2].map((c) => channel(normalisation.mean, c)) as [number, number, number];
    const [gain0, gain1, gain2] = [0, 1, 2].map((c) => 1 / channel(normalisation.std, c)) as [number, number, number];
    const step = stepStorage();
    gather(
      { Elem: this.dtype, CHANNELS: channels, SOURCE_CHANNELS: this.set.channels, MIXED: mixup !== null, ...consts },
      { step, images: this.images, labels: this.labels, views: views ?? step, x, batchLabels: labels },
      {
        ...{ n: batch, at: this.indices.at, side: this.set.side, size, span, strips, partners: mixup?.at ?? 0 },
        ...{ scaleX: frame.scaleX, offsetX: frame.offsetX, scaleY: frame.scaleY, offsetY: frame.offsetY },
        ...{ mean0, mean1, mean2, gain0, gain1, gain2 },
      },
      batch * size * strips,
    );
    return mixup ? { x, labels, mixed: mixup.partners(labels) } : { x, labels };
  }

  /** Copies the chosen images and renumbers them from 0. */
  private copyToGpu(chosen: Uint32Array): void {
    const bytes = imageBytes(this.set);
    const pixels = new Uint8Array(4 * words(this.batch * bytes));
    const labels = new Uint32Array(this.batch);
    for (const [n, index] of chosen.entries()) {
      if (index === NO_IMAGE) continue;
      pixels.set(this.set.pixels.subarray(index * bytes, (index + 1) * bytes), n * bytes);
      labels[n] = this.set.labels[index]!;
      chosen[n] = n;
    }
    this.images.write(new Uint32Array(pixels.buffer));
    this.labels.write(labels);
  }
}

const imageBytes = ({ side, channels }: ImageSet): number => side * side * channels;
const words = (bytes: number): number => Math.ceil(bytes / 4);

function packed(pixels: Uint8Array): Uint32Array {
  const bytes = new Uint8Array(4 * words(pixels.length));
  bytes.set(pixels);
  return new Uint32Array(bytes.buffer);
}
