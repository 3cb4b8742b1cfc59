import { wgslType } from '../core/dtype.ts';
import { ConfigError, ShapeError } from '../core/errors.ts';
import { kernel } from '../core/kernel.ts';
import { sameShape, showShape } from '../core/shape.ts';
import { gradientFor, mayOverwrite, record, sumsToZero } from '../core/tape.ts';
import { Tensor } from '../core/tensor.ts';
import { floats } from './cast.ts';
import { columnsOf } from './columns.ts';

const moments = kernel('batchnorm', 'moments');
const apply = kernel('batchnorm', 'apply');
const gradientSums = kernel('batchnorm_gradient', 'gradientSums');
const residualSums = kernel('batchnorm_gradient', 'residualSums');
const gradientInput = kernel('batchnorm_gradient', 'gradientInput');
const gradientParameters = kernel('batchnorm_gradient', 'gradientParameters');

export interface BatchNormOptions {
  /** Normalise with the batch's statistics and update the running ones; else use the running ones. */
  training: boolean;
  /** Share of the new value in the running statistics. */
  momentum?: number;
  eps?: number;
  /** Apply ReLU to the result in the same pass. */
  relu?: boolean;
  /** Added to the result before ReLU, in the same pass; like x. */
  residual?: Tensor;
}

/**
 * Batch normalisation over every dimension but the last.
 *
 *   y = γ·(x − μ)/√(σ² + ε) + β (+ residual), then max(y, 0) with `relu`
 *
 * x [N, …, C]; γ, β, running mean and variance [C] → y like x. μ and σ² are the batch's (σ² biased) in training, which also moves
 * the running statistics by `momentum` (σ² unbiased); else the running ones. Saves x, μ and 1/√(σ² + ε), and y where there are
 * both a residual and `relu`. Throws ShapeError for a training batch with one value a channel, or where shapes differ; ConfigError for
 * a `momentum` or `eps` that cannot be.
 * Source: Ioffe and Szegedy 2015; PyTorch's `batch_norm`.
 */
export function batchNorm(
  input: Tensor,
  gamma: Tensor,
  beta: Tensor,
  runningMean: Tensor,
  runningVar: Tensor,
  { training, momentum = 0.1, eps = 1e-5, relu = false, residual }: BatchNormOptions,
): Tensor {
  const x = floats(input);
  const c = x.shape.at(-1);
  if (c === undefined) throw new ShapeError('batchNorm: a tensor [] has no channels.');
  for (const [name, tensor] of Object.entries({ gamma, beta, runningMean, runningVar })) {
    if (tensor.size !== c) {
      throw new ShapeError(
        `batchNorm: x ${showShape(x.shape)} has ${c} channels but ${name} is ${showShape(tensor.shape)}.`,
      );
    }
  }
  if (residual && !(sameShape(residual.shape, x.shape) && residual.dtype === x.dtype)) {
    throw new ShapeError(
      `batchNorm: x is ${x.dtype} ${showShape(x.shape)} but the residual ${residual.dtype} ${showShape(residual.shape)}.`,
    );
  }
  if (!(momentum >= 0 && momentum <= 1))
    throw new ConfigError(`batchNorm: momentum is ${momentum}; it is a share from 0 to 1.`);
  if (!(eps >= 0)) throw new ConfigError(`batchNorm: eps is ${eps}; it is 0 or more.`);
  if (training && x.size === c) {
    throw new ShapeError(
      `batchNorm: x ${showShape(x.shape)} has one value per channel, whose variance is 0. Train with a larger batch or image.`,
    );
  }
  const { consts: columns, params, threads, whole } = columnsOf(x);
  const shared = { ...columns, Elem: wgslType(x.dtype, c % 4 === 0 ? 4 : 1) };
  const sums = Tensor.empty([1 + params.chunks, 2, c]);
  const y = x.emptyLike();
  const norm = { ...params, whole: Number(whole), eps, momentum };
  if (training && !whole) moments(shared, { x, sums }, norm, threads);
  apply(
    { ...shared, RELU: relu, RESIDUAL: residual !== undefined, TRAINING: training },
    { x, residual: residual ?? x, gamma, beta, out: y, sums, runningMean, runningVar },
    norm,
    threads,
  );

  return record(
    y,
    [x, gamma, beta, residual ?? null],
    (dy, needs) => {
      // Large maps are what fills the memory at this point, so gradients go over dy where nobody else reads it.
      const free = mayOverwrite(dy);
      const masked = relu && residual !== undefined;
      let g = dy;
      const alone = whole && !masked && needs[0]!;
      const walk = { ...params, whole: Number(alone) };
      if (masked) {
        if (!free) g = x.emptyLike();
        residualSums({ ...shared, IN_PLACE: free }, { x, dy: free ? x : dy, y, out: g, sums }, walk, threads);
      }
      const dresidual = needs[3] ? g : null;
      const IN_PLACE = !dresidual && (free || g !== dy);
      // Where nobody wants dx, the sums still bind something in its place.
      const dx = IN_PLACE ? g : needs[0] ? x.emptyLike() : Tensor.empty([1], x.dtype);
      const dgamma = needs[1] ? gradientFor(gamma) : gamma.emptyLike();
      const dbeta = needs[2] ? gradientFor(beta) : beta.emptyLike();
      const operands = { x, dy: IN_PLACE ? x : g, gamma, beta, out: dx, sums };
      const form = { ...shared, RELU: relu && !masked, IN_PLACE };
      if (!masked && !alone) gradientSums(form, operands, walk, threads);
      if (needs[0]) {
        gradientInput({ ...form, TRAINING: training }, { ...operands, dgamma, dbeta }, walk, threads);
        if (training) sumsToZero(dx);
      } else gradientParameters(shared, { sums, dgamma, dbeta }, walk, threads / params.chunks);
      return [dx, dgamma, dbeta, dresidual];
    },
    [sums],
    // With a residual, where ReLU cut cannot be told from x alone.
    [x, gamma, beta, relu && residual ? y : null],
  );
}
