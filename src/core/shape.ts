import { ShapeError } from './errors.ts';

/**
 * Shapes are plain arrays of extents, contiguous with the last dimension fastest. Letters used throughout: N batch, H W input
 * side, C input channels, K output channels, R S kernel side, P Q output side; M N K for matrices.
 */
export type Shape = readonly number[];

export const sizeOf = (shape: Shape): number => shape.reduce((product, extent) => product * extent, 1);

export const sameShape = (a: Shape, b: Shape): boolean =>
  a.length === b.length && a.every((extent, i) => extent === b[i]);

/** True for extents that a tensor can have. */
export const isShape = (shape: Shape): boolean => shape.every((extent) => Number.isInteger(extent) && extent >= 1);

export const showShape = (shape: Shape): string => `[${shape.join(',')}]`;

/** Elements to step over to move by one along each dimension. */
export function stridesOf(shape: Shape): number[] {
  const strides = new Array<number>(shape.length).fill(1);
  for (let i = shape.length - 2; i >= 0; i--) strides[i] = strides[i + 1]! * shape[i + 1]!;
  return strides;
}

/** The shape that `a` and `b` broadcast to by NumPy's rule: aligned at the end, extents equal or 1. */
export function broadcastShapes(op: string, a: Shape, b: Shape): number[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const m = a[i - rank + a.length] ?? 1;
    const n = b[i - rank + b.length] ?? 1;
    if (m !== n && m !== 1 && n !== 1) {
      throw new ShapeError(
        `${op}: ${showShape(a)} and ${showShape(b)} do not broadcast: ${m} against ${n}. Extents must be equal or 1.`,
      );
    }
    return m === 1 ? n : m;
  });
}

/** Axes as indices from 0, sorted; negative ones count from the end; none given means all. */
export function resolveAxes(op: string, shape: Shape, axes: readonly number[] | number | undefined): number[] {
  if (axes === undefined) return shape.map((_, i) => i);
  const list = typeof axes === 'number' ? [axes] : axes;
  const resolved = list.map((axis) => {
    const at = axis < 0 ? axis + shape.length : axis;
    if (!Number.isInteger(at) || at < 0 || at >= shape.length) {
      throw new ShapeError(`${op}: axis ${axis} is not in ${showShape(shape)}, which has ${shape.length} dimensions.`);
    }
    return at;
  });
  if (new Set(resolved).size !== resolved.length) throw new ShapeError(`${op}: axes [${list}] name a dimension twice.`);
  return resolved.sort((a, b) => a - b);
}

/** A number for both sides, or [vertical, horizontal]. */
export type Pair = number | readonly [number, number];

export const pair = (value: Pair): readonly [number, number] => (typeof value === 'number' ? [value, value] : value);

/** Output side of a window of `kernel` moved by `stride` over `input` with `padding` on both ends: ⌊(in + 2·pad − k)/stride⌋ + 1. */
export function windowOutput(op: string, input: number, kernel: number, stride: number, padding: number): number {
  const output = Math.floor((input + 2 * padding - kernel) / stride) + 1;
  if (output < 1) {
    throw new ShapeError(
      `${op}: a window of ${kernel} does not fit an input side of ${input} with padding ${padding}. Use a larger input or more padding.`,
    );
  }
  return output;
}

export function expectPositive(op: string, name: string, values: readonly number[], least = 1): void {
  if (values.some((value) => !Number.isInteger(value) || value < least)) {
    throw new ShapeError(`${op}: ${name} must be whole numbers from ${least} on, not ${values.join('×')}.`);
  }
}
