import { DataError } from '../core/errors.ts';
import { isSeed, Random } from '../core/random.ts';
import { rehearse, step } from '../core/step.ts';
import { setSeed } from '../core/stepbuffer.ts';
import { noGrad } from '../core/tape.ts';
import { Tensor } from '../core/tensor.ts';
import { fitSquare } from '../data/folder.ts';
import { type Image, resizeImage, toGray, toRgb } from '../data/image.ts';
import { labToRgb, rgbToLab } from '../data/lab.ts';
import type { Gpu } from '../gpu/gpu.ts';
import { Colorizer, type ColorizerOptions, colorizerActivationBytes } from '../models/colorizer.ts';
import * as ops from '../ops/index.ts';
import { AdamW, oneCycle } from '../optim/index.ts';
import { DivergenceError } from './divergence.ts';
import { checkTensorFits } from './fits.ts';
import { rehearseLoss } from './kernels.ts';
import { checkFinite, loadTensors, stateTensors } from './modelfile.ts';
import { readSafetensors, writeSafetensors } from './safetensors.ts';

/** (a, b) of CIELAB that the network's 1 stands for. */
const AB = 110;

const toInput = (lightness: number): number => (lightness - 50) / 50;

export interface ColorizerTraining extends ColorizerOptions {
  epochs: number;
  batch: number;
  lr: number;
  /** Called after each epoch with the mean loss. */
  onEpoch?: (epoch: number, loss: number) => void;
  /** Asked before each step: true ends the training there. */
  interrupted?: () => boolean;
  /** Called before the first step with what goes through one on the host alone, for `prepareKernels`. */
  prepare?: (body: () => void) => Promise<void>;
}

/** A colouriser in evaluation mode, and how far its training went. */
export interface TrainedColorizer {
  model: Colorizer;
  /** Steps that it was trained for, of `perEpoch` in each epoch. */
  steps: number;
  perEpoch: number;
  /** False where `interrupted` ended the training. */
  finished: boolean;
}

/**
 * Trains a colouriser on colour images of `size`×`size`: AdamW, one cycle, mirrored at random; the loss is the mean of
 * (ab − âb)²/110². Images are [size, size, 3] bytes each. Throws DataError for fewer images than a batch, and DivergenceError where the
 * loss is no number.
 */
export async function trainColorizer(
  images: readonly Uint8Array[],
  options: ColorizerTraining,
): Promise<TrainedColorizer> {
  const { size, epochs, batch, lr, seed, onEpoch, interrupted, prepare } = options;
  const perEpoch = Math.floor(images.length / batch);
  if (perEpoch === 0)
    throw new DataError(
      `${images.length} colour images are fewer than --batch ${batch}. Give more, or a smaller batch.`,
    );
  setSeed(seed);
  const model = new Colorizer(options);
  const optimizer = new AdamW(model.parameters().values(), { weightDecay: 0.01 });
  const schedule = oneCycle(lr);
  const mirrored = new Random(seed, 3);
  model.train();
  const lossOf = ({ lightness, colour }: LabBatch): Tensor => {
    const x = Tensor.from(lightness, [batch, size, size, 1]);
    const target = Tensor.from(colour, [batch, size, size, 2]);
    return ops.mean(ops.square(ops.sub(model.forward(x), target)));
  };
  const checkLoss = (epoch: number, loss: number): void => {
    if (!Number.isFinite(loss)) throw new DivergenceError(`epoch ${epoch}`, loss, lr);
  };
  const area = batch * size * size;
  let latest: LabBatch = { lightness: new Float32Array(area), colour: new Float32Array(2 * area) };
  await prepare?.(() => rehearseLoss(() => lossOf(latest)));
  const total = epochs * perEpoch;
  let stopped = false;
  for (let epoch = 0; epoch < epochs && !stopped; epoch++) {
    const order = new Random(seed, 1000 + epoch).permutation(images.length);
    const losses: Tensor[] = [];
    for (let n = 0; n < perEpoch; n++) {
      stopped = interrupted?.() ?? false;
      if (stopped) break;
      const chosen = [...order.subarray(n * batch, (n + 1) * batch)].map((index) => images[index]!);
      const seen = labBatch(chosen, size, () => mirrored.uniform() < 0.5);
      losses.push(
        await step(() => {
          const loss = lossOf(seen);
          loss.backward();
          optimizer.step(schedule(optimizer.steps, total));
          return loss;
        }),
      );
      latest = seen;
    }
    if (losses.length === 0) break;
    let sum = 0;
    for (const loss of losses) sum += await loss.item();
    checkLoss(epoch + 1, sum / losses.length);
    if (!stopped) onEpoch?.(epoch + 1, sum / perEpoch);
  }
  const { steps } = optimizer;
  model.eval();
  if (steps > 0) {
    // The last update is in no loss yet; only this shows what it did to the weights.
    const loss = await step(() => noGrad(() => lossOf(latest)));
    checkLoss(Math.ceil(steps / perEpoch), await loss.item());
  }
  return { model, steps, perEpoch, finished: steps === total };
}

