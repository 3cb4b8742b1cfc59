import * as ops from '../../src/ops/index.ts';
import { uniform } from '../check.ts';
import * as ref from '../reference.ts';
import { type OperationCase, operationCase } from './case.ts';

/** [M, N, K]: a single element, odd, a row, a column, multiples of 4, and more than a tile of 64 or 128 on each side; few terms. */
export const matmulShapes: readonly (readonly [M: number, N: number, K: number])[] = [
  [1, 1, 1],
  [3, 5, 7],
  [1, 70, 9],
  [70, 1, 9],
  [8, 12, 16],
  [65, 33, 130],
  [131, 129, 18],
  [64, 64, 32],
  [66, 256, 3],
  [9, 132, 13],
  [20, 148, 2],
];

const TRANSPOSES = [false, true].flatMap((transposeA) =>
  [false, true].map((transposeB) => ({ transposeA, transposeB })),
);

/** Fewer difference quotients where the oracle is slow. */
const countFor = (M: number, N: number, K: number): number => (M * N * K > 100_000 ? 6 : 32);

export const matmulCasesOf = (shapes: typeof matmulShapes): OperationCase[] =>
  shapes.flatMap(([M, N, K]) =>
    TRANSPOSES.map((options) => {
      const { transposeA, transposeB } = options;
      const what = `${transposeA ? 'aᵀ' : 'a'}·${transposeB ? 'bᵀ' : 'b'} ${M}×${N}×${K}`;
      return operationCase('matmul', what, () => ({
        op: ([a, b]) => ops.matmul(a!, b!, options),
        reference: ([a, b]) => ref.matmul(a, b, options),
        inputs: [uniform(transposeA ? [K, M] : [M, K], 41), uniform(transposeB ? [N, K] : [K, N], 42)],
        bound: 'sum',
        count: countFor(M, N, K),
      }));
    }),
  );

export const matmulCases: readonly OperationCase[] = matmulCasesOf(matmulShapes);

/** `linear` with and without a bias, by any implementation of it. */
export const linearCasesOf = (linear: typeof ops.linear, shapes = matmulShapes): OperationCase[] =>
  shapes.flatMap(([N, O, I]) => {
    const [x, w] = [() => uniform([N, I], 43), () => uniform([O, I], 44)];
    const count = countFor(N, O, I);
    return [
      operationCase('linear', `${N}×${O}×${I} with bias`, () => ({
        op: ([a, b, c]) => linear(a, b, c),
        reference: ([a, b, c]) => ref.linear(a, b, c),
        inputs: [x(), w(), uniform([O], 45)],
        bound: 'sum',
        count,
      })),
      operationCase('linear', `${N}×${O}×${I}`, () => ({
        op: ([a, b]) => linear(a, b, null),
        reference: ([a, b]) => ref.linear(a, b, null),
        inputs: [x(), w()],
        bound: 'sum',
        count,
      })),
    ];
  });

export const linearCases = linearCasesOf(ops.linear);
