import { type Values, values } from './values.ts';

export interface BatchNormOptions {
  training?: boolean;
  momentum?: number;
  eps?: number;
  relu?: boolean;
  /** Added before ReLU; like x. */
  residual?: Values | undefined;
}

export interface BatchNormResult {
  y: Values;
  runningMean: Values;
  runningVar: Values;
}

/** Mean and biased variance of each channel of x [...,C], in two passes. */
export function channelMoments(x: Values): { mean: Float64Array; variance: Float64Array; count: number } {
  const C = x.shape.at(-1)!;
  const count = x.data.length / C;
  const mean = new Float64Array(C);
  const variance = new Float64Array(C);
  for (let i = 0; i < x.data.length; i++) mean[i % C]! += x.data[i]! / count;
  for (let i = 0; i < x.data.length; i++) variance[i % C]! += (x.data[i]! - mean[i % C]!) ** 2 / count;
  return { mean, variance, count };
}

/**
 * y = γ·(x − μ)/√(σ² + eps) + β (+ residual) over the last axis, then max(y, 0) if `relu`.
 *
 * Training takes μ and the biased σ² from the batch and moves the running statistics towards μ and the unbiased σ² by
 * `momentum`; otherwise μ and σ² are the running ones. x [...,C], the others [C]. As torch.nn.BatchNorm2d.
 */
export function batchNorm(
  x: Values,
  gamma: Values,
  beta: Values,
  runningMean: Values,
  runningVar: Values,
  { training = true, momentum = 0.1, eps = 1e-5, relu = false, residual }: BatchNormOptions = {},
): BatchNormResult {
  const C = x.shape.at(-1)!;
  const batch = channelMoments(x);
  const mean = training ? batch.mean : runningMean.data;
  const variance = training ? batch.variance : runningVar.data;
  const y = values(x.shape);
  for (let i = 0; i < y.data.length; i++) {
    const c = i % C;
    const normal = (x.data[i]! - mean[c]!) / Math.sqrt(variance[c]! + eps);
    const value = gamma.data[c]! * normal + beta.data[c]! + (residual?.data[i] ?? 0);
    y.data[i] = relu ? Math.max(value, 0) : value;
  }
  if (!training) return { y, runningMean, runningVar };
  const unbias = batch.count / (batch.count - 1);
  const moved = (running: Values, statistic: Float64Array, scale: number): Values =>
    values(
      [C],
      running.data.map((old, c) => (1 - momentum) * old + momentum * statistic[c]! * scale),
    );
  return {
    y,
    runningMean: moved(runningMean, batch.mean, 1),
    runningVar: moved(runningVar, batch.variance, unbias),
  };
}
