import { ConfigError } from '../core/errors.ts';
import type { Augmentation, Frame } from '../data/augment.ts';
import { tenCrops } from '../data/augment.ts';

/** What a pass over the images sees: what is drawn, a frame, or, where it is null, what validation sees. */
export type View = Augmentation | Frame | null;

/** Test-time augmentation: images are seen several times, and what the network says is averaged. */
export interface Tta {
  /** One for each pass, for images of a stored side and the input's side. */
  views(side: number, size: number): View[];
  /** Class probabilities of an image from its logits in each pass. */
  combine(logits: readonly Float32Array[]): Float64Array;
}

/** As images are seen without it, once. */
export const once: Tta = { views: () => [null], combine: ([logits]) => softmax(logits!) };

/**
 * Probabilities of `passes` passes with the training's augmentation and one without: (1 − β)·mean(softmax(augmented)) + β·softmax(plain).
 *
 * Throws ConfigError for less than one pass. Source: fast.ai's `Learner.tta`, whose defaults are four passes and β = 0.25.
 */
export function augmentedTta(augmentation: Augmentation, passes = 4, beta = 0.25): Tta {
  if (!(Number.isInteger(passes) && passes >= 1))
    throw new ConfigError(`augmentedTta: passes is ${passes}; it is a whole number from 1 on. For none take once.`);
  return {
    views: () => [null, ...Array<View>(passes).fill(augmentation)],
    combine: ([plain, ...augmented]) => {
      const mean = meanOf(augmented.map(softmax));
      const own = softmax(plain!);
      return mean.map((share, c) => (1 - beta) * share + beta * own[c]!);
    },
  };
}

/** The softmax of the mean logits of ten crops: four corners and the centre, and their mirror images. Khaireddin and Chen 2021. */
export const tenCropTta: Tta = { views: tenCrops, combine: (logits) => softmax(meanOf(logits)) };

function meanOf(rows: readonly ArrayLike<number>[]): Float64Array {
  const sums = new Float64Array(rows[0]!.length);
  for (const row of rows) for (let c = 0; c < sums.length; c++) sums[c]! += row[c]!;
  return sums.map((sum) => sum / rows.length);
}

function softmax(logits: ArrayLike<number>): Float64Array {
  const values = Float64Array.from(logits);
  const most = values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const shares = values.map((value) => Math.exp(value - most));
  const sum = shares.reduce((a, b) => a + b, 0);
  return shares.map((share) => share / sum);
}
