import { ShapeError } from '../core/errors.ts';
import { kernel } from '../core/kernel.ts';
import { type Shape, showShape, sizeOf, stridesOf } from '../core/shape.ts';
import type { Tensor } from '../core/tensor.ts';

const MAX_RANK = 6;

/** How far each of some tensors goes for one step along each dimension of a box. */
type Strides = readonly (readonly number[])[];

/** Strides of `shape` seen as `full`, with which it is aligned at the end: 0 where it repeats. */
export function broadcastStrides(shape: Shape, full: Shape): number[] {
  const strides = stridesOf(shape);
  return full.map((_, i) => {
    const at = i - full.length + shape.length;
    return at < 0 || shape[at] === 1 ? 0 : strides[at]!;
  });
}

/** A box and the strides of tensors in it, right-aligned to six dimensions. Throws ShapeError where more are left. */
export function sixDimensions(op: string, shape: Shape, strides: Strides): { extents: number[]; strides: number[][] } {
  const box = shape.length > MAX_RANK ? joined(shape, strides) : { extents: shape, strides };
  const missing = MAX_RANK - box.extents.length;
  if (missing < 0)
    throw new ShapeError(
      `${op}: ${showShape(shape)} has ${box.extents.length} dimensions that do not lie side by side; at most ${MAX_RANK} can be moved.`,
    );
  const filled = (values: readonly number[], by: number) => [...new Array<number>(missing).fill(by), ...values];
  return { extents: filled(box.extents, 1), strides: box.strides.map((own) => filled(own, 0)) };
}

/** The same box in fewer dimensions: without those of extent 1, and neighbours in one where all tensors go on from one to the next. */
function joined(shape: Shape, strides: Strides): { extents: number[]; strides: number[][] } {
  const extents: number[] = [];
  const steps: number[][] = strides.map(() => []);
  for (const [i, extent] of shape.entries()) {
    if (extent === 1) continue;
    const last = extents.length - 1;
    const goesOn = last >= 0 && strides.every((own, t) => steps[t]![last] === extent * own[i]!);
    const at = goesOn ? last : last + 1;
    extents[at] = (goesOn ? extents[last]! : 1) * extent;
    for (const [t, own] of strides.entries()) steps[t]![at] = own[i]!;
  }
  return { extents, strides: steps };
}

const box = kernel('copy', 'box');

/** Copies a box of extents `shape` from x (offset, strides) to y (offset, strides), which is of x's type. `op` is for the message. */
export function copyBox(
  op: string,
  shape: Shape,
  x: Tensor,
  from: { offset: number; strides: readonly number[] },
  y: Tensor,
  to: { offset: number; strides: readonly number[] },
): void {
  const { extents, strides } = sixDimensions(op, shape, [from.strides, to.strides]);
  const [, d1, d2, d3, d4, d5] = extents;
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
  for (const [i, stride] of strides[0]!.entries()) params[`f${i}`] = stride;
  for (const [i, stride] of strides[1]!.entries()) params[`t${i}`] = stride;
  box({ Elem: x.dtype }, { x, y }, params, n);
}

/** All of a contiguous tensor. */
export const whole = (shape: Shape) => ({ offset: 0, strides: stridesOf(shape) });

/** A tensor from `starts` on. */
export const corner = (shape: Shape, starts: readonly number[]) => {
  const strides = stridesOf(shape);
  return { offset: starts.reduce((sum, start, i) => sum + start * strides[i]!, 0), strides };
};
