import { ShapeError } from '../core/errors.ts';
import { kernel } from '../core/kernel.ts';
import { showShape } from '../core/shape.ts';
import { record } from '../core/tape.ts';
import { Tensor } from '../core/tensor.ts';
import { div } from './binary.ts';
import { fold } from './fold.ts';

const forward = kernel('softmax', 'forward');
const backward = kernel('softmax', 'backward');
const lossForward = kernel('softmax', 'cross_entropy');
const lossBackward = kernel('softmax', 'cross_entropy_backward');

const rowsOf = (x: Tensor) => {
  const c = x.shape.at(-1)!;
  return { n: x.size / c, c, smoothing: 0, scale: 1 };
};

const softmaxOf =
  (LOG: boolean) =>
  (x: Tensor): Tensor => {
    const params = rowsOf(x);
    const y = x.emptyLike();
    forward({ LOG }, { x, out: y }, params, params.n);
    return record(y, [x], (dy) => {
      const dx = x.emptyLike();
      backward({ LOG }, { y, dy, out: dx }, params, params.n);
      return [dx];
    });
  };

/** exp(x_c)/Σ exp(x) over the last dimension. Saves the result. */
export const softmax = softmaxOf(false);
/** x_c − log Σ exp(x) over the last dimension. Saves the result. */
export const logSoftmax = softmaxOf(true);

export interface CrossEntropyOptions {
  /** ε: the target is (1 − ε) on the label and ε spread evenly over all classes. */
  labelSmoothing?: number;
  /** A weight per class [C]; `mean` then divides by the sum of the labels' weights. */
  weight?: Tensor;
  reduction?: 'mean' | 'sum' | 'none';
}

/**
 * Cross-entropy of logits against integer labels, by log-sum-exp.
 *
 *   loss_n = (1 − ε)·w_t·(−log p_t) + ε/C·Σ_c w_c·(−log p_c),  p = softmax(x_n), t = labels[n]
 *
 * x [N,C], labels u32 [N] → [1] (mean, sum) or [N] (none). Saves x. A label of C or more marks a row that counts nothing; the
 * unweighted mean still divides by N. Throws ShapeError when the shapes differ. Source: PyTorch's `cross_entropy`.
 */
export function crossEntropy(
  x: Tensor,
  labels: Tensor,
  { labelSmoothing = 0, weight, reduction = 'mean' }: CrossEntropyOptions = {},
): Tensor {
  const { n, c } = rowsOf(x);
  if (x.shape.length !== 2 || labels.size !== n || labels.dtype !== 'u32') {
    throw new ShapeError(
      `crossEntropy: logits ${showShape(x.shape)} and ${labels.dtype} labels ${showShape(labels.shape)}; it takes [N,C] and u32 [N].`,
    );
  }
  if (weight && weight.size !== c) {
    throw new ShapeError(`crossEntropy: ${c} classes but ${weight.size} weights.`);
  }
  const params = { n, c, smoothing: labelSmoothing, scale: reduction === 'mean' && !weight ? 1 / n : 1 };
  const WEIGHTED = weight !== undefined;
  const rows = Tensor.empty([n]);
  const rowWeight = Tensor.empty([n]);
  lossForward({ WEIGHTED }, { x, labels, out: rows, row_weight: rowWeight, weight: weight ?? x }, params, n);

  let loss = rows;
  let divisor: Tensor | undefined;
  if (reduction !== 'none') {
    loss = fold('SUM', rows, [0], params.scale);
    rows.free('crossEntropy');
    if (WEIGHTED) divisor = reduction === 'mean' ? fold('SUM', rowWeight, [0]) : Tensor.full([1], 1);
    if (divisor) loss = div(loss.detach(), divisor);
  }
  rowWeight.free('crossEntropy');
  return record(
    loss,
    [x],
    (dy) => {
      const dx = x.emptyLike();
      const ROW_GRADIENT = reduction === 'none';
      const operands = { x, labels, dy, out: dx, weight: weight ?? x, divisor: divisor ?? x };
      lossBackward({ WEIGHTED, ROW_GRADIENT }, operands, params, n);
      return [dx];
    },
    divisor ? [divisor] : [],
  );
}
