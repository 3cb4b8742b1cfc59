import { ShapeError } from '../core/errors.ts';
import { expectPositive, type Pair, pair, showShape, windowOutput } from '../core/shape.ts';
import { doneWith, gradientFor, readFor, record } from '../core/tape.ts';
import { Tensor } from '../core/tensor.ts';
import { cast, floating, floats, weightAs } from './cast.ts';
import { convDgrad, convForward, convWgrad } from './matrix/convolve.ts';
import type { ConvShape } from './matrix/problem.ts';
import { biasGradient } from './reduceaxes.ts';

export interface Conv2dOptions {
  stride?: Pair;
  padding?: Pair;
}

/**
 * 2-d cross-correlation, as "convolution" is used in deep learning.
 *
 *   y[n,p,q,k] = b[k] + Σ_{r,s,c} x[n, p·stride + r − padding, q·stride + s − padding, c] · w[k,r,s,c]
 *
 * x [N,H,W,C], w [K,R,S,C], b [K] or null → y [N,P,Q,K], P = ⌊(H + 2·padding − R)/stride⌋ + 1. w is cast to x's
 * type, which is y's as well. Saves x and w. Throws ShapeError when channels differ or the kernel is larger than the padded image.
 */
export function conv2d(
  input: Tensor,
  weight: Tensor,
  bias: Tensor | null,
  { stride = 1, padding = 0 }: Conv2dOptions = {},
): Tensor {
  const x = floats(input);
  if (x.shape.length !== 4 || weight.shape.length !== 4) {
    throw new ShapeError(
      `conv2d: x is ${showShape(x.shape)} and w ${showShape(weight.shape)}; they are [N,H,W,C] and [K,R,S,C].`,
    );
  }
  const [N, H, W, C] = x.shape as [number, number, number, number];
  const [K, R, S, wC] = weight.shape as [number, number, number, number];
  if (C !== wC) {
    const mend = H === wC ? 'Images are channels last: [N,H,W,C]' : `Build the layer with inChannels: ${C}`;
    throw new ShapeError(`conv2d: w takes ${wC} channels but x ${showShape(x.shape)} has ${C}. ${mend}.`);
  }
  if (bias && bias.size !== K)
    throw new ShapeError(`conv2d: w ${showShape(weight.shape)} gives ${K} channels but b is ${showShape(bias.shape)}.`);
  const [strideH, strideW] = pair(stride);
  const [padH, padW] = pair(padding);
  expectPositive('conv2d', 'strides', [strideH, strideW]);
  expectPositive('conv2d', 'paddings', [padH, padW], 0);
  const P = windowOutput('conv2d', H, R, strideH, padH);
  const Q = windowOutput('conv2d', W, S, strideW, padW);

  const { values: w, owner } = weightAs(weight, floating(x.dtype));
  const b = bias && cast(bias, 'f32');
  const shape: ConvShape = { N, H, W, C, K, R, S, P, Q, strideH, strideW, padH, padW };
  const y = Tensor.empty([N, P, Q, K], x.dtype);
  convForward(x, w, b, y, shape);
  const backward = (dy: Tensor, needs: readonly boolean[]) => {
    const dw = needs[1] ? gradientFor(owner) : null;
    if (dw) convWgrad(x, dy, dw, shape);
    doneWith(x);
    const dx = needs[0] ? x.emptyLike() : null;
    if (dx) convDgrad(dy, w, dx, shape);
    const db = b && needs[2] ? biasGradient(b, dy) : null;
    return [dx, dw, db];
  };
  return record(y, [x, owner, b], backward, [], [readFor(owner, x), readFor(x, w)]);
}
