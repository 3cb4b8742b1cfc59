import { ConfigError } from '../core/errors.ts';
import { kernel } from '../core/kernel.ts';
import { Random } from '../core/random.ts';
import { nextDraw, reserveStepWords, type StepSlot, stepStorage } from '../core/stepbuffer.ts';
import { Tensor } from '../core/tensor.ts';
import { currentGpu } from '../gpu/gpu.ts';
import type { ImageSet } from './dataset.ts';

const gather = kernel('gather', 'gather');

/** What training images go through, drawn anew each time. */
export interface Augmentation {
  flip: boolean;
  /** Largest shift, as a share of the side. */
  shift: number;
  /** Largest rotation in radians. */
  angleRad: number;
  /** Erase a rectangle from half of the images. */
  erase: boolean;
}

/** Augmentations by the names of `--augment`; each does what the one before does, and more. */
export const AUGMENTATIONS = {
  none: { flip: false, shift: 0, angleRad: 0, erase: false },
  flip: { flip: true, shift: 0, angleRad: 0, erase: false },
  crop: { flip: true, shift: 1 / 12, angleRad: 0, erase: false },
  affine: { flip: true, shift: 1 / 12, angleRad: (10 * Math.PI) / 180, erase: true },
} as const satisfies Readonly<Record<string, Augmentation>>;

export type AugmentationName = keyof typeof AUGMENTATIONS;

/** Per-channel mean and standard deviation of x/255, the numbers that images are normalised by. */
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
  /** Default: of the set itself. What is validated takes that of the training images. */
  normalisation?: Normalisation;
  augmentation?: Augmentation;
  /** What x is stored as. Default: f32. */
  dtype?: 'f32' | 'f16';
}

/** Marks a place of a last batch that no image fills; the kernels count it nothing. */
export const NO_IMAGE = 0xffffffff;

export interface Batch {
  /** [batch, size, size, channels] */
  x: Tensor;
  /** u32 [batch]; NO_IMAGE where there is none. */
  labels: Tensor;
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
  private readonly images: Tensor;
  private readonly labels: Tensor;
  private readonly indices: StepSlot;
  private readonly streamed: boolean;
  private readonly dtype: 'f32' | 'f16';

  constructor(set: ImageSet, options: BatchOptions) {
    if (options.batch > set.count) {
      throw new ConfigError(
        `--batch ${options.batch} is larger than the set, which has ${set.count} images. Use a smaller batch.`,
      );
    }
    const { limits } = currentGpu();
    this.set = set;
    this.count = set.count;
    this.batch = options.batch;
    this.size = options.size ?? set.side;
    this.channels = options.channels ?? set.channels;
    this.normalisation = options.normalisation ?? normalisationOf(set, this.channels);
    this.augmentation = options.augmentation ?? AUGMENTATIONS.none;
    this.dtype = options.dtype ?? 'f32';
    this.indices = reserveStepWords(options.batch);
    this.streamed = set.pixels.length > Math.min(limits.maxStorageBufferBindingSize, limits.maxBufferSize);
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

  /** The image indices of an epoch in random order, the same for the same seed and epoch. */
  order(seed: number, epoch: number): Uint32Array {
    return new Random(seed, 1000 + epoch).permutation(this.count);
  }

  /** The whole batches of an epoch, as `take` takes them: images in random order, those that fill no batch left out. */
  *shuffled(epoch: number, seed = 1): Generator<Uint32Array> {
    const order = this.order(seed, epoch);
    for (let n = 0; n < this.full; n++) yield order.subarray(n * this.batch, (n + 1) * this.batch);
  }

  /** Makes a batch of the images that `indices` name; call it within a step. Fewer than a batch are filled up with none. */
  take(indices: ArrayLike<number>): Batch {
    this.choose(indices);
    return this.gather();
  }

  /** The host's half of `take`: says which images are next. A repeated step calls it in `prepare`. */
  choose(indices: ArrayLike<number>): void {
    const { batch } = this;
    const chosen = new Uint32Array(batch).fill(NO_IMAGE);
    chosen.set(Array.from(indices));
    if (this.streamed) this.copyToGpu(chosen);
    this.indices.setInts(chosen);
  }

  /** The GPU's half of `take`: makes the batch that was chosen. */
  gather(): Batch {
    const { batch, size, channels, normalisation, augmentation } = this;
    const x = Tensor.empty([batch, size, size, channels], this.dtype);
    const labels = Tensor.empty([batch], 'u32');
    const { flip, shift, angleRad, erase } = augmentation;
    const WARP = shift > 0 || angleRad > 0;
    const EXACT = !WARP && size === this.set.side;
    // Software drivers pay for each invocation; on hardware there are as many as there are pixels.
    const span = x.storage.gpu.adapter.software ? size : 1;
    const strips = Math.ceil(size / span);
    const draw = flip || WARP || erase ? [nextDraw(), nextDraw(), nextDraw()][0]! : 0;
    const channel = (values: number[], c: number) => values[Math.min(c, values.length - 1)]!;
    const [mean0, mean1, mean2] = [0, 1, 2].map((c) => channel(normalisation.mean, c)) as [number, number, number];
    const [scale0, scale1, scale2] = [0, 1, 2].map((c) => 1 / channel(normalisation.std, c)) as [
      number,
      number,
      number,
    ];
    gather(
      {
        Elem: this.dtype,
        CHANNELS: channels,
        SOURCE_CHANNELS: this.set.channels,
        FLIP: flip,
        WARP,
        ERASE: erase,
        EXACT,
      },
      { step: stepStorage(), images: this.images, labels: this.labels, x, batch_labels: labels },
      {
        ...{ n: batch, at: this.indices.at, side: this.set.side, size, draw, span, strips, shift, angle: angleRad },
        ...{ mean0, mean1, mean2, scale0, scale1, scale2 },
      },
      batch * size * strips,
    );
    return { x, labels };
  }

  /** Gives the step buffer's words back. */
  release(): void {
    this.indices.release();
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
