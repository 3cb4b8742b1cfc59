import { coordinates, normaliseAxes, stridesOf, type Values, values } from './values.ts';

/** Folds x over `axes` (all when not given), starting from `initial`; reduced axes stay with extent 1 if `keepDims`. */
function reduce(
  x: Values,
  axes: readonly number[] | undefined,
  keepDims: boolean,
  initial: number,
  fold: (sum: number, value: number) => number,
): Values {
  const reduced = new Set(normaliseAxes(x.shape.length, axes));
  const kept = x.shape.map((extent, axis) => (reduced.has(axis) ? 1 : extent));
  const strides = stridesOf(kept);
  const y = values(kept);
  y.data.fill(initial);
  for (let i = 0; i < x.data.length; i++) {
    const at = coordinates(i, x.shape);
    let to = 0;
    for (let axis = 0; axis < at.length; axis++) if (!reduced.has(axis)) to += at[axis]! * strides[axis]!;
    y.data[to] = fold(y.data[to]!, x.data[i]!);
  }
  return keepDims ? y : { shape: kept.filter((_, axis) => !reduced.has(axis)), data: y.data };
}

export const sum = (x: Values, axes?: readonly number[], keepDims = false): Values =>
  reduce(x, axes, keepDims, 0, (total, value) => total + value);

export function mean(x: Values, axes?: readonly number[], keepDims = false): Values {
  const y = sum(x, axes, keepDims);
  const count = x.data.length / y.data.length;
  return { shape: y.shape, data: y.data.map((total) => total / count) };
}

export const max = (x: Values, axes?: readonly number[], keepDims = false): Values =>
  reduce(x, axes, keepDims, Number.NEGATIVE_INFINITY, Math.max);

export const min = (x: Values, axes?: readonly number[], keepDims = false): Values =>
  reduce(x, axes, keepDims, Number.POSITIVE_INFINITY, Math.min);
