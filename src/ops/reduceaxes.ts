import { convert } from '../core/convert.ts';
import { type DType, wgslType } from '../core/dtype.ts';
import { kernel } from '../core/kernel.ts';
import { type Shape, sameShape, sizeOf } from '../core/shape.ts';
import { gradientFor, knownToSumToZero } from '../core/tape.ts';
import { Tensor } from '../core/tensor.ts';

const stage = kernel('reduce', 'fold');

/** Elements that one invocation reduces to one: 64 keeps a sum's tree shallow and its rounding small. */
const CHUNK = 64;

export type ReduceOp = 'SUM' | 'MAX' | 'MIN';

/**
 * Reduces `axes` of x to extent 1, run by run of neighbouring axes. No tape. `scale` multiplies a sum; the result goes to `into`
 * where there is one, and keeps its shape. It is of x's type if not given; what is stored on the way is f32.
 */
export function reduceAxes(
  OP: ReduceOp,
  x: Tensor,
  axes: readonly number[],
  scale = 1,
  into?: Tensor,
  dtype = into?.dtype ?? x.dtype,
): Tensor {
  const shape = [...x.shape];
  let result = x;
  for (let last = shape.length - 1; last >= 0; last--) {
    if (!axes.includes(last)) continue;
    let first = last;
    while (axes.includes(first - 1)) first--;
    const outer = sizeOf(shape.slice(0, first));
    const width = sizeOf(shape.slice(last + 1));
    const fours = width % 4 === 0 ? 4 : 1;
    const types = { Vec: wgslType('f32', fours), Bits: wgslType('u32', fours) };
    const inner = width % 4 === 0 ? width / 4 : width;
    let length = sizeOf(shape.slice(first, last + 1));
    shape.fill(1, first, last + 1);
    const final = !axes.some((axis) => axis < first);
    do {
      const parts = Math.ceil(length / CHUNK);
      const ends = final && parts === 1;
      const out = ends ? (into ?? Tensor.empty(shape, dtype)) : Tensor.empty(parts > 1 ? [outer, parts, width] : shape);
      const n = outer * parts * inner;
      const params = { n, parts, length, inner, scale: ends ? scale : 1 };
      const stored = { Elem: wgslType(result.dtype, fours), OutElem: wgslType(out.dtype, fours) };
      stage({ ...types, ...stored, OP, CHUNK }, { x: result, out }, params, n);
      if (result !== x) result.free('the reduction');
      result = out;
      length = parts;
    } while (length > 1);
    last = first;
  }
  if (result !== x) return result;
  // No axis to reduce: a copy.
  const y = into ?? Tensor.empty(shape, dtype);
  convert(x, y);
  return y;
}

/**
 * Sums x over the dimensions in which `shape` was repeated to become x's shape: the gradient of broadcasting, as `dtype`. x itself
 * where it is that already. No tape.
 */
export function reduceTo(x: Tensor, shape: Shape, dtype: DType): Tensor {
  if (sameShape(x.shape, shape) && x.dtype === dtype) return x;
  const lead = x.shape.length - shape.length;
  const axes = x.shape.map((_, i) => i).filter((i) => i < lead || (shape[i - lead] === 1 && x.shape[i] !== 1));
  const reduced = reduceAxes('SUM', x, axes, 1, undefined, dtype);
  const result = reduced.view(shape);
  reduced.free('the reduction');
  return result;
}

/** The gradient of a bias b [C] that was added to every row of y [N, …, C], from that of y. No tape. */
export function biasGradient(b: Tensor, dy: Tensor): Tensor {
  const db = gradientFor(b);
  if (knownToSumToZero(dy)) return db.fill(0);
  const axes = dy.shape.slice(1).map((_, axis) => axis);
  return reduceAxes('SUM', dy, axes, 1, db);
}
