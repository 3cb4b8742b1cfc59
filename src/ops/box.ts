import { ShapeError } from '../core/errors.ts';
import { kernel } from '../core/kernel.ts';
import { type Shape, showShape, sizeOf, stridesOf } from '../core/shape.ts';
import type { Tensor } from '../core/tensor.ts';

const MAX_RANK = 6;

/** Strides of `shape` seen as `full`, right-aligned to six dimensions: 0 where it repeats. */
export function broadcastStrides(op: string, shape: Shape, full: Shape): number[] {
  if (full.length > MAX_RANK) {
    throw new ShapeError(`${op}: ${showShape(full)} has ${full.length} dimensions; at most ${MAX_RANK} broadcast.`);
  }
  const strides = stridesOf(shape);
  return Array.from({ length: MAX_RANK }, (_, i) => {
    const at = i - MAX_RANK + shape.length;
    return at < 0 || shape[at] === 1 ? 0 : strides[at]!;
  });
}

/** Extents right-aligned to six dimensions, filled up with ones. */
export const padExtents = (shape: Shape): number[] => [...new Array<number>(MAX_RANK - shape.length).fill(1), ...shape];

const box = kernel('copy', 'box');

const alignRight = (values: readonly number[]): number[] => [
  ...new Array<number>(MAX_RANK - values.length).fill(0),
  ...values,
];

/** Copies a box of extents `shape` from x (offset, strides) to y (offset, strides), which is of x's type. `op` is for the message. */
export function copyBox(
  op: string,
  shape: Shape,
  x: Tensor,
  from: { offset: number; strides: readonly number[] },
  y: Tensor,
  to: { offset: number; strides: readonly number[] },
): void {
  if (shape.length > MAX_RANK)
    throw new ShapeError(
      `${op}: ${showShape(shape)} has ${shape.length} dimensions; at most ${MAX_RANK} can be moved.`,
    );
  const [, d1, d2, d3, d4, d5] = padExtents(shape);
  const n = sizeOf(shape);
  const params: Record<string, number> = {
    n,
    fromOffset: from.offset,
    toOffset: to.offset,
    d1: d1!,
    d2: d2!,
    d3: d3!,
    d4: d4!,
    d5: d5!,
  };
  for (const [i, stride] of alignRight(from.strides).entries()) params[`f${i}`] = stride;
  for (const [i, stride] of alignRight(to.strides).entries()) params[`t${i}`] = stride;
  box({ Elem: x.dtype }, { x, y }, params, n);
}

/** All of a contiguous tensor. */
export const whole = (shape: Shape) => ({ offset: 0, strides: stridesOf(shape) });

/** A tensor from `starts` on. */
export const corner = (shape: Shape, starts: readonly number[]) => {
  const strides = stridesOf(shape);
  return { offset: starts.reduce((sum, start, i) => sum + start * strides[i]!, 0), strides };
};
