import { ShapeError } from '../core/errors.ts';
import { showShape } from '../core/shape.ts';
import { gradientFor, record } from '../core/tape.ts';
import { Tensor } from '../core/tensor.ts';
import { foldInto } from './fold.ts';
import { multiply } from './multiply.ts';

export interface MatmulOptions {
  /** a lies in memory as [K,M]. */
  transposeA?: boolean;
  /** b lies in memory as [N,K]. */
  transposeB?: boolean;
}

/**
 * Matrix product c = op(a)·op(b), op the transpose where asked for.
 *
 * a [M,K] ([K,M] with transposeA), b [K,N] ([N,K] with transposeB) → c [M,N]. Saves a and b. Throws ShapeError when the inner
 * extents differ.
 */
export function matmul(a: Tensor, b: Tensor, { transposeA = false, transposeB = false }: MatmulOptions = {}): Tensor {
  if (a.shape.length !== 2 || b.shape.length !== 2) {
    throw new ShapeError(`matmul: ${showShape(a.shape)} and ${showShape(b.shape)}; both must be matrices.`);
  }
  const [M, K] = (transposeA ? [...a.shape].reverse() : a.shape) as [number, number];
  const [inner, N] = (transposeB ? [...b.shape].reverse() : b.shape) as [number, number];
  if (K !== inner) {
    throw new ShapeError(`matmul: op(a) is [${M},${K}] but op(b) is [${inner},${N}]; the inner extents must be equal.`);
  }
  const c = multiply(a, b, null, Tensor.empty([M, N]), { M, N, K, transposeA, transposeB });
  return record(c, [a, b], (dc, needs) => [
    // op(a) gets dc·op(b)ᵀ; stored transposed, that is op(b)·dcᵀ.
    needs[0]
      ? transposeA
        ? multiply(b, dc, null, a.emptyLike(), { M: K, N: M, K: N, transposeA: transposeB, transposeB: true })
        : multiply(dc, b, null, a.emptyLike(), { M, N: K, K: N, transposeA: false, transposeB: !transposeB })
      : null,
    needs[1]
      ? transposeB
        ? multiply(dc, a, null, b.emptyLike(), { M: N, N: K, K: M, transposeA: true, transposeB: transposeA })
        : multiply(a, dc, null, b.emptyLike(), { M: K, N, K: M, transposeA: !transposeA, transposeB: false })
      : null,
  ]);
}

/**
 * y = x·wᵀ + b.
 *
 * x [N,in], w [out,in], b [out] or null → y [N,out]. Saves x and w. Throws ShapeError when the features differ.
 */
export function linear(x: Tensor, w: Tensor, b: Tensor | null): Tensor {
  const [N, I] = x.shape as [number, number];
  const [O, wI] = w.shape as [number, number];
  if (x.shape.length !== 2 || w.shape.length !== 2 || I !== wI) {
    throw new ShapeError(
      `linear: w ${showShape(w.shape)} takes [N,${wI}] but x is ${showShape(x.shape)}. Flatten x, or build the layer with inFeatures: ${x.size / N}.`,
    );
  }
  if (b && b.size !== O)
    throw new ShapeError(`linear: w ${showShape(w.shape)} gives ${O} features but b is ${showShape(b.shape)}.`);
  const y = multiply(x, w, b, Tensor.empty([N, O]), { M: N, N: O, K: I, transposeA: false, transposeB: true });
  return record(y, [x, w, b], (dy, needs) => [
    needs[0] ? multiply(dy, w, null, x.emptyLike(), { M: N, N: I, K: O, transposeA: false, transposeB: false }) : null,
    needs[1] ? multiply(dy, x, null, gradientFor(w), { M: O, N: I, K: N, transposeA: true, transposeB: false }) : null,
    b && needs[2] ? foldInto(gradientFor(b), dy, [0]) : null,
  ]);
}
