import { ShapeError } from '../core/errors.ts';
import { kernel } from '../core/kernel.ts';
import { showShape } from '../core/shape.ts';
import { gradientFor, mayOverwrite, record } from '../core/tape.ts';
import { Tensor } from '../core/tensor.ts';

const moments = kernel('batchnorm', 'moments');
const merge = kernel('batchnorm', 'merge');
const running = kernel('batchnorm', 'running');
const apply = kernel('batchnorm', 'apply');
const gradientSums = kernel('batchnorm', 'gradient_sums');
const gradientMerge = kernel('batchnorm', 'gradient_merge');
const gradientInput = kernel('batchnorm', 'gradient_input');

/** Invocations that the statistics are spread over, where there are rows enough. */
const INVOCATIONS = 8192;

export interface BatchNormOptions {
  /** Normalise with the batch's statistics and update the running ones; else use the running ones. */
  training: boolean;
  /** Share of the new value in the running statistics. */
  momentum?: number;
  eps?: number;
  /** Apply ReLU to the result in the same pass. */
  relu?: boolean;
}

/**
 * Batch normalisation over every dimension but the last.
 *
 *   y = γ·(x − μ)/√(σ² + ε) + β, then max(y, 0) with `relu`
 *
 * x [N, …, C]; γ, β, running mean and variance [C] → y like x. μ and σ² are the batch's (σ² biased) in training, which also moves
 * the running statistics by `momentum` (σ² unbiased); else the running ones. Saves x, μ and 1/√(σ² + ε), and y with `relu`.
 * Throws ShapeError for a training batch with one value a channel. Source: Ioffe and Szegedy 2015; PyTorch's `batch_norm`.
 */
export function batchNorm(
  x: Tensor,
  gamma: Tensor,
  beta: Tensor,
  runningMean: Tensor,
  runningVar: Tensor,
  { training, momentum = 0.1, eps = 1e-5, relu = false }: BatchNormOptions,
): Tensor {
  const c = x.shape.at(-1)!;
  const m = x.size / c;
  for (const [name, tensor] of Object.entries({ gamma, beta, runningMean, runningVar })) {
    if (tensor.size !== c) {
      throw new ShapeError(
        `batchNorm: x ${showShape(x.shape)} has ${c} channels but ${name} is ${showShape(tensor.shape)}.`,
      );
    }
  }
  if (training && m === 1) {
    throw new ShapeError(
      `batchNorm: x ${showShape(x.shape)} has one value per channel, whose variance is 0. Train with a larger batch or image.`,
    );
  }
  // Four channels at once where their number allows it; from here on, kernels count in elements of that width.
  const Elem = c % 4 === 0 ? 'vec4f' : 'f32';
  const columns = c % 4 === 0 ? c / 4 : c;
  const rows = Math.min(512, Math.max(16, Math.ceil((m * columns) / INVOCATIONS)));
  const chunks = Math.ceil(m / rows);
  const params = { m, c: columns, rows, chunks, eps, momentum };

  const stats = Tensor.empty([2, c]);
  if (training) {
    const partial = Tensor.empty([chunks, c, 2]);
    moments({ Elem }, { x, out: partial }, params, chunks * columns);
    merge({ Elem }, { sums: partial, out: stats, running_mean: runningMean, running_var: runningVar }, params, columns);
    partial.free('batchNorm');
  } else {
    running({ Elem }, { out: stats, running_mean: runningMean, running_var: runningVar }, params, columns);
  }
  const y = x.emptyLike();
  apply({ Elem, RELU: relu }, { x, gamma, beta, stats, out: y }, params, m * columns);

  return record(
    y,
    [x, gamma, beta],
    (dy, needs) => {
      const mask = relu ? y : x;
      const partial = Tensor.empty([chunks, c, 2]);
      gradientSums({ Elem, RELU: relu }, { x, dy, stats, out: partial, y: mask }, params, chunks * columns);
      const dgamma = needs[1] ? gradientFor(gamma) : gamma.emptyLike();
      const dbeta = needs[2] ? gradientFor(beta) : beta.emptyLike();
      gradientMerge({ Elem }, { sums: partial, out: dgamma, out2: dbeta }, params, columns);
      partial.free('batchNorm');
      if (!needs[0]) return [null, dgamma, dbeta];
      // Large maps are what fills the memory at this point, so the gradient goes over dy where nobody else reads it.
      const IN_PLACE = mayOverwrite(dy);
      const dx = IN_PLACE ? dy : x.emptyLike();
      const consts = { Elem, RELU: relu, TRAINING: training, IN_PLACE };
      gradientInput(
        consts,
        { x, dy: IN_PLACE ? x : dy, stats, gamma, out: dx, y: mask, sums: dgamma, beta: dbeta },
        params,
        m * columns,
      );
      return [dx, dgamma, dbeta];
    },
    [stats],
  );
}
