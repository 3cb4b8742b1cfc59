import { kernel } from '../../core/kernel.ts';
import { Tensor } from '../../core/tensor.ts';
import { resultTypes, storing } from './elements.ts';

/**
 * Bytes that the parts of one split reduction take at most: they lie in memory beside all that a training step holds, and each
 * size of them is a buffer that the pool keeps. A result so large that this counts has many tiles and hardly needs parts. Any
 * adapter can bind 128 MiB.
 */
const MAX_PART_BYTES = 2 ** 24;

/** Parts that a reduction to so many results may be split into, below 1 where not even one is allowed. */
export const maxSplits = (results: number): number => Math.floor(MAX_PART_BYTES / (4 * results));

/** How a reduction is split. */
export interface Splits {
  splits: number;
  /** Steps that each part takes; the last one may take fewer, but never none. */
  stepsPerSplit: number;
}

/** `steps` in as many parts as wanted, or fewer where the last would be empty: each takes as many steps as the first. */
export function evenly(steps: number, wanted: number): Splits {
  const stepsPerSplit = Math.max(1, Math.ceil(steps / wanted));
  return { splits: Math.max(1, Math.ceil(steps / stepsPerSplit)), stepsPerSplit };
}

const sum = storing(kernel('splits', 'main'), kernel('splits', 'ragged'));

/**
 * Runs `compute` once, with where it writes: y, or `splits` parts, one after the other in f32, that are summed into y in order
 * (Σ parts + bias, along the last dimension). Then the bias is added with the sum, and `compute` gets none.
 *
 * Parts take a temporary whose size is a power of four, so that all layers of a network share a few buffers: of their own sizes,
 * VGG16_bn's hold 39 MB more (batch 64, 48 px).
 */
export function inSplits(
  y: Tensor,
  bias: Tensor | null,
  splits: number,
  compute: (into: Tensor, add: Tensor | null) => void,
): void {
  if (splits === 1) {
    compute(y, bias);
    return;
  }
  const part = Tensor.empty([4 ** Math.ceil(Math.log2(splits * y.size) / 2)]);
  compute(part, null);
  const { size } = y;
  const period = bias?.size ?? size;
  const params = { size, splits, period, hasBias: bias ? 1 : 0 };
  const threads = period % 4 === 0 ? size / 4 : size;
  sum(period)(resultTypes('Y', y), { part, bias: bias ?? part, y }, params, threads);
  part.free('a split reduction');
}
