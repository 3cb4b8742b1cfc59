import { kernel } from '../../core/kernel.ts';
import {
  type ConvDgrad,
  type ConvForward,
  type ConvShape,
  type ConvWgrad,
  isSmallAndRagged,
  type Multiplication,
} from './problem.ts';
import type { Variant } from './variant.ts';

const multiply = kernel('matmul_plain', 'multiply');
const forward = kernel('conv2d_plain', 'forward');
const dgrad = kernel('conv2d_plain', 'dgrad');
const wgrad = kernel('conv2d_plain', 'wgrad');

function layout({ N, H, W, C, K, P, Q, R, S, strideH, strideW, padH, padW }: ConvShape) {
  return {
    consts: { R, S, STRIDE_H: strideH, STRIDE_W: strideW, PAD_H: padH, PAD_W: padW },
    params: { N, H, W, C, K, P, Q },
  };
}

/**
 * The definitions, one invocation an element, that the fast kernels are held against. They fit everything, and but for small products
 * are taken only where nothing else fits.
 */
const definition = { name: 'plain', fits: () => true, rank: () => Number.POSITIVE_INFINITY, reference: true };

export const plainMultiply: Variant<Multiplication> = {
  ...definition,
  rank: ({ product }, { software }) => (software && isSmallAndRagged(product) ? 10 : Number.POSITIVE_INFINITY),
  run({ a, b, bias, c, product: { M, N, K, transposeA, transposeB } }) {
    const types = { AElem: a.dtype, BElem: b.dtype, CElem: c.dtype };
    const consts = { ...types, TRANSPOSE_A: transposeA, TRANSPOSE_B: transposeB, HAS_BIAS: bias !== null };
    multiply(consts, { a, b, bias: bias ?? b.storage, c }, { M, N, K }, M * N);
  },
};

export const plainForward: Variant<ConvForward> = {
  ...definition,
  run({ x, w, bias, y, shape }) {
    const { consts, params } = layout(shape);
    const types = { XElem: x.dtype, WElem: w.dtype, OutElem: y.dtype };
    forward(
      { ...consts, ...types, HAS_BIAS: bias !== null },
      { x, w, bias: bias ?? w.storage, out: y },
      params,
      y.size,
    );
  },
};

export const plainDgrad: Variant<ConvDgrad> = {
  ...definition,
  run({ dy, w, dx, shape }) {
    const { consts, params } = layout(shape);
    const types = { DyElem: dy.dtype, WElem: w.dtype, OutElem: dx.dtype };
    dgrad({ ...consts, ...types }, { dy, w, out: dx }, params, dx.size);
  },
};

export const plainWgrad: Variant<ConvWgrad> = {
  ...definition,
  run({ x, dy, dw, shape }) {
    const { consts, params } = layout(shape);
    const types = { DyElem: dy.dtype, XElem: x.dtype, OutElem: dw.dtype };
    wgrad({ ...consts, ...types }, { dy, x, out: dw }, params, dw.size);
  },
};
