import { ShapeError } from '../core/errors.ts';
import { isShape, resolveAxes, type Shape, showShape, sizeOf, stridesOf } from '../core/shape.ts';
import { record } from '../core/tape.ts';
import { Tensor } from '../core/tensor.ts';
import { broadcastStrides, copyBox, corner, whole } from './box.ts';
import { reduceTo } from './reduceaxes.ts';

/** The same elements in another shape; one extent may be −1 and is computed. Shares x's memory. Throws ShapeError if they do not fit. */
export function reshape(x: Tensor, shape: Shape): Tensor {
  const known = sizeOf(shape.filter((extent) => extent !== -1));
  const extents = shape.map((extent) => (extent === -1 ? x.size / known : extent));
  const fits = shape.filter((extent) => extent === -1).length <= 1 && sizeOf(extents) === x.size && isShape(extents);
  if (!fits)
    throw new ShapeError(`reshape: ${showShape(x.shape)} with ${x.size} elements cannot become ${showShape(shape)}.`);
  return record(x.view(extents), [x], (dy) => [dy.view(x.shape)], [], []);
}

/** [N, …] → [N, product of the rest]. Shares x's memory. */
export function flatten(x: Tensor): Tensor {
  if (x.shape.length === 0) throw new ShapeError('flatten: a tensor [] has no dimension to keep.');
  return reshape(x, [x.shape[0]!, -1]);
}

/** Repeats x along its dimensions of extent 1 (and new leading ones) up to `shape`. The gradient sums the repeats. */
export function expand(x: Tensor, shape: Shape): Tensor {
  const y = Tensor.empty(shape, x.dtype);
  const fits =
    x.shape.length <= shape.length &&
    x.shape.every((extent, i) => extent === 1 || extent === shape[i + shape.length - x.shape.length]);
  if (!fits) throw new ShapeError(`expand: ${showShape(x.shape)} cannot be repeated to ${showShape(shape)}.`);
  copyBox('expand', shape, x, { offset: 0, strides: broadcastStrides(x.shape, shape) }, y, whole(shape));
  return record(y, [x], (dy) => [reduceTo(dy, x.shape, x.dtype)], [], []);
}

/** y's dimension i is x's dimension `order[i]`; negative ones count from the end. */
export function permute(x: Tensor, order: readonly number[]): Tensor {
  const rank = x.shape.length;
  if (resolveAxes('permute', x.shape, order).length !== rank) {
    throw new ShapeError(`permute: [${order}] must name each of the ${rank} dimensions of ${showShape(x.shape)} once.`);
  }
  const axes = order.map((axis) => (axis < 0 ? axis + rank : axis));
  const strides = stridesOf(x.shape);
  const shape = axes.map((axis) => x.shape[axis]!);
  const y = Tensor.empty(shape, x.dtype);
  copyBox('permute', shape, x, { offset: 0, strides: axes.map((axis) => strides[axis]!) }, y, whole(shape));
  const back = axes.map((_, i) => axes.indexOf(i));
  return record(y, [x], (dy) => [permute(dy, back)], [], []);
}

/** The box of extents `sizes` that starts at `starts`. The gradient is zero outside of it. */
export function slice(x: Tensor, starts: readonly number[], sizes: Shape): Tensor {
  const rank = x.shape.length;
  if (starts.length !== rank || sizes.length !== rank) {
    throw new ShapeError(
      `slice: [${starts}] and ${showShape(sizes)} must give a start and a size for each dimension of ${showShape(x.shape)}.`,
    );
  }
  const inside = (start: number, i: number) =>
    Number.isInteger(start) && start >= 0 && start + sizes[i]! <= x.shape[i]!;
  if (!isShape(sizes) || !starts.every(inside)) {
    throw new ShapeError(`slice: [${starts}] + ${showShape(sizes)} is not inside of ${showShape(x.shape)}.`);
  }
  const y = Tensor.empty(sizes, x.dtype);
  copyBox('slice', sizes, x, corner(x.shape, starts), y, whole(sizes));
  const backward = (dy: Tensor) => {
    const dx = Tensor.zeros(x.shape, x.dtype);
    copyBox('slice', sizes, dy, whole(sizes), dx, corner(x.shape, starts));
    return [dx];
  };
  return record(y, [x], backward, [], []);
}

/** Puts `before[i]` and `after[i]` elements of `value` around dimension i. */
export function pad(x: Tensor, before: readonly number[], after: readonly number[], value = 0): Tensor {
  const valid = (margins: readonly number[]) =>
    margins.length === x.shape.length && margins.every((m) => Number.isInteger(m) && m >= 0);
  if (!valid(before) || !valid(after)) {
    throw new ShapeError(
      `pad: [${before}] and [${after}] must give a margin from 0 on for each dimension of ${showShape(x.shape)}.`,
    );
  }
  const shape = x.shape.map((extent, i) => before[i]! + extent + after[i]!);
  const y = Tensor.empty(shape, x.dtype).fill(value);
  copyBox('pad', x.shape, x, whole(x.shape), y, corner(shape, before));
  return record(y, [x], (dy) => [slice(dy, before, x.shape)], [], []);
}

/** Joins tensors along `axis`; their other extents are equal. */
export function concat(tensors: readonly Tensor[], axis: number): Tensor {
  const [first] = tensors;
  if (!first) throw new ShapeError('concat: give it at least one tensor.');
  const [at] = resolveAxes('concat', first.shape, axis) as [number];
  for (const { shape, dtype } of tensors) {
    if (dtype !== first.dtype)
      throw new ShapeError(`concat: ${first.dtype} and ${dtype} do not join; cast one of them.`);
    if (shape.length !== first.shape.length || shape.some((extent, i) => i !== at && extent !== first.shape[i])) {
      throw new ShapeError(
        `concat: ${tensors.map((t) => showShape(t.shape)).join(' and ')} differ outside of axis ${axis}.`,
      );
    }
  }
  const shape = first.shape.map((extent, i) => (i === at ? tensors.reduce((sum, t) => sum + t.shape[at]!, 0) : extent));
  const y = Tensor.empty(shape, first.dtype);
  let start = 0;
  const starts = tensors.map((t) => {
    const from = shape.map((_, i) => (i === at ? start : 0));
    copyBox('concat', t.shape, t, whole(t.shape), y, corner(shape, from));
    start += t.shape[at]!;
    return from;
  });
  const backward = (dy: Tensor, needs: readonly boolean[]) =>
    tensors.map((t, i) => (needs[i] ? slice(dy, starts[i]!, t.shape) : null));
  return record(y, tensors, backward, [], []);
}
