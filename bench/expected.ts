/**
 * Single results of the benchmarked operations, in f64 and straight from their definitions: a few of them, picked over the whole
 * output, say whether a kernel is right at the very shape that is timed.
 */
import type { Tensor } from '../src/core/tensor.ts';

/** A result and the size of the terms it was computed from, which is what f32's rounding is relative to. */
export interface Expected {
  value: number;
  size: number;
}

/** What a tensor must hold after the work has run once. */
export interface Check {
  /** For messages: `y`, `dw`. */
  name: string;
  tensor: Tensor;
  /** The element at a flat index. */
  expected(index: number): Expected;
  /** Allowed difference in units of 2⁻²⁴·size: 8 for sums of products of zero-mean inputs, as in the tests; 0 is exact. */
  ulps: number;
}

const SAMPLES = 64;

/** Compares samples of each tensor; returns the first that differs in words, or null. */
export async function firstWrong(checks: readonly Check[]): Promise<string | null> {
  for (const { name, tensor, expected, ulps } of checks) {
    const got = await tensor.read();
    for (let sample = 0; sample < Math.min(SAMPLES, tensor.size); sample++) {
      // First, last, and between them in steps that have nothing to do with the extents.
      const index =
        sample === 0 ? tensor.size - 1 : Math.floor(((sample - 1) * 0.6180339887498949 * tensor.size) % tensor.size);
      const { value, size } = expected(index);
      const allowed = ulps * 2 ** -24 * size;
      // Written so that NaN is wrong.
      if (!(Math.abs(got[index]! - value) <= allowed)) {
        return `${name}[${index}] of [${tensor.shape}] is ${got[index]}, not ${value.toPrecision(9)} ± ${allowed.toPrecision(2)}`;
      }
    }
  }
  return null;
}

/** Σ a[ia + i·sa]·b[ib + i·sb] over `length` terms. */
export function dot(
  length: number,
  a: Float32Array,
  [ia, sa]: readonly [number, number],
  b: Float32Array,
  [ib, sb]: readonly [number, number],
): Expected {
  let [value, size] = [0, 0];
  for (let i = 0; i < length; i++) {
    const product = a[ia + i * sa]! * b[ib + i * sb]!;
    value += product;
    size += Math.abs(product);
  }
  return { value, size };
}

const sum = (terms: readonly Expected[]): Expected => ({
  value: terms.reduce((total, { value }) => total + value, 0),
  size: terms.reduce((total, { size }) => total + size, 0),
});

/** A square convolution: images are N×side×side×C, results N×out×out×K, w K×kernel×kernel×C. */
export interface Convolution {
  N: number;
  side: number;
  out: number;
  C: number;
  K: number;
  kernel: number;
  stride: number;
  padding: number;
}

/** The sides of a result: ⌊(side + 2·padding − kernel)/stride⌋ + 1. */
export const convolvedSide = ({ side, kernel, stride, padding }: Omit<Convolution, 'out'>): number =>
  Math.floor((side + 2 * padding - kernel) / stride) + 1;

/** Flat index → [a, b, c, d] for extents [, B, C, D]. */
const split = (index: number, [B, C, D]: readonly [number, number, number]): [number, number, number, number] => [
  Math.floor(index / (B * C * D)),
  Math.floor(index / (C * D)) % B,
  Math.floor(index / D) % C,
  index % D,
];

const upTo = (end: number): number[] => Array.from({ length: end }, (_, i) => i);

/** y[n,p,q,k] = Σ_{r,s,c} x[n, p·stride+r−padding, q·stride+s−padding, c]·w[k,r,s,c] */
export function convForward(extents: Convolution, x: Float32Array, w: Float32Array, index: number): Expected {
  const { side, out, C, K, kernel, stride, padding } = extents;
  const [n, p, q, k] = split(index, [out, out, K]);
  const terms: Expected[] = [];
  for (const [r, h] of upTo(kernel).map((r) => [r, p * stride + r - padding] as const)) {
    for (const [s, v] of upTo(kernel).map((s) => [s, q * stride + s - padding] as const)) {
      if (h < 0 || h >= side || v < 0 || v >= side) continue;
      terms.push(dot(C, x, [((n * side + h) * side + v) * C, 1], w, [((k * kernel + r) * kernel + s) * C, 1]));
    }
  }
  return sum(terms);
}

/** dx[n,h,v,c] = Σ dy[n,p,q,k]·w[k,r,s,c] over k and the taps with p·stride = h+padding−r, q·stride = v+padding−s */
export function convDgrad(extents: Convolution, dy: Float32Array, w: Float32Array, index: number): Expected {
  const { side, out, C, K, kernel, stride, padding } = extents;
  const [n, h, v, c] = split(index, [side, side, C]);
  const isResult = (place: number) => Number.isInteger(place) && place >= 0 && place < out;
  const terms: Expected[] = [];
  for (const [r, p] of upTo(kernel).map((r) => [r, (h + padding - r) / stride] as const)) {
    for (const [s, q] of upTo(kernel).map((s) => [s, (v + padding - s) / stride] as const)) {
      if (!isResult(p) || !isResult(q)) continue;
      const pixel = (n * out + p) * out + q;
      terms.push(dot(K, dy, [pixel * K, 1], w, [(r * kernel + s) * C + c, kernel * kernel * C]));
    }
  }
  return sum(terms);
}

