import { coordinates, normaliseAxes, sizeOf, stridesOf, type Values, values } from './values.ts';

/** The same elements under another shape; one extent may be −1 and is then worked out. */
export function reshape(x: Values, shape: readonly number[]): Values {
  const known = sizeOf(shape.filter((extent) => extent !== -1));
  return values(
    shape.map((extent) => (extent === -1 ? x.data.length / known : extent)),
    x.data,
  );
}

/** Axes from `start` on folded into one. */
export const flatten = (x: Values, start = 1): Values =>
  reshape(x, [...x.shape.slice(0, start), sizeOf(x.shape.slice(start))]);

/** y[i₀,…] = x[i_order…]: axis a of y is axis order[a] of x. The default reverses all axes. */
export function permute(x: Values, order: readonly number[] = x.shape.map((_, axis) => axis).reverse()): Values {
  const strides = stridesOf(x.shape);
  const y = values(order.map((axis) => x.shape[axis]!));
  for (let i = 0; i < y.data.length; i++) {
    const from = coordinates(i, y.shape).reduce((sum, at, axis) => sum + at * strides[order[axis]!]!, 0);
    y.data[i] = x.data[from]!;
  }
  return y;
}

export const transpose = permute;

/** Copies x into y so that x's first element lands at `offset`; parts outside of y are dropped. */
function place(x: Values, y: Values, offset: readonly number[]): void {
  const strides = stridesOf(y.shape);
  for (let i = 0; i < x.data.length; i++) {
    const at = coordinates(i, x.shape).map((position, axis) => position + offset[axis]!);
    if (at.some((position, axis) => position < 0 || position >= y.shape[axis]!)) continue;
    y.data[at.reduce((sum, position, axis) => sum + position * strides[axis]!, 0)] = x.data[i]!;
  }
}

/** The tensors of `list` one after the other along `axis`; the other extents agree. */
export function concat(list: readonly Values[], axis = 0): Values {
  const first = list[0]!;
  const [along] = normaliseAxes(first.shape.length, [axis]) as [number];
  const total = list.reduce((sum, x) => sum + x.shape[along]!, 0);
  const y = values(first.shape.with(along, total));
  let start = 0;
  for (const x of list) {
    place(x, y, y.shape.map(() => 0).with(along, start));
    start += x.shape[along]!;
  }
  return y;
}

/** y[i] = x[starts + i], of extents `sizes`. */
export function slice(x: Values, starts: readonly number[], sizes: readonly number[]): Values {
  if (sizes.some((size, axis) => starts[axis]! < 0 || starts[axis]! + size > x.shape[axis]!)) {
    throw new Error(`slice: [${starts}] + [${sizes}] leaves [${x.shape}]`);
  }
  const y = values(sizes);
  place(
    x,
    y,
    starts.map((start) => -start),
  );
  return y;
}

/** x with `before` and `after` elements of `value` added on each axis. */
export function pad(x: Values, before: readonly number[], after: readonly number[], value = 0): Values {
  const y = values(x.shape.map((extent, axis) => before[axis]! + extent + after[axis]!));
  y.data.fill(value);
  place(x, y, before);
  return y;
}
