import type * as ops from '../../src/ops/index.ts';
import { permutation, uniform } from '../check.ts';
import type * as ref from '../reference.ts';
import { atLeast1d, engine, type OperationCase, operationCase, oracle } from './case.ts';

export interface Reduction {
  shape: readonly number[];
  axes?: readonly number[];
  keepDims?: boolean;
}

/** A stage folds 64 elements: 67 takes two stages, 4200 three. */
const reductions: readonly Reduction[] = [
  { shape: [1] },
  { shape: [7] },
  { shape: [3, 1, 5] },
  { shape: [4200] },
  { shape: [67, 3], axes: [0] },
  { shape: [3, 67], axes: [-1], keepDims: true },
  { shape: [2, 67, 5], axes: [1] },
  { shape: [3, 4, 5, 6], axes: [0, 2] },
  { shape: [3, 4, 5, 6], axes: [1, 3], keepDims: true },
  { shape: [2, 9, 9, 3], axes: [0, 1, 2] },
  { shape: [5, 1, 3], axes: [1] },
  { shape: [2, 3, 1, 2, 2, 1, 3, 2], axes: [1, 3, 4] },
  { shape: [2, 1, 2, 1, 1, 2, 3, 1], keepDims: true },
];

const linear = ['sum', 'mean'] as const;
const extreme = ['max', 'min'] as const;

const operands = ({ shape, axes, keepDims = false }: Reduction, name: (typeof linear | typeof extreme)[number]) => ({
  op: ([x]: readonly [Parameters<typeof ops.sum>[0]]) => engine[name](x, axes, { keepDims }),
  reference: ([x]: readonly [ref.Values]) => atLeast1d(oracle[name](x, axes, keepDims)),
  inputs: [linear.includes(name as 'sum') ? uniform(shape, 31) : permutation(shape, 31)] as const,
  count: 16,
});

const casesOf = (reduction: Reduction): OperationCase[] => {
  const { shape, axes, keepDims } = reduction;
  const what = `[${shape}] over ${axes ? `[${axes}]` : 'all'}${keepDims ? ', keepDims' : ''}`;
  return [
    ...linear.map((name) => operationCase(name, what, () => ({ ...operands(reduction, name), bound: 'sum' }))),
    ...extreme.map((name) => operationCase(name, what, () => ({ ...operands(reduction, name), bound: 'select' }))),
  ];
};

export const reduceCasesOf = (list: readonly Reduction[]): OperationCase[] => list.flatMap(casesOf);

export const reduceCases = reduceCasesOf(reductions);
