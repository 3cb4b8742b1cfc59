import { convert } from '../core/convert.ts';
import type { DType } from '../core/dtype.ts';
import { halfCopyOf } from '../core/halfcopy.ts';
import { record } from '../core/tape.ts';
import { Tensor } from '../core/tensor.ts';

export type FloatType = 'f32' | 'f16';

/** The type of floating-point operations on tensors of `dtype`; whole numbers go with f32. */
export const floating = (dtype: DType): FloatType => (dtype === 'f16' ? 'f16' : 'f32');

/** What two operands meet in: f16 where both are, else f32. */
export const commonType = (a: Tensor, b: Tensor): FloatType => (a.dtype === 'f16' ? floating(b.dtype) : 'f32');

/**
 * y = x as `dtype`, f32 or f16 (rounded to a neighbour, in f16 infinite beyond ±65,520); x itself where it is of that type. The
 * gradient is dy as x's type; whole numbers have none. Saves nothing. Source: PyTorch's `Tensor.to`.
 */
export function cast(x: Tensor, dtype: FloatType): Tensor {
  if (x.dtype === dtype) return x;
  const y = Tensor.empty(x.shape, dtype);
  convert(x, y);
  const before = x.dtype;
  if (before !== 'f32' && before !== 'f16') return y;
  const backward = (dy: Tensor) => {
    const dx = Tensor.empty(x.shape, before);
    convert(dy, dx);
    return [dx];
  };
  return record(y, [x], backward, [], []);
}

/** x itself, or whole numbers as f32: what operations that compute with fractions start from. */
export const floats = (x: Tensor): Tensor => cast(x, floating(x.dtype));

/**
 * The values of a weight as `dtype`, and the tensor that its gradient belongs to. Where an optimizer keeps a copy of that type,
 * nothing is computed and the gradient goes straight to the weight, in f32; else it goes by way of a `cast`.
 */
export function weightAs(w: Tensor, dtype: FloatType): { values: Tensor; owner: Tensor } {
  const half = halfCopyOf(w);
  if (half?.dtype === dtype && w.dtype !== dtype) return { values: half, owner: w };
  const values = cast(w, dtype);
  return { values, owner: values };
}
