import { ShapeError } from '../core/errors.ts';
import { showShape } from '../core/shape.ts';
import { readFor, record } from '../core/tape.ts';
import { Tensor } from '../core/tensor.ts';
import { cast, commonType } from './cast.ts';
import { multiply } from './matrix/multiply.ts';

export interface MatmulOptions {
  /** a lies in memory as [K,M]. */
  transposeA?: boolean;
  /** b lies in memory as [N,K]. */
  transposeB?: boolean;
}

/**
 * Matrix product c = op(a)·op(b), op the transpose where asked for.
 *
 * a [M,K] ([K,M] with transposeA), b [K,N] ([N,K] with transposeB) → c [M,N]. Saves a and b. f16 where
 * both are, else f32. Throws ShapeError when the inner extents differ.
 */
export function matmul(
  left: Tensor,
  right: Tensor,
  { transposeA = false, transposeB = false }: MatmulOptions = {},
): Tensor {
  if (left.shape.length !== 2 || right.shape.length !== 2) {
    throw new ShapeError(
      `matmul: ${showShape(left.shape)} and ${showShape(right.shape)}; both must be matrices. Reshape them, or multiply slices.`,
    );
  }
  const [M, K] = (transposeA ? [...left.shape].reverse() : left.shape) as [number, number];
  const [inner, N] = (transposeB ? [...right.shape].reverse() : right.shape) as [number, number];
  if (K !== inner) {
    throw new ShapeError(`matmul: op(a) is [${M},${K}] but op(b) is [${inner},${N}]; the inner extents must be equal.`);
  }
  const dtype = commonType(left, right);
  const [a, b] = [cast(left, dtype), cast(right, dtype)];
  const c = multiply(a, b, null, Tensor.empty([M, N], dtype), { M, N, K, transposeA, transposeB });
  const backward = (dc: Tensor, needs: readonly boolean[]) => [
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
  ];
  return record(c, [a, b], backward, [], [readFor(b, a), readFor(a, b)]);
}
