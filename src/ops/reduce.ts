import { resolveAxes, type Shape, sizeOf } from '../core/shape.ts';
import { record } from '../core/tape.ts';
import type { Tensor } from '../core/tensor.ts';
import { div, equal, mul } from './binary.ts';
import { cast, floating, floats } from './cast.ts';
import { reduceAxes } from './reduceaxes.ts';
import { expand } from './reshape.ts';

const dropAxes = (shape: Shape, axes: readonly number[]): Shape => shape.filter((_, axis) => !axes.includes(axis));

export interface ReduceOptions {
  /** Keep reduced dimensions with extent 1. */
  keepDims?: boolean;
}

function finish(result: Tensor, axes: readonly number[], keepDims: boolean): Tensor {
  const left = dropAxes(result.shape, axes);
  if (keepDims) return result;
  const y = result.view(left.length > 0 ? left : [1]);
  result.free('the reduction');
  return y;
}

const withAxes = (shape: Shape, axes: readonly number[]): number[] =>
  shape.map((extent, i) => (axes.includes(i) ? 1 : extent));

function summing(op: string, factor: (count: number) => number) {
  return (input: Tensor, axes?: readonly number[] | number, { keepDims = false }: ReduceOptions = {}): Tensor => {
    const x = floats(input);
    const over = resolveAxes(op, x.shape, axes);
    const scale = factor(sizeOf(x.shape.filter((_, axis) => over.includes(axis))));
    const y = finish(reduceAxes('SUM', x, over, scale), over, keepDims);
    const backward = (dy: Tensor) => {
      const kept = dy.view(withAxes(x.shape, over));
      return [expand(scale === 1 ? kept : mul(kept, scale), x.shape)];
    };
    return record(y, [x], backward, [], []);
  };
}

function extreme(OP: 'MAX' | 'MIN', op: string) {
  return (input: Tensor, axes?: readonly number[] | number, { keepDims = false }: ReduceOptions = {}): Tensor => {
    const x = floats(input);
    const over = resolveAxes(op, x.shape, axes);
    const y = finish(reduceAxes(OP, x, over), over, keepDims);
    return record(y, [x], (dy) => {
      const kept = withAxes(x.shape, over);
      const mask = equal(x, y.view(kept));
      const count = reduceAxes('SUM', mask, over, 1, undefined, 'f32').view(kept);
      return [cast(mul(mask, div(dy.view(kept), count)), floating(x.dtype))];
    });
  };
}

/** Σ over `axes` (all by default). Summed as a tree in fixed order. */
export const sum = summing('sum', () => 1);
/** Mean over `axes` (all by default). */
export const mean = summing('mean', (count) => 1 / count);
/** Largest element over `axes`; elements that tie share the gradient evenly, as PyTorch's `amax`. Saves x and the result. */
export const max = extreme('MAX', 'max');
/** Smallest element over `axes`; elements that tie share the gradient evenly, as PyTorch's `amin`. Saves x and the result. */
export const min = extreme('MIN', 'min');
