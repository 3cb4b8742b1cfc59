import * as ops from '../../src/ops/index.ts';
import { permutation, uniform } from '../check.ts';
import * as ref from '../reference.ts';
import { map, sizeOf, type Values, values } from '../reference.ts';
import { engine, type OperationCase, operationCase, oracle } from './case.ts';

type Operands = readonly [a: number[], b: number[]];

/** Pairs that broadcast in each direction, and in none. */
const shapes: readonly Operands[] = [
  [
    [3, 5, 7],
    [3, 5, 7],
  ],
  [[1], [1]],
  [[7], [3, 7]],
  [
    [3, 7],
    [3, 1],
  ],
  [
    [5, 1],
    [1, 7],
  ],
  [
    [2, 1, 3, 1],
    [4, 1, 5],
  ],
  [[4, 3], [1]],
  [[], [2, 3]],
  [
    [67, 2],
    [1, 2],
  ],
  [
    [2, 1, 2, 1, 3, 1],
    [1, 2, 1, 3, 1, 2],
  ],
  [
    [2, 3, 1, 2, 2, 1, 3],
    [2, 1, 1, 1, 2, 1, 3],
  ],
];

/** x summed over the axes in which `shape` was stretched to become x's. */
function summedTo(x: Values, shape: readonly number[]): Float64Array {
  const missing = x.shape.length - shape.length;
  const axes = x.shape.map((_, axis) => axis).filter((axis) => axis < missing || shape[axis - missing] === 1);
  return ref.sum(x, axes).data;
}

/** Two inputs without ties within or between them. */
function ranks(a: readonly number[], b: readonly number[]): [Values, Values] {
  const all = permutation([sizeOf(a) + sizeOf(b)], 5).data;
  return [values(a, all.subarray(0, sizeOf(a))), values(b, all.subarray(sizeOf(a)))];
}

const pairOf = (a: readonly number[], b: readonly number[]): [Values, Values] => [uniform(a, 21), uniform(b, 22)];

const casesOf = ([a, b]: Operands): OperationCase[] => {
  const what = `[${a}] [${b}]`;
  return [
    ...(['add', 'sub', 'mul'] as const).map((name) =>
      operationCase(name, what, () => ({
        op: ([x, y]) => engine[name](x, y),
        reference: ([x, y]) => oracle[name](x, y),
        absReference: ([x, y]) => oracle[name === 'mul' ? 'mul' : 'add'](x, y),
        inputs: pairOf(a, b),
        bound: 'sum',
      })),
    ),
    operationCase('div', what, () => {
      const [x, y] = [uniform(a, 21), uniform(b, 22, { min: 0.5, max: 2 })];
      const quotient = map(ref.div(x, y), Math.abs);
      return {
        op: ([u, v]) => ops.div(u, v),
        reference: ([u, v]) => ref.div(u, v),
        inputs: [x, y],
        // A division costs 2.5 ULP, 5 u, and d/dy has two; times dy, and 8 u for the sum.
        bound: { ulps: 6, terms: quotient.data },
        gradientBounds: (dy) => {
          const magnitude = map(dy, Math.abs);
          return [
            { ulps: 16, terms: summedTo(ref.div(magnitude, y), a) },
            { ulps: 20, terms: summedTo(ref.div(ref.mul(magnitude, quotient), y), b) },
          ];
        },
      };
    }),
    ...(['maximum', 'minimum'] as const).map((name) =>
      operationCase(name, what, () => ({
        op: ([x, y]) => engine[name](x, y),
        reference: ([x, y]) => oracle[name](x, y),
        inputs: ranks(a, b),
        bound: 'select',
      })),
    ),
  ];
};

export const binaryCasesOf = (operands: readonly Operands[]): OperationCase[] => operands.flatMap(casesOf);

export const binaryCases = binaryCasesOf(shapes);