/** dw[k,r,s,c] = Σ_{n,p,q} dy[n,p,q,k]·x[n, p·stride+r−padding, q·stride+s−padding, c] */
export function convWgrad(extents: Convolution, x: Float32Array, dy: Float32Array, index: number): Expected {
  const { N, side, out, C, K, kernel, stride, padding } = extents;
  const [k, r, s, c] = split(index, [kernel, kernel, C]);
  const inside = (tap: number) =>
    upTo(out).filter((place) => place * stride + tap >= padding && place * stride + tap < side + padding);
  const [rows, columns] = [inside(r), inside(s)];
  const first = columns[0] ?? 0;
  const terms: Expected[] = [];
  for (let n = 0; n < N; n++) {
    for (const p of rows) {
      const from = (n * out + p) * out + first;
      const pixel = (n * side + p * stride + r - padding) * side + first * stride + s - padding;
      terms.push(dot(columns.length, dy, [from * K + k, K], x, [pixel * C + c, stride * C]));
    }
  }
  return sum(terms);
}

/** Batch norm with ReLU in training over x [m,C], γ and β as given; the statistics are made when a channel is first asked for. */
export class BatchNormExpected {
  private readonly channels = new Map<number, { mean: number; meanSize: number; scale: number }>();
  private readonly gradients = new Map<number, { dgamma: Expected; dbeta: Expected }>();
  private readonly x: Float32Array;
  private readonly C: number;
  private readonly gamma: Float32Array;
  private readonly beta: Float32Array;

  constructor(x: Float32Array, gamma: Float32Array, beta: Float32Array) {
    this.x = x;
    this.gamma = gamma;
    this.beta = beta;
    this.C = gamma.length;
  }

  /** y = max(0, γ·(x − μ)/√(σ² + ε) + β) */
  forward(index: number): Expected {
    const c = index % this.C;
    const [gamma, beta] = [this.gamma[c]!, this.beta[c]!];
    const { normal, size } = this.normalised(index);
    return { value: Math.max(0, gamma * normal + beta), size: Math.abs(gamma) * size + Math.abs(beta) };
  }

  /**
   * dγ = Σ g·x̂, dβ = Σ g, with g = dy where y > 0. `y` is the kernel's own: beside zero its rounding decides, and that is right
   * by the check of the forward pass.
   */
  parameters(dy: Float32Array, y: Float32Array, c: number): { dgamma: Expected; dbeta: Expected } {
    const known = this.gradients.get(c);
    if (known) return known;
    const [dgamma, dbeta] = [
      { value: 0, size: 0 },
      { value: 0, size: 0 },
    ];
    for (let i = c; i < this.x.length; i += this.C) {
      if (!(y[i]! > 0)) continue;
      const { normal, size } = this.normalised(i);
      dgamma.value += dy[i]! * normal;
      dgamma.size += Math.abs(dy[i]!) * size;
      dbeta.value += dy[i]!;
      dbeta.size += Math.abs(dy[i]!);
    }
    this.gradients.set(c, { dgamma, dbeta });
    return { dgamma, dbeta };
  }

  /** dx = γ/√(σ² + ε)·(g − dβ/m − x̂·dγ/m) */
  input(dy: Float32Array, y: Float32Array, index: number): Expected {
    const c = index % this.C;
    const m = this.x.length / this.C;
    const { dgamma, dbeta } = this.parameters(dy, y, c);
    const { normal, size } = this.normalised(index);
    const g = y[index]! > 0 ? dy[index]! : 0;
    const factor = this.gamma[c]! * this.statistics(c).scale;
    return {
      value: factor * (g - dbeta.value / m - (normal * dgamma.value) / m),
      size: Math.abs(factor) * (Math.abs(g) + dbeta.size / m + (size * dgamma.size) / m),
    };
  }

  private normalised(index: number): { normal: number; size: number } {
    const { mean, meanSize, scale } = this.statistics(index % this.C);
    const value = this.x[index]!;
    return { normal: (value - mean) * scale, size: (Math.abs(value) + meanSize) * scale };
  }

  private statistics(c: number) {
    const known = this.channels.get(c);
    if (known) return known;
    const m = this.x.length / this.C;
    let [mean, meanSize, variance] = [0, 0, 0];
    for (let i = c; i < this.x.length; i += this.C) {
      mean += this.x[i]! / m;
      meanSize += Math.abs(this.x[i]!) / m;
    }
    for (let i = c; i < this.x.length; i += this.C) variance += (this.x[i]! - mean) ** 2 / m;
    const statistics = { mean, meanSize, scale: 1 / Math.sqrt(variance + 1e-5) };
    this.channels.set(c, statistics);
    return statistics;
  }
}

/** Largest of a 2×2 window of x [N,side,side,C], and its flat index; of equal ones the first. */
export function windowMaximum(side: number, C: number, x: Float32Array, index: number): { value: number; at: number } {
  const [n, p, q, c] = split(index, [side / 2, side / 2, C]);
  const corner = ((n * side + 2 * p) * side + 2 * q) * C + c;
  const at = [corner, corner + C, corner + side * C, corner + (side + 1) * C].reduce((best, i) =>
    x[i]! > x[best]! ? i : best,
  );
  return { value: x[at]!, at };
}

/** The window of a 2×2 pool that holds element `index` of x [N,side,side,C]. */
export function windowOf(side: number, C: number, index: number): number {
  const [n, h, v, c] = split(index, [side, side, C]);
  return ((n * (side / 2) + Math.floor(h / 2)) * (side / 2) + Math.floor(v / 2)) * C + c;
}

/** softmax of one row of logits [·,C] and the log of its denominator. */
export function softmaxRow(logits: Float32Array, C: number, row: number): { p: number[]; logSum: number } {
  const values = [...logits.subarray(row * C, (row + 1) * C)];
  const top = Math.max(...values);
  const total = values.reduce((all, value) => all + Math.exp(value - top), 0);
  return { p: values.map((value) => Math.exp(value - top) / total), logSum: top + Math.log(total) };
}
