import { addInto } from '../core/accumulate.ts';
import { GpuError, ShapeError } from '../core/errors.ts';
import { showShape } from '../core/shape.ts';
import { Storage } from '../core/storage.ts';
import { gradientFor, record } from '../core/tape.ts';
import { Tensor } from '../core/tensor.ts';
import { copyBox, corner, whole } from './box.ts';
import { biasGradient } from './fold.ts';
import { multiply } from './matrix/multiply.ts';

/**
 * y = x·wᵀ + b.
 *
 * x [N,in], w [out,in], b [out] or null → y [N,out]. Saves x and w. A w larger than the adapter can bind is worked through in
 * slices of its rows. Throws ShapeError when the features differ.
 */
export const linear = (x: Tensor, w: Tensor, b: Tensor | null): Tensor =>
  linearWithin(x, w, b, w.storage.gpu.limits.maxStorageBufferBindingSize);

/** `linear` with the most bytes of w that are bound at once, `limitBytes`. */
export function linearWithin(x: Tensor, w: Tensor, b: Tensor | null, limitBytes: number): Tensor {
  const [N, I] = x.shape as [number, number];
  const [O, wI] = w.shape as [number, number];
  if (x.shape.length !== 2 || w.shape.length !== 2 || I !== wI) {
    throw new ShapeError(
      `linear: w ${showShape(w.shape)} takes [N,${wI}] but x is ${showShape(x.shape)}. Flatten x, or build the layer with inFeatures: ${x.size / N}.`,
    );
  }
  if (b && b.size !== O) {
    throw new ShapeError(`linear: w ${showShape(w.shape)} gives ${O} features but b is ${showShape(b.shape)}.`);
  }
  const slices = slicesOf(w, limitBytes);
  const y = Tensor.empty([N, O]);
  for (const slice of slices) {
    const part = columns(y, slice);
    const bias = b && rows(b, slice);
    multiply(x, rows(w, slice), bias, part, { M: N, N: slice.count, K: I, transposeA: false, transposeB: true });
    if (part === y) continue;
    copyBox(part.shape, part, whole(part.shape), y, corner(y.shape, [0, slice.first]));
    part.free('linear');
  }
  const backward = (dy: Tensor, needs: readonly boolean[]) => {
    const dx = needs[0] ? x.emptyLike() : null;
    const dw = needs[1] ? gradientFor(w) : null;
    for (const slice of slices) {
      const part = columns(dy, slice);
      if (part !== dy) copyBox(part.shape, dy, corner(dy.shape, [0, slice.first]), part, whole(part.shape));
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
  return record(y, [x, w, b], backward, [], [x, w]);
}

/** Rows of w, features of y. */
interface Slice {
  first: number;
  count: number;
}

/** Rows in a slice are a multiple of this, so that each starts at a multiple of 256 bytes, in b too. */
const ROWS = 64;

function slicesOf(w: Tensor, limitBytes: number): Slice[] {
  const [O, I] = w.shape as [number, number];
  if (4 * w.size <= limitBytes) return [{ first: 0, count: O }];
  const most = Math.floor(limitBytes / (4 * I * ROWS)) * ROWS;
  if (most === 0) {
    throw new GpuError(
      `linear: ${ROWS} rows of w ${showShape(w.shape)} are more than the adapter can bind. Use fewer input features.`,
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
  const rowBytes = (4 * tensor.size) / tensor.shape[0]!;
  const { gpu, pool, offsetBytes } = tensor.storage;
  const memory = Storage.within(gpu, pool, offsetBytes + first * rowBytes, count * rowBytes);
  return new Tensor(memory, [count, ...tensor.shape.slice(1)], tensor.dtype);
}

/** The tensor itself when a slice is all of its columns, else an empty one for them. */
const columns = (tensor: Tensor, { count }: Slice): Tensor =>
  count === tensor.shape[1] ? tensor : Tensor.empty([tensor.shape[0]!, count]);
