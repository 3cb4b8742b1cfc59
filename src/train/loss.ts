import type { Tensor } from '../core/tensor.ts';
import type { Batch } from '../data/batches.ts';
import * as ops from '../ops/index.ts';

/**
 * The loss that a training step minimises: the mean cross-entropy against a batch's labels; with mixup the mean of
 *
 *   λ_n·CE(x_n, label_n) + (1 − λ_n)·CE(x_n, label of what n was mixed with)
 *
 * logits [N,C] → [1]. With class weights, each is weighted and the mean of mixup divides by N. Source: fast.ai's `MixUp`.
 */
export function batchLoss(
  logits: Tensor,
  { labels, mixed }: Pick<Batch, 'labels' | 'mixed'>,
  options: Omit<ops.CrossEntropyOptions, 'reduction'> = {},
): Tensor {
  if (!mixed) return ops.crossEntropy(logits, labels, options);
  const own = ops.crossEntropy(logits, labels, { ...options, reduction: 'none' });
  const other = ops.crossEntropy(logits, mixed.labels, { ...options, reduction: 'none' });
  return ops.mean(ops.add(other, ops.mul(mixed.share, ops.sub(own, other))));
}
