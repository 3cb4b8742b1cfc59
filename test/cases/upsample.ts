import * as ops from '../../src/ops/index.ts';
import { uniform } from '../check.ts';
import * as ref from '../reference.ts';
import { type OperationCase, operationCase } from './case.ts';

export interface Upsampling {
  x: readonly [number, number, number, number];
  factor: ref.Pair;
}

const upsamplings: readonly Upsampling[] = [
  { x: [1, 1, 1, 1], factor: 3 },
  { x: [2, 3, 5, 3], factor: 2 },
  { x: [1, 4, 3, 8], factor: 2 },
  { x: [3, 2, 7, 4], factor: [1, 3] },
  { x: [1, 5, 2, 7], factor: [4, 1] },
  { x: [2, 6, 6, 2], factor: 1 },
];

export const upsampleCasesOf = (list: readonly Upsampling[]): OperationCase[] =>
  list.map(({ x, factor }) =>
    operationCase('upsampleNearest2d', `[${x}] by ${factor}`, () => ({
      op: ([t]) => ops.upsampleNearest2d(t, factor),
      reference: ([t]) => ref.upsampleNearest2d(t, factor),
      inputs: [uniform(x, 65)],
      bound: 'select',
    })),
  );

export const upsampleCases = upsampleCasesOf(upsamplings);
