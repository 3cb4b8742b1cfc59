import { kernel } from '../core/kernel.ts';
import type { Tensor } from '../core/tensor.ts';
import { elementOf, storing, teamFor, tileGrid } from './team.ts';

const matmul = storing(kernel('matmul', 'main'), kernel('matmul', 'ragged'));

/** What is multiplied: c [M,N] = op(a)·op(b) over K terms. */
export interface Product {
  M: number;
  N: number;
  K: number;
  /** a lies in memory as [K,M]. */
  transposeA: boolean;
  /** b lies in memory as [N,K]. */
  transposeB: boolean;
}

/** c = op(a)·op(b) (+ bias), written to `c`, which is returned. No tape. */
export function multiply(a: Tensor, b: Tensor, bias: Tensor | null, c: Tensor, product: Product): Tensor {
  const { M, N, K, transposeA, transposeB } = product;
  const team = teamFor(c, M);
  const VEC_A = (transposeA ? M : K) % 4 === 0;
  const VEC_B = (transposeB ? K : N) % 4 === 0;
  const consts = {
    TEAM: team.include,
    ROWS: team.rows,
    TRANSPOSE_A: transposeA,
    TRANSPOSE_B: transposeB,
    VEC_A,
    VEC_B,
    RAGGED_K: K % 4 !== 0,
    AElem: elementOf(VEC_A),
    BElem: elementOf(VEC_B),
  };
  const params = { m: M, n: N, k: K, kSplit: K, hasBias: bias ? 1 : 0 };
  matmul(N)(consts, { a, b, bias: bias ?? a, c }, params, tileGrid(team, M, N, 1), 2 * M * N * K);
  return c;
}
