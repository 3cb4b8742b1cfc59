import * as ops from '../../src/ops/index.ts';
import { uniform } from '../check.ts';
import * as ref from '../reference.ts';
import { type OperationCase, operationCase } from './case.ts';

/** Shapes, and what each operation takes with them. */
export interface Moves {
  reshapes: readonly (readonly [from: number[], to: number[]])[];
  flattened: readonly number[][];
  permutations: readonly (readonly [shape: number[], order: number[]])[];
  expansions: readonly (readonly [from: number[], to: number[]])[];
  slices: readonly (readonly [shape: number[], starts: number[], sizes: number[]])[];
  pads: readonly (readonly [shape: number[], before: number[], after: number[], value: number])[];
  joins: readonly (readonly [shapes: number[][], axis: number])[];
}

const reshapes: Moves['reshapes'] = [
  [
    [2, 3, 4],
    [4, -1],
  ],
  [[1], [1, 1, 1]],
  [
    [7, 3],
    [3, 7],
  ],
];

const flattened = [
  [3, 2, 5],
  [4, 1],
];

const permutations: Moves['permutations'] = [
  [
    [5, 7],
    [1, 0],
  ],
  [
    [2, 3, 5, 4],
    [0, 3, 1, 2],
  ],
  [
    [2, 3, 5, 4],
    [0, 2, 3, 1],
  ],
  [
    [2, 1, 3, 1, 2, 3],
    [5, 2, 4, 0, 3, 1],
  ],
  [
    [2, 1, 3, 2, 1, 2, 3],
    [5, 6, 1, 2, 3, 4, 0],
  ],
  [[7], [0]],
];

const expansions: Moves['expansions'] = [
  [[1], [7]],
  [
    [3, 1],
    [3, 67],
  ],
  [[5], [2, 3, 5]],
  [
    [1, 3, 1],
    [4, 3, 2],
  ],
  [
    [2, 1, 1, 3, 1, 1, 1],
    [2, 2, 3, 3, 2, 1, 2],
  ],
  [
    [2, 3],
    [2, 3],
  ],
];

const slices: Moves['slices'] = [
  [[7], [2], [1]],
  [
    [3, 4, 5],
    [1, 2, 0],
    [2, 1, 4],
  ],
  [
    [2, 3],
    [0, 0],
    [2, 3],
  ],
  [
    [2, 3, 2, 1, 3, 2, 2],
    [0, 1, 0, 0, 1, 0, 0],
    [2, 2, 2, 1, 2, 2, 2],
  ],
];

const pads: Moves['pads'] = [
  [[1], [0], [3], 0],
  [[2, 3], [1, 0], [0, 2], 0.5],
  [[2, 5, 3, 3], [0, 2, 1, 0], [0, 1, 2, 0], 0],
  [[2, 1, 2, 3, 2, 1, 2], [0, 0, 1, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0, 0], 0.5],
];

const joins: Moves['joins'] = [
  [[[2, 3]], 0],
  [[[1], [7], [2]], 0],
  [
    [
      [2, 1, 2, 1, 2, 1, 2],
      [2, 1, 2, 3, 2, 1, 2],
    ],
    3,
  ],
  [
    [
      [2, 1, 3],
      [2, 4, 3],
    ],
    1,
  ],
  [
    [
      [2, 3, 3, 1],
      [2, 3, 3, 7],
      [2, 3, 3, 3],
    ],
    -1,
  ],
];

/** Nothing is computed, so value and gradient are exact. */
export const reshapeCasesOf = ({
  reshapes,
  flattened,
  permutations,
  expansions,
  slices,
  pads,
  joins,
}: Moves): OperationCase[] => [
  ...reshapes.map(([from, to]) =>
    operationCase('reshape', `[${from}] to [${to}]`, () => ({
      op: ([x]) => ops.reshape(x, to),
      reference: ([x]) => ref.reshape(x, to),
      inputs: [uniform(from, 91)],
      bound: 'exact',
    })),
  ),
  ...flattened.map((shape) =>
    operationCase('flatten', `[${shape}]`, () => ({
      op: ([x]) => ops.flatten(x),
      reference: ([x]) => ref.flatten(x),
      inputs: [uniform(shape, 92)],
      bound: 'exact',
    })),
  ),
  ...permutations.map(([shape, order]) =>
    operationCase('permute', `[${shape}] by [${order}]`, () => ({
      op: ([x]) => ops.permute(x, order),
      reference: ([x]) => ref.permute(x, order),
      inputs: [uniform(shape, 93)],
      bound: 'exact',
    })),
  ),
  ...expansions.map(([from, to]) =>
    operationCase('expand', `[${from}] to [${to}]`, () => ({
      op: ([x]) => ops.expand(x, to),
      reference: ([x]) => ref.broadcastTo(x, to),
      inputs: [uniform(from, 94)],
      bound: 'sum',
    })),
  ),
  ...slices.map(([shape, starts, sizes]) =>
    operationCase('slice', `[${sizes}] of [${shape}] from [${starts}]`, () => ({
      op: ([x]) => ops.slice(x, starts, sizes),
      reference: ([x]) => ref.slice(x, starts, sizes),
      inputs: [uniform(shape, 95)],
      bound: 'exact',
    })),
  ),
  ...pads.map(([shape, before, after, value]) =>
    operationCase('pad', `[${shape}] by [${before}] and [${after}]`, () => ({
      op: ([x]) => ops.pad(x, before, after, value),
      reference: ([x]) => ref.pad(x, before, after, value),
      inputs: [uniform(shape, 96)],
      bound: 'exact',
    })),
  ),
  ...joins.map(([shapes, axis]) =>
    operationCase('concat', `${shapes.map((shape) => `[${shape}]`).join(' ')} along ${axis}`, () => ({
      op: (list) => ops.concat(list, axis),
      reference: (list) => ref.concat(list, axis),
      inputs: shapes.map((shape, i) => uniform(shape, 97 + i)) as ref.Values[],
      bound: 'exact',
    })),
  ),
];

export const reshapeCases = reshapeCasesOf({ reshapes, flattened, permutations, expansions, slices, pads, joins });
