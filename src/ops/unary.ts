import { kernel } from '../core/kernel.ts';
import { record } from '../core/tape.ts';
import type { Tensor } from '../core/tensor.ts';
import { walkOver } from '../core/walk.ts';
import { floats } from './cast.ts';

const forward = kernel('unary', 'forward');
const backward = kernel('unary', 'backward');

/** Elementwise y = f(x), of whole numbers in f32. f and f′ are the cases named `OP` in shaders/unary.wgsl. Saves x. */
const unary =
  (OP: string) =>
  (input: Tensor): Tensor => {
    const x = floats(input);
    const y = x.emptyLike();
    const { consts: walk, n, threads } = walkOver(x.size, x.dtype);
    const consts = { OP, ...walk, Bits: walk.Vec === 'f32' ? 'u32' : 'vec4u' };
    forward(consts, { x, out: y }, { n }, threads);
    const gradient = (dy: Tensor) => {
      const dx = x.emptyLike();
      backward(consts, { x, dy, out: dx }, { n }, threads);
      return [dx];
    };
    return record(y, [x], gradient, [], [x]);
  };

/** max(x, 0); the gradient at 0 is 0. */
export const relu = unary('RELU');
/** 1/(1 + e⁻ˣ). */
export const sigmoid = unary('SIGMOID');
export const tanh = unary('TANH');
export const exp = unary('EXP');
/** Natural logarithm of x > 0; drivers differ in what they give elsewhere (SwiftShader: a finite number). */
export const log = unary('LOG');
export const sqrt = unary('SQRT');
/** |x|; the gradient at 0 is 0. */
export const abs = unary('ABS');
export const neg = unary('NEG');
/** x². */
export const square = unary('SQUARE');
/** x·sigmoid(x), also called swish. */
export const silu = unary('SILU');
/** x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³))): PyTorch's `gelu(approximate='tanh')`. */
export const gelu = unary('GELU');
/** log(1 + eˣ), without overflow. */
export const softplus = unary('SOFTPLUS');
