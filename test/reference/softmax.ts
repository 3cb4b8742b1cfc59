import { map, type Values, values } from './values.ts';

/** logSumExp of each row over the last axis. */
export function logSumExp(x: Values): Float64Array {
  const C = x.shape.at(-1)!;
  const rows = x.data.length / C;
  return Float64Array.from({ length: rows }, (_, n) => {
    const row = x.data.subarray(n * C, (n + 1) * C);
    const top = row.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
    return top + Math.log(row.reduce((total, value) => total + Math.exp(value - top), 0));
  });
}

/** y = x − ln Σ eˣ over the last axis. */
export function logSoftmax(x: Values): Values {
  const C = x.shape.at(-1)!;
  const norm = logSumExp(x);
  return map(x, (value, i) => value - norm[Math.floor(i / C)]!);
}

/** y = eˣ / Σ eˣ over the last axis. */
export const softmax = (x: Values): Values => map(logSoftmax(x), Math.exp);

export interface CrossEntropyOptions {
  labelSmoothing?: number;
  weight?: ArrayLike<number> | Values | null;
  reduction?: 'mean' | 'sum' | 'none';
}

/**
 * Cross-entropy of logits [N,C] with integer labels, as torch.nn.functional.cross_entropy.
 *
 *   lossₙ = (1 − ε)·w[labelₙ]·(−log p[n,labelₙ]) + ε/C · Σ_c w[c]·(−log p[n,c])
 *
 * 'mean' divides the sum by Σₙ w[labelₙ]: N without weights. 'none' keeps [N]; the others give a scalar [].
 */
export function crossEntropy(
  logits: Values,
  labels: ArrayLike<number>,
  { labelSmoothing = 0, weight = null, reduction = 'mean' }: CrossEntropyOptions = {},
): Values {
  const [N, C] = logits.shape as [number, number];
  const given = weight && 'data' in weight ? weight.data : weight;
  const weightOf = (c: number): number => given?.[c] ?? 1;
  const logP = logSoftmax(logits).data;
  const losses = new Float64Array(N);
  let divisor = 0;
  for (let n = 0; n < N; n++) {
    const label = labels[n]!;
    let spread = 0;
    for (let c = 0; c < C; c++) spread -= weightOf(c) * logP[n * C + c]!;
    const hit = -weightOf(label) * logP[n * C + label]!;
    losses[n] = (1 - labelSmoothing) * hit + (labelSmoothing / C) * spread;
    divisor += weightOf(label);
  }
  if (reduction === 'none') return values([N], losses);
  const total = losses.reduce((a, b) => a + b, 0);
  return values([], [reduction === 'mean' ? total / divisor : total]);
}
