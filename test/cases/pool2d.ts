import * as ops from '../../src/ops/index.ts';
import { permutation, uniform } from '../check.ts';
import * as ref from '../reference.ts';
import { type OperationCase, operationCase } from './case.ts';

export interface Window {
  x: readonly [number, number, number, number];
  kernel: ref.Pair;
  stride?: ref.Pair;
  padding?: ref.Pair;
}

const windows: readonly Window[] = [
  { x: [1, 1, 1, 1], kernel: 1 },
  { x: [2, 6, 4, 3], kernel: 2 },
  { x: [1, 6, 5, 7], kernel: 2 },
  { x: [2, 5, 6, 4], kernel: 2 },
  { x: [6, 8, 6, 16], kernel: 2 },
  { x: [1, 6, 4, 3], kernel: [3, 2] },
  { x: [2, 7, 8, 3], kernel: 3, stride: 2, padding: 1 },
  { x: [1, 6, 5, 4], kernel: [3, 2], stride: [1, 2], padding: [1, 0] },
  { x: [2, 4, 14, 3], kernel: 2 },
  { x: [1, 4, 6, 3], kernel: [2, 3] },
  { x: [2, 5, 20, 3], kernel: [2, 3] },
  { x: [1, 5, 7, 4], kernel: [2, 4], stride: [1, 2], padding: [0, 2] },
  { x: [1, 6, 6, 3], kernel: 3, stride: [2, 3] },
  { x: [1, 6, 6, 4], kernel: 3, stride: [3, 2] },
  { x: [1, 22, 19, 4], kernel: 19, stride: 1 },
  { x: [1, 7, 9, 1], kernel: 2, stride: 3 },
  { x: [1, 5, 5, 2], kernel: 1, stride: 2 },
  { x: [1, 5, 6, 2], kernel: 5, stride: 1, padding: 2 },
  { x: [3, 11, 9, 8], kernel: 3, stride: 1, padding: 1 },
];

export interface Adaptive {
  x: readonly [number, number, number, number];
  size: ref.Pair;
}

/** Into as many, fewer with overlap, one, and more windows than there are pixels. */
const adaptive: readonly Adaptive[] = [
  { x: [2, 5, 3, 3], size: 1 },
  { x: [1, 5, 3, 7], size: [2, 3] },
  { x: [2, 3, 3, 4], size: 7 },
  { x: [1, 12, 12, 2], size: 7 },
  { x: [1, 4, 4, 1], size: 4 },
  { x: [2, 17, 13, 5], size: [1, 4] },
];

export const poolCasesOf = (windows: readonly Window[], adaptive: readonly Adaptive[]): OperationCase[] => [
  ...windows.flatMap(({ x, kernel, stride = kernel, padding = 0 }) => {
    const options = { kernel, stride, padding };
    const what = `[${x}] kernel ${kernel} stride ${stride} padding ${padding}`;
    return [
      operationCase('maxPool2d', what, () => ({
        op: ([t]) => ops.maxPool2d(t, options),
        reference: ([t]) => ref.maxPool2d(t, options),
        inputs: [permutation(x, 61)],
        bound: 'select',
      })),
      ...[true, false].map((countIncludePad) =>
        operationCase('avgPool2d', `${what}${countIncludePad ? '' : ', padding not counted'}`, () => ({
          op: ([t]) => ops.avgPool2d(t, { ...options, countIncludePad }),
          reference: ([t]) => ref.avgPool2d(t, { ...options, countIncludePad }),
          inputs: [uniform(x, 62)],
          bound: 'sum',
        })),
      ),
    ];
  }),
  ...adaptive.flatMap(({ x, size }) => [
    operationCase('adaptiveMaxPool2d', `[${x}] to ${size}`, () => ({
      op: ([t]) => ops.adaptiveMaxPool2d(t, size),
      reference: ([t]) => ref.adaptiveMaxPool2d(t, size),
      inputs: [permutation(x, 63)],
      bound: 'select',
    })),
    operationCase('adaptiveAvgPool2d', `[${x}] to ${size}`, () => ({
      op: ([t]) => ops.adaptiveAvgPool2d(t, size),
      reference: ([t]) => ref.adaptiveAvgPool2d(t, size),
      inputs: [uniform(x, 64)],
      bound: 'sum',
    })),
  ]),
];

export const poolCases = poolCasesOf(windows, adaptive);
