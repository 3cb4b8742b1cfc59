import { addInto } from '../core/accumulate.ts';
import { elementBytes } from '../core/dtype.ts';
import { ShapeError } from '../core/errors.ts';
import { showShape } from '../core/shape.ts';
import { gradientFor, readFor, record } from '../core/tape.ts';
import { Tensor } from '../core/tensor.ts';
import { copyBox, corner, whole } from './box.ts';
import { cast, floating, floats, weightAs } from './cast.ts';
import { multiply } from './matrix/multiply.ts';
import { biasGradient } from './reduceaxes.ts';

/**
 * y = x·wᵀ + b.
 *
 * x [N,in], w [out,in], b [out] or null → y [N,out]. Saves x and w. A w larger than the adapter can bind is worked through in
 * slices of its rows. y is of x's type and w is cast to it. Throws ShapeError when the features differ.
 */
export const linear = (x: Tensor, w: Tensor, b: Tensor | null): Tensor =>
  linearWithin(x, w, b, w.storage.gpu.limits.maxStorageBufferBindingSize);

/** `linear` with the most bytes of w that are bound at once, `limitBytes`. */
export function linearWithin(input: Tensor, weight: Tensor, bias: Tensor | null, limitBytes: number): Tensor {
  const x = floats(input);
  const [N, I] = x.shape as [number, number];
  const [O, wI] = weight.shape as [number, number];
  if (x.shape.length === 0 || weight.shape.length !== 2) {
    throw new ShapeError(
      `linear: x is ${showShape(x.shape)} and w ${showShape(weight.shape)}; they are [N,in] and [out,in].`,
    );
  }
  if (x.shape.length !== 2 || I !== wI) {
    const mend =
      x.shape.at(-1) === wI
        ? `Reshape it to [-1,${wI}] before, and the result back after.`
        : `Flatten x, or build the layer with inFeatures: ${x.size / N}.`;
    throw new ShapeError(
      `linear: w ${showShape(weight.shape)} takes [N,${wI}] but x is ${showShape(x.shape)}. ${mend}`,
    );
  }
  if (bias && bias.size !== O) {
    throw new ShapeError(`linear: w ${showShape(weight.shape)} gives ${O} features but b is ${showShape(bias.shape)}.`);
  }
  const { values: w, owner } = weightAs(weight, floating(x.dtype));
  const b = bias && cast(bias, 'f32');
  const slices = slicesOf(w, limitBytes);
  const y = Tensor.empty([N, O], x.dtype);
  for (const slice of slices) {
    const part = columns(y, slice);
    multiply(x, rows(w, slice), b && rows(b.view([O]), slice), part, {
      M: N,
      N: slice.count,
      K: I,
      transposeA: false,
      transposeB: true,
    });
    if (part === y) continue;
    copyBox('linear', part.shape, part, whole(part.shape), y, corner(y.shape, [0, slice.first]));
    part.free('linear');
  }
  const backward = (dy: Tensor, needs: readonly boolean[]) => {
    const dx = needs[0] ? x.emptyLike() : null;
    const dw = needs[1] ? gradientFor(owner) : null;
    for (const slice of slices) {
      const part = columns(dy, slice);
      if (part !== dy) copyBox('linear', part.shape, dy, corner(dy.shape, [0, slice.first]), part, whole(part.shape));
      if (dw)
        multiply(part, x, null, rows(dw, slice), { M: slice.count, N: I, K: N, transposeA: true, transposeB: false });
      if (dx) {
        const sum = slice.first === 0 ? dx : dx.emptyLike();
        multiply(part, rows(w, slice), null, sum, { M: N, N: I, K: slice.count, transposeA: false, transposeB: false });
        if (sum !== dx) {
          addInto(dx, sum);
          sum.free('linear');
        }
      }
      if (part !== dy) part.free('linear');
    }
    return [dx, dw, b && needs[2] ? biasGradient(b, dy) : null];
  };
  return record(y, [x, owner, b], backward, [], [readFor(owner, x), readFor(x, w)]);
}

/** Rows of w, features of y. */
interface Slice {
  first: number;
  count: number;
}

/** Bindings start at multiples of this. */
const ALIGNMENT = 256;

function slicesOf(w: Tensor, limitBytes: number): Slice[] {
  const [O, I] = w.shape as [number, number];
  // The gradient of w may be f32 where w is not.
  if (4 * w.size <= limitBytes) return [{ first: 0, count: O }];
  // So many rows start at such a multiple whatever their length, in b too.
  const rows = ALIGNMENT / elementBytes(w.dtype);
  const most = Math.floor(limitBytes / (4 * I * rows)) * rows;
  if (most === 0) {
    throw new ShapeError(
      `linear: ${rows} rows of w ${showShape(w.shape)} are more than the adapter can bind. Use fewer input features.`,
    );
  }
  return Array.from({ length: Math.ceil(O / most) }, (_, i) => ({
    first: i * most,
    count: Math.min(most, O - i * most),
  }));
}

/** Some rows of a tensor, in its own memory. */
function rows(tensor: Tensor, { first, count }: Slice): Tensor {
  if (count === tensor.shape[0]) return tensor;
  const rowBytes = (elementBytes(tensor.dtype) * tensor.size) / tensor.shape[0]!;
  const memory = tensor.storage.part(first * rowBytes, count * rowBytes);
  return new Tensor(memory, [count, ...tensor.shape.slice(1)], tensor.dtype);
}

/** The tensor itself when a slice is all of its columns, else an empty one for them. */
const columns = (tensor: Tensor, { count }: Slice): Tensor =>
  count === tensor.shape[1] ? tensor : Tensor.empty([tensor.shape[0]!, count], tensor.dtype);
