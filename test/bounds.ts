/**
 * How exact f32 can be for the operations that are no plain sums: the size of the terms that each element is computed
 * from, and how many u of it the arithmetic may cost. Accuracies of builtins are what WGSL §15.7.4 asks of every
 * implementation: division 2.5 ULP, inverseSqrt 2, exp 3 + 2·|x|, log 3 (2⁻²¹ absolute on [½, 2]); one ULP is 2u at most.
 */
import type { Allowance, Bound } from './check.ts';
import { channelMoments } from './reference/norm.ts';
import { sum } from './reference/reduce.ts';
import { type CrossEntropyOptions, logSoftmax, logSumExp } from './reference/softmax.ts';
import { map, type Values } from './reference/values.ts';

/**
 * Unary operations on inputs in [−2, 2] (log and sqrt: [0.05, 2]), [value, gradient], relative to max(1, |value|).
 *
 * exp there costs 3 + 2·2 ULP = 14 u; what is built from it adds its own roundings and, where it divides, 5 u.
 */
export const unaryBounds: Record<string, readonly [Bound, Bound]> = {
  relu: ['exact', 'exact'],
  abs: ['exact', 'exact'],
  neg: ['exact', 'exact'],
  square: [{ ulps: 1 }, { ulps: 2 }],
  sqrt: [{ ulps: 9 }, { ulps: 12 }], // x·inverseSqrt(x), or its reciprocal; its gradient divides once more
  exp: [{ ulps: 14 }, { ulps: 16 }],
  log: [{ ulps: 8 }, { ulps: 6 }], // 2⁻²¹ absolute; dy/x
  sigmoid: [{ ulps: 22 }, { ulps: 24 }],
  tanh: [{ ulps: 40 }, { ulps: 40 }], // e²ˣ on |2x| ≤ 4: 22 u, and a division (below 0.625 a polynomial)
  silu: [{ ulps: 24 }, { ulps: 48 }],
  gelu: [{ ulps: 48 }, { ulps: 96 }], // sigmoid of up to ±3.8, times x
  softplus: [{ ulps: 24 }, { ulps: 24 }],
};

/**
 * Batch norm: allowances for y and, given dy, for [x, γ, β], or with a residual for [x, γ, β, residual].
 *
 * With r = 1/√(σ² + eps), m = mean|x| (inference: |μ|) and X = r·(|x| + m), the size of what x̂ is the difference of:
 *   y: |γ|·X + |β|.   dγ: Σ|dy|·X.   dβ: Σ|dy|.
 *   dx = γ·r·(dy − mean dy − x̂·mean(dy·x̂)): |γ|·r·(|dy| + mean|dy| + X·mean(|dy|·X)); inference: |γ|·r·|dy|.
 * 16 u: means are one-signed sums, accumulated in two levels (8 u), and r costs inverseSqrt's 4 u and σ²'s own error;
 * an error of μ moves σ² in second order only. A fused ReLU only removes terms, so the same allowances hold. A residual adds |r|
 * to y; its gradient is dy itself or 0.
 */
export function batchNormBounds(
  x: Values,
  gamma: Values,
  beta: Values,
  { training = true, eps = 1e-5, runningMean, runningVar, residual }: BatchNormBoundOptions = {},
): { y: Allowance; gradients: (dy: Values) => Allowance[] } {
  const ulps = 16;
  const C = gamma.data.length;
  const { mean, variance, count } = channelMoments(x);
  const centre = training ? channelMeans(map(x, Math.abs)) : runningMean!.data.map(Math.abs);
  const r = (training ? variance : runningVar!.data).map((v) => 1 / Math.sqrt(v + eps));
  const size = map(x, (value, i) => r[i % C]! * (Math.abs(value) + Math.max(centre[i % C]!, Math.abs(mean[i % C]!))));
  return {
    y: {
      ulps,
      terms: size.data.map(
        (X, i) => Math.abs(gamma.data[i % C]!) * X + Math.abs(beta.data[i % C]!) + Math.abs(residual?.data[i] ?? 0),
      ),
    },
    gradients: (dy) => {
      const magnitude = map(dy, Math.abs);
      const product = map(magnitude, (d, i) => d * size.data[i]!);
      const meanDy = channelMeans(magnitude);
      const meanProduct = channelMeans(product);
      const dx = magnitude.data.map((d, i) => {
        const spread = training ? meanDy[i % C]! + size.data[i]! * meanProduct[i % C]! : 0;
        return Math.abs(gamma.data[i % C]!) * r[i % C]! * (d + spread);
      });
      const total = (means: Float64Array) => means.map((value) => value * count);
      return [
        { ulps, terms: dx },
        { ulps, terms: total(meanProduct) },
        { ulps, terms: total(meanDy) },
        ...(residual ? [{ ulps: 0, terms: magnitude.data }] : []),
      ];
    },
  };
}

interface BatchNormBoundOptions {
  training?: boolean;
  eps?: number;
  runningMean?: Values;
  runningVar?: Values;
  residual?: Values | undefined;
}