/** What the network sees of a pixel is the L* of this, in training as in use: of a photograph without colours there is nothing else. */
const grayLab = (image: Image): Float32Array => rgbToLab(toRgb(toGray(image)).pixels);

/** The network's input and what it is to answer. */
interface LabBatch {
  lightness: Float32Array;
  colour: Float32Array;
}

/** Of RGB images of one size. */
function labBatch(images: readonly Uint8Array[], size: number, mirror: () => boolean): LabBatch {
  const area = size * size;
  const lightness = new Float32Array(images.length * area);
  const colour = new Float32Array(images.length * area * 2);
  for (const [n, image] of images.entries()) {
    const lab = rgbToLab(image);
    const gray = grayLab({ pixels: image, width: size, height: size, channels: 3 });
    const turned = mirror();
    for (let i = 0; i < area; i++) {
      const from = turned ? i - (i % size) + (size - 1 - (i % size)) : i;
      const to = n * area + i;
      lightness[to] = toInput(gray[3 * from]!);
      colour[2 * to] = lab[3 * from + 1]! / AB;
      colour[2 * to + 1] = lab[3 * from + 2]! / AB;
    }
  }
  return { lightness, colour };
}

/** An image longer than that many times its shorter side is seen squeezed, which bounds the memory that it takes. */
const LONGEST = 4;

/** How large the network sees an image: as in training, the shorter side `size` long, and in fours, for it is halved twice. */
export function seenAs(
  { width, height }: Pick<Image, 'width' | 'height'>,
  size: number,
): { width: number; height: number } {
  const scale = size / Math.min(width, height);
  const seen = (extent: number) => Math.min(LONGEST * size, 4 * Math.round((extent * scale) / 4));
  return { width: seen(width), height: seen(height) };
}

const abOf = (model: Colorizer, lightness: Float32Array, { width, height }: ReturnType<typeof seenAs>): Tensor =>
  noGrad(() => model.eval().forward(Tensor.from(lightness, [1, height, width, 1])));

/** Goes through an image that is seen so large on the host alone, so that `prepareKernels` sees what it computes. */
export const rehearseColours = (model: Colorizer, seen: ReturnType<typeof seenAs>): void =>
  rehearse(() => abOf(model, new Float32Array(seen.width * seen.height), seen));

/** Gives an image colours; it keeps its size, and the lightness that it has in gray. */
export async function colorizeImage(model: Colorizer, image: Image, size: number): Promise<Image> {
  const seen = seenAs(image, size);
  const { width, height } = seen;
  const small = grayLab(resizeImage(image, width, height));
  const lightness = Float32Array.from({ length: width * height }, (_, i) => toInput(small[3 * i]!));
  const ab = await step(() => abOf(model, lightness, seen));
  const values = await ab.read();
  ab.free('colorizeImage');
  return withColour(image, { values, width, height });
}

