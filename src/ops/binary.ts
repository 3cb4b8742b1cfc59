import type { DType } from '../core/dtype.ts';
import { kernel } from '../core/kernel.ts';
import { broadcastShapes, type Shape, sameShape, sizeOf } from '../core/shape.ts';
import { readFor, record } from '../core/tape.ts';
import { Tensor } from '../core/tensor.ts';
import { broadcastStrides, sixDimensions } from './box.ts';
import { reduceTo } from './reduceaxes.ts';

const forward = kernel('binary', 'forward');
const backward = kernel('binary', 'backward');

function layout(op: string, a: Tensor, b: Tensor, shape: Shape) {
  const { extents, strides } = sixDimensions(op, shape, [
    broadcastStrides(a.shape, shape),
    broadcastStrides(b.shape, shape),
  ]);
  const [, d1, d2, d3, d4, d5] = extents;
  const params: Record<string, number> = { n: sizeOf(shape), d1: d1!, d2: d2!, d3: d3!, d4: d4!, d5: d5! };
  for (const [i, stride] of strides[0]!.entries()) params[`a${i}`] = stride;
  for (const [i, stride] of strides[1]!.entries()) params[`b${i}`] = stride;
  return { params, SAME: sameShape(a.shape, shape) && sameShape(b.shape, shape) };
}

/** A number stays f32, whatever it meets. */
const tensorOf = (operand: Tensor | number): Tensor =>
  typeof operand === 'number' ? Tensor.full([1], operand) : operand;

/** The type of the result: f16 where all tensors are, and there is one. */
function resultType(...operands: readonly (Tensor | number)[]): DType {
  const tensors = operands.filter((operand) => typeof operand !== 'number');
  return tensors.length > 0 && tensors.every(({ dtype }) => dtype === 'f16') ? 'f16' : 'f32';
}

/**
 * Elementwise out = f(a, b) with NumPy's broadcasting. f and its derivatives are the cases named `OP` in shaders/binary.wgsl; a
 * gradient is summed over the dimensions in which its operand was repeated. A number stands for a tensor of shape [1]. f16 where
 * both are (or one and a number), else f32. `reads` names the operands, a 0 and b 1, that ∂f/∂a and ∂f/∂b read: these are saved.
 * Throws ShapeError when the shapes do not broadcast.
 */
const binary =
  (OP: string, reads: readonly (readonly number[])[]) =>
  (left: Tensor | number, right: Tensor | number): Tensor => {
    const op = OP.toLowerCase();
    const [a, b] = [tensorOf(left), tensorOf(right)];
    const shape = broadcastShapes(op, a.shape, b.shape);
    const { params, SAME } = layout(op, a, b, shape);
    const out = Tensor.empty(shape, resultType(left, right));
    const n = out.size;
    forward({ OP, SAME, AElem: a.dtype, BElem: b.dtype, OutElem: out.dtype }, { a, b, out }, params, n);
    const operands = [a, b];
    const gradient = (dy: Tensor, needs: readonly boolean[]) =>
      operands.map((operand, SIDE) => {
        if (!needs[SIDE]) return null;
        if (OP === 'ADD') return reduceTo(dy, operand.shape, operand.dtype);
        // dy, which is as large, stands in for what is not read and may be gone.
        const [u, v] = operands.map((tensor, i) => (reads[SIDE]!.includes(i) ? tensor : dy)) as [Tensor, Tensor];
        // Summed in f32, and rounded once.
        const repeated = !sameShape(operand.shape, shape);
        const factor = Tensor.empty(shape, repeated ? 'f32' : operand.dtype);
        backward(
          { OP, SAME, SIDE, AElem: u.dtype, BElem: v.dtype, DyElem: dy.dtype, OutElem: factor.dtype },
          { a: u, b: v, dy, out: factor },
          params,
          n,
        );
        const gradient = reduceTo(factor, operand.shape, operand.dtype);
        if (gradient !== factor) factor.free(op);
        return gradient;
      });
    const saved = operands.flatMap((operand, SIDE) => reads[SIDE]!.map((i) => readFor(operand, operands[i]!)));
    return record(out, operands, gradient, [], saved);
  };

const NONE = [[], []] as const;
const BOTH = [
  [0, 1],
  [0, 1],
] as const;

export const add = binary('ADD', NONE);
export const sub = binary('SUB', NONE);
export const mul = binary('MUL', [[1], [0]]);
export const div = binary('DIV', [[1], [0, 1]]);
/** The larger of a and b, or NaN where one is; a tie shares the gradient evenly. */
export const maximum = binary('MAXIMUM', BOTH);
/** The smaller of a and b, or NaN where one is; a tie shares the gradient evenly. */
export const minimum = binary('MINIMUM', BOTH);
/** 1 where a = b, else 0. Has no gradient. */
export const equal = (a: Tensor, b: Tensor): Tensor => binary('EQUAL', NONE)(a.detach(), b.detach());
