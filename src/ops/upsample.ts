import { wgslType } from '../core/dtype.ts';
import { ShapeError } from '../core/errors.ts';
import { kernel } from '../core/kernel.ts';
import { expectPositive, type Pair, pair, showShape } from '../core/shape.ts';
import { record } from '../core/tape.ts';
import { Tensor } from '../core/tensor.ts';

const forward = kernel('upsample', 'forward');
const backward = kernel('upsample', 'backward');

/**
 * Nearest-neighbour upsampling by whole factors: every value is repeated in a `factor`×`factor` block.
 *
 *   y[n,p,q,c] = x[n, ⌊p/factor⌋, ⌊q/factor⌋, c]
 *
 * x [N,H,W,C] → y [N, factor·H, factor·W, C]. Saves nothing. Throws ShapeError for what is no image, or a factor that is no whole
 * number from 1 on. Source: PyTorch's `interpolate`, mode nearest.
 */
export function upsampleNearest2d(x: Tensor, factor: Pair): Tensor {
  if (x.shape.length !== 4)
    throw new ShapeError(`upsampleNearest2d: x is ${showShape(x.shape)}; images are [N,H,W,C].`);
  const [n, h, w, c] = x.shape as [number, number, number, number];
  const [FACTOR_H, FACTOR_W] = pair(factor);
  expectPositive('upsampleNearest2d', 'the factors', [FACTOR_H, FACTOR_W]);
  const width = c % 4 === 0 ? 4 : 1;
  const columns = c / width;
  const consts = { Elem: wgslType(x.dtype, width), Vec: wgslType('f32', width), FACTOR_H, FACTOR_W };
  const params = { n, h, w, c: columns };
  const y = Tensor.empty([n, h * FACTOR_H, w * FACTOR_W, c], x.dtype);
  forward(consts, { x, out: y }, params, (y.size / c) * columns);
  const gradient = (dy: Tensor) => {
    const dx = x.emptyLike();
    backward(consts, { x: dy, out: dx }, params, (x.size / c) * columns);
    return [dx];
  };
  return record(y, [x], gradient, [], []);
}
