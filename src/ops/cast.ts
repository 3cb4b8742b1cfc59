import { convert } from '../core/convert.ts';
import { ShapeError } from '../core/errors.ts';
import { record } from '../core/tape.ts';
import { Tensor } from '../core/tensor.ts';

/**
 * y = x as `dtype`, f32 or f16 (rounded to a neighbour, beyond ±65,520 infinite); x itself where it is of that type. The gradient
 * is dy as x's type. Saves nothing. Throws ShapeError for whole numbers. Source: PyTorch's `Tensor.to`.
 */
export function cast(x: Tensor, dtype: 'f32' | 'f16'): Tensor {
  if (x.dtype !== 'f32' && x.dtype !== 'f16') {
    throw new ShapeError(`cast: x is ${x.dtype}; only f32 and f16 become one another.`);
  }
  if (x.dtype === dtype) return x;
  const y = Tensor.empty(x.shape, dtype);
  convert(x, y);
  const before = x.dtype;
  return record(y, [x], (dy) => {
    const dx = Tensor.empty(x.shape, before);
    convert(dy, dx);
    return [dx];
  });
}
