import type { DType } from '../core/dtype.ts';
import { kernel } from '../core/kernel.ts';
import { broadcastShapes, type Shape, sameShape, sizeOf } from '../core/shape.ts';
import { record } from '../core/tape.ts';
import { Tensor } from '../core/tensor.ts';
import { broadcastStrides, padExtents } from './box.ts';
import { reduceTo } from './fold.ts';

const forward = kernel('binary', 'forward');
const backward = kernel('binary', 'backward');

function layout(op: string, a: Tensor, b: Tensor, shape: Shape) {
  const ofA = broadcastStrides(op, a.shape, shape);
  const ofB = broadcastStrides(op, b.shape, shape);
  const [, d1, d2, d3, d4, d5] = padExtents(shape);
  const params: Record<string, number> = { n: sizeOf(shape), d1: d1!, d2: d2!, d3: d3!, d4: d4!, d5: d5! };
  for (const [i, stride] of ofA.entries()) params[`a${i}`] = stride;
  for (const [i, stride] of ofB.entries()) params[`b${i}`] = stride;
  return { params, SAME: sameShape(a.shape, shape) && sameShape(b.shape, shape) };
}

/** A number stays f32, whatever it meets. */
const tensorOf = (operand: Tensor | number): Tensor =>
  typeof operand === 'number' ? Tensor.full([1], operand) : operand;

/** The type of the result: f16 where all tensors are. */
const resultType = (...operands: readonly (Tensor | number)[]): DType =>
  operands.every((operand) => typeof operand === 'number' || operand.dtype === 'f16') ? 'f16' : 'f32';

/**
 * Elementwise out = f(a, b) with NumPy's broadcasting. f and its derivatives are the cases named `OP` in shaders/binary.wgsl; a
 * gradient is summed over the dimensions in which its operand was repeated. A number stands for a tensor of shape [1]. Saves a
 * and b. f16 where both are (or one and a number), else f32. Throws ShapeError when the shapes do not broadcast.
 */
const binary =
  (OP: string, op = OP.toLowerCase()) =>
  (left: Tensor | number, right: Tensor | number): Tensor => {
    const [a, b] = [tensorOf(left), tensorOf(right)];
    const shape = broadcastShapes(op, a.shape, b.shape);
    const { params, SAME } = layout(op, a, b, shape);
    const out = Tensor.empty(shape, resultType(left, right));
    const n = out.size;
    const types = { AElem: a.dtype, BElem: b.dtype };
    forward({ OP, SAME, ...types, OutElem: out.dtype }, { a, b, out }, params, n);
    return record(out, [a, b], (dy, needs) =>
      [a, b].map((operand, SIDE) => {
        if (!needs[SIDE]) return null;
        if (OP === 'ADD') return reduceTo(dy, operand.shape, operand.dtype);
        // Summed in f32, and rounded once.
        const repeated = !sameShape(operand.shape, shape);
        const factor = Tensor.empty(shape, repeated ? 'f32' : operand.dtype);
        backward(
          { OP, SAME, SIDE, ...types, DyElem: dy.dtype, OutElem: factor.dtype },
          { a, b, dy, out: factor },
          params,
          n,
        );
        const gradient = reduceTo(factor, operand.shape, operand.dtype);
        if (gradient !== factor) factor.free(op);
        return gradient;
      }),
    );
  };

export const add = binary('ADD');
export const sub = binary('SUB');
export const mul = binary('MUL');
export const div = binary('DIV');
/** The larger of a and b, or NaN where one is; a tie shares the gradient evenly. */
export const maximum = binary('MAXIMUM');
/** The smaller of a and b, or NaN where one is; a tie shares the gradient evenly. */
export const minimum = binary('MINIMUM');
/** 1 where a = b, else 0. Has no gradient. */
export const equal = (a: Tensor, b: Tensor): Tensor => binary('EQUAL')(a.detach(), b.detach());