/** The lightness that the image has in gray, and the colours (a, b) of a smaller one, [height, width, 2], stretched over it. */
function withColour(image: Image, ab: { values: Float32Array; width: number; height: number }): Image {
  const { width, height } = image;
  const lab = grayLab(image);
  // Between pixel centres, as images are resized elsewhere.
  const place = (i: number, extent: number, from: number): [number, number, number] => {
    const at = Math.min(from - 1, Math.max(0, ((i + 0.5) * from) / extent - 0.5));
    const low = Math.floor(at);
    return [low, Math.min(low + 1, from - 1), at - low];
  };
  for (let y = 0; y < height; y++) {
    const [top, bottom, down] = place(y, height, ab.height);
    for (let x = 0; x < width; x++) {
      const [left, right, across] = place(x, width, ab.width);
      for (let c = 0; c < 2; c++) {
        const value = (row: number, column: number) => ab.values[2 * (row * ab.width + column) + c]!;
        const upper = value(top, left) * (1 - across) + value(top, right) * across;
        const lower = value(bottom, left) * (1 - across) + value(bottom, right) * across;
        lab[3 * (y * width + x) + 1 + c] = AB * (upper * (1 - down) + lower * down);
      }
    }
  }
  return { pixels: labToRgb(lab), width, height, channels: 3 };
}

/** Bytes of an image as the colouriser is trained on them; null where it is gray, which teaches nothing. */
export const colourBytes = (image: Image, size: number): Uint8Array | null =>
  image.channels === 3 ? fitSquare(image, size, 3).pixels : null;

/** The least of `--size`, and of `--batch`. */
const LEAST = { size: 16, batch: 2 };

/** Throws ConfigError for batches that the adapter has no tensor for; says which side or batch fits. */
export function checkColorizerFits(gpu: Gpu, options: ColorizerOptions & { batch: number }): void {
  const { size, batch } = options;
  const perImage = colorizerActivationBytes(options);
  checkTensorFits(gpu, `--size ${size} in batches of ${batch}`, { perImage, batch }, (images) => {
    const side = 4 * Math.floor((size * Math.sqrt(images / batch)) / 4);
    const fits = [
      side >= LEAST.size && `--size ${side} or less`,
      images >= LEAST.batch && `--batch ${Math.floor(images)} or less`,
    ];
    return `Use ${fits.filter(Boolean).join(', or ') || 'a smaller --size and --batch'}.`;
  });
}

const METADATA = 'dawngrad-colorizer';

/** Writes a colouriser and what it was built from. */
export async function saveColorizer(path: string, model: Colorizer, options: ColorizerOptions): Promise<void> {
  const { size, width, seed } = options;
  writeSafetensors(path, await stateTensors(model, 0), { [METADATA]: JSON.stringify({ size, width, seed }) });
}

/** Reads what `saveColorizer` wrote. Throws DataError for any other file. */
export function loadColorizer(path: string): { model: Colorizer; size: number } {
  const { tensors, metadata } = readSafetensors(path);
  const mend = 'Train one: colorize --train FOLDER --model NEW.safetensors';
  const wrong = new DataError(`${path}: is no colouriser. ${mend}`);
  let options: Partial<ColorizerOptions>;
  try {
    options = JSON.parse(metadata[METADATA] ?? '') as Partial<ColorizerOptions>;
  } catch {
    throw wrong;
  }
  const { size, width, seed } = options ?? {};
  const whole = (value: unknown, most: number) =>
    Number.isInteger(value) && (value as number) >= 4 && (value as number) <= most;
  if (!whole(size, 4096) || size! % 4 !== 0 || !(typeof width === 'number' && width > 0 && width <= 16)) throw wrong;
  const model = new Colorizer({ size: size!, width, seed: isSeed(seed) ? seed : 0 });
  checkFinite(tensors, path);
  loadTensors(model, tensors, path, mend);
  return { model: model.eval(), size: size! };
}
