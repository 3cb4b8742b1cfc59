import { pcg4d } from '../../src/core/random.ts';
import { nextDraw, setSeed, stepCounter } from '../../src/core/stepbuffer.ts';
import * as ops from '../../src/ops/index.ts';
import { uniform } from '../check.ts';
import * as ref from '../reference.ts';
import { type OperationCase, operationCase } from './case.ts';

interface MaskKey {
  seed: number;
  step: number;
  draw: number;
}

/** Element `i` of dropout's mask, drawn on the CPU: 1/(1 − p) where it is kept, else 0. */
export function maskAt(i: number, p: number, { seed, step, draw }: MaskKey): number {
  const uniform01 = (pcg4d(seed, step, draw, i >> 2)[i & 3]! >>> 8) / 2 ** 24;
  return uniform01 >= Math.fround(p) ? 1 / (1 - p) : 0;
}

export const maskOf = (shape: readonly number[], p: number, key: MaskKey): ref.Values =>
  ref.map(ref.values(shape), (_, i) => maskAt(i, p, key));

export const SEED = 0;

export const dropoutCases: OperationCase[] = [
  [[1], 0.5],
  [[7, 3], 0.25],
  [[3, 67], 0.5],
].map(([shape, p]) =>
  operationCase('dropout', `[${shape}] p ${p}`, () => {
    let draw = 0;
    return {
      op: ([x]) => {
        setSeed(SEED);
        draw = nextDraw() + 1;
        return ops.dropout(x, p as number, { training: true });
      },
      reference: ([x]) => ref.mul(x, maskOf(shape as number[], p as number, { seed: SEED, step: stepCounter(), draw })),
      inputs: [uniform(shape as number[], 101)],
      // 1 − p, and a division of 2.5 ULP.
      bound: { ulps: 8 },
    };
  }),
);
