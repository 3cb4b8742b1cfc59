import * as ops from '../../src/ops/index.ts';
import { uniform } from '../check.ts';
import * as ref from '../reference.ts';
import { type OperationCase, operationCase } from './case.ts';

const types = [
  ['f32', 'f16'],
  ['f16', 'f32'],
  ['f16', 'f16'],
] as const;

/** An odd number of elements, one, and more than a workgroup. */
const shapes = [[7], [1], [3, 5, 29]] as const;

export const castCases: OperationCase[] = types.flatMap(([from, to]) =>
  shapes.map((shape) => ({
    ...operationCase('cast', `[${shape}] from ${from} to ${to}`, () => ({
      op: ([x]) => ops.cast(x, to),
      reference: ([x]) => ref.cast(x),
      inputs: [uniform(shape, 21)],
      dtypes: [from],
      bound: 'exact',
      half: from !== to,
    })),
    half: true,
  })),
);
