import { ConfigError, ShapeError } from '../core/errors.ts';
import { kernel } from '../core/kernel.ts';
import { showShape } from '../core/shape.ts';
import { record } from '../core/tape.ts';
import { Tensor } from '../core/tensor.ts';
import { cast, floating } from './cast.ts';
import { columnOf } from './columns.ts';

const forward = kernel('softmax', 'forward');
const backward = kernel('softmax', 'backward');
const losses = kernel('softmax', 'crossEntropies');
const lossForward = kernel('softmax', 'crossEntropy');
const lossBackward = kernel('softmax', 'crossEntropyBackward');

const rowsOf = (op: string, x: Tensor) => {
  const c = x.shape.at(-1);
  if (c === undefined) throw new ShapeError(`${op}: a tensor [] has no dimension to go over.`);
  return { n: x.size / c, c, smoothing: 0, block: 1 };
};

/** Within it all is f32, what it saves too. */
const softmaxOf =
  (LOG: boolean) =>
  (input: Tensor): Tensor => {
    const x = cast(input, 'f32');
    const params = rowsOf(LOG ? 'logSoftmax' : 'softmax', x);
    const y = x.emptyLike();
    forward({ LOG }, { x, out: y }, params, params.n);
    const gradient = (dy: Tensor) => {
      const dx = x.emptyLike();
      backward({ LOG }, { y, dy, out: dx }, params, params.n);
      return [dx];
    };
    return cast(record(y, [x], gradient, [], [y]), floating(input.dtype));
  };

/** exp(x_c)/Σ exp(x) over the last dimension. Saves the result. */
export const softmax = softmaxOf(false);
/** x_c − log Σ exp(x) over the last dimension. Saves the result. */
export const logSoftmax = softmaxOf(true);

export interface CrossEntropyOptions {
  /** ε: the target is (1 − ε) on the label and ε spread evenly over all classes. */
  labelSmoothing?: number;
  /** A weight for each class [C]; `mean` then divides by the sum of the labels' weights. */
  weight?: Tensor;
  reduction?: 'mean' | 'sum' | 'none';
}

/**
 * Cross-entropy of logits against integer labels, by log-sum-exp.
 *
 *   loss_n = (1 − ε)·w_t·(−log p_t) + ε/C·Σ_c w_c·(−log p_c),  p = softmax(x_n), t = labels[n]
 *
 * x [N,C], labels u32 [N] → [1] (mean, sum) or [N] (none). Saves x. A label of C or more marks a row that does not
 * count, in the mean neither (PyTorch's `ignore_index`); a mean of no rows is 0. All of it is f32, f16 logits are cast first. Throws
 * ShapeError when the shapes differ, ConfigError for another reduction. Source: PyTorch's `cross_entropy`.
 */
export function crossEntropy(
  logits: Tensor,
  labels: Tensor,
  { labelSmoothing = 0, weight, reduction = 'mean' }: CrossEntropyOptions = {},
): Tensor {
  const x = cast(logits, 'f32');
  const { n, c } = rowsOf('crossEntropy', x);
  if (x.shape.length !== 2 || labels.size !== n || labels.dtype !== 'u32') {
    throw new ShapeError(
      `crossEntropy: logits ${showShape(x.shape)} and ${labels.dtype} labels ${showShape(labels.shape)}; it takes [N,C] and u32 [N]. Reshape maps to [-1,C], and make labels of a Uint32Array.`,
    );
  }
  if (!['mean', 'sum', 'none'].includes(reduction))
    throw new ConfigError(`crossEntropy: reduction is ${reduction}; there are mean, sum and none.`);
  if (!(labelSmoothing >= 0 && labelSmoothing <= 1)) {
    throw new ShapeError(`crossEntropy: labelSmoothing is ${labelSmoothing}; it is a share from 0 to 1.`);
  }
  if (weight && weight.size !== c) {
    throw new ShapeError(`crossEntropy: ${c} classes but ${weight.size} weights.`);
  }
  const { consts, block, threads } = columnOf(x.storage, n);
  const MEAN = reduction === 'mean';
  const params = { n, c, smoothing: labelSmoothing, block };
  const WEIGHTED = weight !== undefined;
  const operands = { x, labels, weight: weight ?? x };
  const reads = Object.values(operands);
  if (reduction === 'none') {
    const loss = Tensor.empty([n]);
    losses({ WEIGHTED }, { ...operands, out: loss }, params, n);
    const backward = (dy: Tensor) => {
      const dx = x.emptyLike();
      lossBackward({ WEIGHTED, ROW_GRADIENT: true }, { ...operands, dy, factor: dy, out: dx }, params, n);
      return [dx];
    };
    return record(loss, [x], backward, [], reads);
  }
  const loss = Tensor.empty([1]);
  const factor = Tensor.empty([1]);
  const out = { out: loss, outFactor: factor };
  lossForward({ ...consts, WEIGHTED, MEAN }, { ...operands, ...out }, params, threads);
  const backward = (dy: Tensor) => {
    const dx = x.emptyLike();
    lossBackward({ WEIGHTED }, { ...operands, dy, factor, out: dx }, params, n);
    return [dx];
  };
  return record(loss, [x], backward, [factor], reads);
}
