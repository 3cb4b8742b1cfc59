/** A dense row-major array of doubles: the oracle's tensor. */
export interface Values {
  readonly shape: number[];
  readonly data: Float64Array;
}

/** Number of elements of a shape; 1 for a scalar's []. */
export const sizeOf = (shape: readonly number[]): number => shape.reduce((size, extent) => size * extent, 1);

/** An array of this shape holding `data`, or zeros. Throws when the lengths differ, so that a test cannot lie. */
export function values(shape: readonly number[], data?: ArrayLike<number>): Values {
  const size = sizeOf(shape);
  if (data && data.length !== size) throw new Error(`values: [${shape}] holds ${size} elements, got ${data.length}`);
  return { shape: [...shape], data: data ? Float64Array.from(data) : new Float64Array(size) };
}

/** Elements to skip for one step along each axis. */
export function stridesOf(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length);
  let step = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    strides[axis] = step;
    step *= shape[axis]!;
  }
  return strides;
}

/** Coordinates of the element at a flat index. */
export function coordinates(index: number, shape: readonly number[]): number[] {
  const at = new Array<number>(shape.length);
  let rest = index;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    at[axis] = rest % shape[axis]!;
    rest = Math.floor(rest / shape[axis]!);
  }
  return at;
}

/** y[i] = f(x[i], i). */
export function map(x: Values, f: (value: number, index: number) => number): Values {
  const y = values(x.shape);
  for (let i = 0; i < y.data.length; i++) y.data[i] = f(x.data[i]!, i);
  return y;
}

/** Axes as given by a user (negative ones count from the end; none means all), ascending. Throws when one is out of range. */
export function normaliseAxes(rank: number, axes?: readonly number[]): number[] {
  if (!axes) return Array.from({ length: rank }, (_, axis) => axis);
  const found = axes.map((axis) => (axis < 0 ? axis + rank : axis));
  if (found.some((axis) => axis < 0 || axis >= rank)) throw new Error(`axes [${axes}] do not fit rank ${rank}`);
  return found.sort((a, b) => a - b);
}

/** A number for both sides, or [height, width]. */
export type Pair = number | readonly [number, number];

export const pair = (value: Pair): readonly [number, number] => (typeof value === 'number' ? [value, value] : value);

/** The four extents of an [N,H,W,C] array. Throws when it has another rank. */
export function nhwc(op: string, x: Values): [number, number, number, number] {
  if (x.shape.length !== 4) throw new Error(`${op}: x [${x.shape}] is not [N,H,W,C]`);
  return x.shape as [number, number, number, number];
}
