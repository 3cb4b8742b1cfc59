import { kernel } from '../core/kernel.ts';
import type { Tensor } from '../core/tensor.ts';
import type { ConvShape } from './convolve.ts';
import type { Product } from './multiply.ts';

const multiply = kernel('matmul_plain', 'multiply');
const forward = kernel('conv2d_plain', 'forward');
const dgrad = kernel('conv2d_plain', 'dgrad');
const wgrad = kernel('conv2d_plain', 'wgrad');

/** The definition of the matrix product, one invocation an element: what the fast kernels are held against. */
export function plainMultiply(a: Tensor, b: Tensor, bias: Tensor | null, c: Tensor, product: Product): Tensor {
  const { M, N, K, transposeA, transposeB } = product;
  const consts = { TRANSPOSE_A: transposeA, TRANSPOSE_B: transposeB, HAS_BIAS: bias !== null };
  multiply(consts, { a, b, bias: bias ?? b, c }, { M, N, K }, M * N);
  return c;
}

function layout({ N, H, W, C, K, P, Q, R, S, strideH, strideW, padH, padW }: ConvShape) {
  return {
    consts: { R, S, STRIDE_H: strideH, STRIDE_W: strideW, PAD_H: padH, PAD_W: padW },
    params: { N, H, W, C, K, P, Q },
  };
}

/** The definition of convolution, for tests and for strides that differ by direction. */
export function plainForward(x: Tensor, w: Tensor, bias: Tensor | null, y: Tensor, shape: ConvShape): void {
  const { consts, params } = layout(shape);
  forward({ ...consts, HAS_BIAS: bias !== null }, { x, w, bias: bias ?? w, out: y }, params, y.size);
}

export function plainDgrad(dy: Tensor, w: Tensor, dx: Tensor, shape: ConvShape): void {
  const { consts, params } = layout(shape);
  dgrad(consts, { dy, w, out: dx }, params, dx.size);
}

export function plainWgrad(x: Tensor, dy: Tensor, dw: Tensor, shape: ConvShape): void {
  const { consts, params } = layout(shape);
  wgrad(consts, { dy, x, out: dw }, params, dw.size);
}