const channelMeans = (x: Values): Float64Array => channelMoments(x).mean;

/** Largest minus smallest of each row over the last axis: what exp's error grows with. */
function rowRanges(x: Values): Float64Array {
  const C = x.shape.at(-1)!;
  return Float64Array.from({ length: x.data.length / C }, (_, n) => {
    const row = x.data.subarray(n * C, (n + 1) * C);
    return Math.max(...row) - Math.min(...row);
  });
}

const lastAxisSums = (x: Values): Float64Array => sum(x, [-1]).data;

/**
 * Softmax over the last axis. With D the row's range, e^(x−max) costs D u for the difference and 2·(3 + 2D) u for exp;
 * numerator and sum have that error, the division 5 u: 24·(1 + D)·u of y, and dx = y·(dy − Σ dy·y) has y's twice.
 */
export function softmaxBounds(x: Values): { y: Allowance; gradients: (dy: Values) => Allowance[] } {
  const C = x.shape.at(-1)!;
  const range = rowRanges(x);
  const y = map(logSoftmax(x), (value, i) => Math.exp(value) * (1 + range[Math.floor(i / C)]!));
  return {
    y: { ulps: 24, terms: y.data },
    gradients: (dy) => {
      const plain = map(logSoftmax(x), Math.exp);
      const inner = lastAxisSums(map(dy, (d, i) => Math.abs(d) * plain.data[i]!));
      return [{ ulps: 56, terms: y.data.map((p, i) => p * (Math.abs(dy.data[i]!) + inner[Math.floor(i / C)]!)) }];
    },
  };
}

/** The size of the terms of −log p: x, the row's maximum, and a logarithm whose argument has a relative error of 1 + D. */
function logSoftmaxTerms(x: Values): Float64Array {
  const C = x.shape.at(-1)!;
  const range = rowRanges(x);
  const norm = logSumExp(x);
  return x.data.map((value, i) => {
    const n = Math.floor(i / C);
    return Math.abs(value) + Math.abs(norm[n]!) + 1 + range[n]!;
  });
}

/** Log-softmax over the last axis: 24 u of its terms, see `softmaxBounds`; dx = dy − y·Σdy, y = eʸ. */
export function logSoftmaxBounds(x: Values): { y: Allowance; gradients: (dy: Values) => Allowance[] } {
  const C = x.shape.at(-1)!;
  const probability = softmaxBounds(x).y as { terms: ArrayLike<number> };
  return {
    y: { ulps: 24, terms: logSoftmaxTerms(x) },
    gradients: (dy) => {
      const total = lastAxisSums(map(dy, Math.abs));
      const terms = dy.data.map((d, i) => Math.abs(d) + probability.terms[i]! * total[Math.floor(i / C)]!);
      return [{ ulps: 32, terms }];
    },
  };
}

/**
 * Cross-entropy: the sum of log-softmax's terms with the weights that the loss gives them, and for
 * d logit[n,j] = dy/divisor·((1−ε)·w_l·(p_j − [j = l]) + ε/C·(p_j·Σw − w_j)) the sum of its terms, p with softmax's error.
 * 32 u: log-softmax's 24, and 8 for the sum over the batch.
 */
export function crossEntropyBounds(
  logits: Values,
  labels: ArrayLike<number>,
  { labelSmoothing = 0, weight = null, reduction = 'mean' }: CrossEntropyOptions = {},
): { y: Allowance; gradients: (dy: Values) => Allowance[] } {
  const [N, C] = logits.shape as [number, number];
  const given = weight && 'data' in weight ? weight.data : weight;
  const w = Float64Array.from({ length: C }, (_, c) => given?.[c] ?? 1);
  const all = w.reduce((a, b) => a + b, 0);
  const terms = logSoftmaxTerms(logits);
  const probability = (softmaxBounds(logits).y as { terms: ArrayLike<number> }).terms;
  const hits = Float64Array.from({ length: N }, (_, n) => (1 - labelSmoothing) * w[labels[n]!]!);
  const divisor = reduction === 'mean' ? Array.from(labels).reduce((a, label) => a + w[label]!, 0) : 1;
  const share = labelSmoothing / C;
  const losses = hits.map((hit, n) => {
    const spread = w.reduce((total, wc, c) => total + share * wc * terms[n * C + c]!, 0);
    return (hit * terms[n * C + labels[n]!]! + spread) / divisor;
  });
  return {
    y: { ulps: 32, terms: reduction === 'none' ? losses : [losses.reduce((a, b) => a + b, 0)] },
    gradients: (dy) => {
      const dLogits = map(logits, (_, i) => {
        const n = Math.floor(i / C);
        const hit = i % C === labels[n] ? hits[n]! : 0;
        const size = (hits[n]! + share * all) * probability[i]! + hit + share * w[i % C]!;
        return (Math.abs(dy.data[reduction === 'none' ? n : 0]!) * size) / divisor;
      });
      return [{ ulps: 32, terms: dLogits.data }];
    },
  };
}
