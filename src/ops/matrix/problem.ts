import type { DType } from '../../core/dtype.ts';
import type { Tensor } from '../../core/tensor.ts';

/** M×N results, each the sum of K terms. */
export interface Extents {
  M: number;
  N: number;
  K: number;
}

/** Matrix products, each of M×N results at most: the phases of a strided data gradient. */
export interface Phases extends Extents {
  phases?: number;
}

/** What is multiplied: c [M,N] = op(a)·op(b) over K terms. */
export interface Product extends Extents {
  /** a lies in memory as [K,M]. */
  transposeA: boolean;
  /** b lies in memory as [N,K]. */
  transposeB: boolean;
}

/** Products of the same extents, all of them multiples of 4, one after the other in a, b and c, all f32. */
export interface Batch extends Product {
  count: number;
  /** The products are added to what c holds. */
  accumulate?: boolean;
}

/** c = op(a)·op(b) (+ bias [N]). a and b are of one type, f32 or f16; the bias is f32; c is of either. */
export interface Multiplication {
  a: Tensor;
  b: Tensor;
  bias: Tensor | null;
  c: Tensor;
  product: Product;
}

/** Extents of a convolution: x [N,H,W,C], w [K,R,S,C], y [N,P,Q,K]. */
export interface ConvShape {
  N: number;
  H: number;
  W: number;
  C: number;
  K: number;
  R: number;
  S: number;
  P: number;
  Q: number;
  strideH: number;
  strideW: number;
  padH: number;
  padW: number;
}

/** y = x ⋆ w (+ bias [K]). x and w are of one type, f32 or f16, and so is y; the bias is f32. */
export interface ConvForward {
  x: Tensor;
  w: Tensor;
  bias: Tensor | null;
  y: Tensor;
  shape: ConvShape;
}

/** dx from dy and w, all of one type. */
export interface ConvDgrad {
  dy: Tensor;
  w: Tensor;
  dx: Tensor;
  shape: ConvShape;
}

/** dw from x and dy, which are of one type; dw is f32, or of theirs. */
export interface ConvWgrad {
  x: Tensor;
  dy: Tensor;
  dw: Tensor;
  shape: ConvShape;
}

/** A convolution that touches each pixel once is a matrix product, of [pixels, C] by w [K, C]. */
export const isPointwise = ({ R, S, strideH, strideW, padH, padW }: ConvShape): boolean =>
  R * S * strideH * strideW === 1 && padH === 0 && padW === 0;

export const forwardProduct = ({ x, w, bias, y, shape: { N, P, Q, K, C } }: ConvForward): Multiplication => ({
  ...{ a: x, b: w, bias, c: y },
  product: { M: N * P * Q, N: K, K: C, transposeA: false, transposeB: true },
});

export const dgradProduct = ({ dy, w, dx, shape: { N, P, Q, K, C } }: ConvDgrad): Multiplication => ({
  ...{ a: dy, b: w, bias: null, c: dx },
  product: { M: N * P * Q, N: C, K, transposeA: false, transposeB: false },
});

export const wgradProduct = ({ x, dy, dw, shape: { N, P, Q, K, C } }: ConvWgrad): Multiplication => ({
  ...{ a: dy, b: x, bias: null, c: dw },
  product: { M: K, N: C, K: N * P * Q, transposeA: true, transposeB: false },
});

/** A convolution as a matrix product: of its pixels by its output channels, over taps and channels. */
export const forwardExtents = ({ N, P, Q, K, R, S, C }: ConvShape): Extents => ({ M: N * P * Q, N: K, K: R * S * C });

/** The gradient of its weights as a product: of output channels by taps and channels, over pixels. */
export const wgradExtents = ({ N, P, Q, K, R, S, C }: ConvShape): Extents => ({ M: K, N: R * S * C, K: N * P * Q });

/** The gradient of its input as products, one for each of the stride² phases: the largest, with the terms of an average one. */
export const dgradExtents = ({ N, H, W, C, K, R, S, strideH, strideW }: ConvShape): Required<Phases> => ({
  M: N * Math.ceil(H / strideH) * Math.ceil(W / strideW),
  N: C,
  K: (K * R * S) / (strideH * strideW),
  phases: strideH * strideW,
});

/**
 * The extents of a convolution as its kernels have them: `in` is what is gathered from, `out` the result. The kernels of its weights'
 * gradient have the same.
 */
export const convParams = ({ N, H, W, C, K, R, S, P, Q }: ConvShape) => ({
  ...{ batch: N, inH: H, inW: W, inC: C, outH: P, outW: Q, outC: K, r: R, s: S },
});

/** Those of its input's gradient, which is gathered from dy. */
export const dgradParams = ({ N, H, W, C, K, R, S, P, Q }: ConvShape) => ({
  ...{ batch: N, inH: P, inW: Q, inC: K, outH: H, outW: W, outC: C, r: R, s: S },
});

export const allF32 = (...tensors: Tensor[]): boolean => tensors.every(({ dtype }) => dtype === 'f32');

/**
 * Products that are done in a millisecond or two however they are computed, and that would each have `lanes` compile a kernel of
 * their own because their extents are no multiples of 4: a classifier's, of seven classes. On software adapters that takes a
 * fifth of a second each (lavapipe), more than any run gets back: there `plain` computes them.
 */
export const isSmallAndRagged = ({ M, N, K }: Extents): boolean =>
  M * N * K <= 2 ** 21 && [M, N, K].some((extent) => extent % 4 !== 0);

/** Multiplications and additions of a product. */
export const productFlops = ({ M, N, K }: Extents): number => 2 * M * N * K;

/** Multiplications and additions of a convolution or either of its gradients, padding counted. */
export const convFlops = ({ N, P, Q, K, R, S, C }: ConvShape): number => 2 * N * P * Q * K * R * S * C;

const suffix = (dtype: DType): string => (dtype === 'f32' ? '' : ` ${dtype}`);

export const productKey = ({ M, N, K, transposeA, transposeB }: Product, dtype: DType): string =>
  `${M}×${N}×${K}${transposeA ? ' aᵀ' : ''}${transposeB ? ' bᵀ' : ''}${suffix(dtype)}`;

/** The extents in the order of x and w, then what is not 1×1, 1 and 0. */
export function convKey({ N, H, W, C, K, R, S, strideH, strideW, padH, padW }: ConvShape, dtype: DType): string {
  return `${N}×${H}×${W}×${C} → ${K}, ${R}×${S}, stride ${strideH}×${strideW}, padding ${padH}×${padW}${suffix(dtype)}`;
}
