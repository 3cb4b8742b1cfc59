import { Tensor } from '../../src/core/tensor.ts';
import * as ops from '../../src/ops/index.ts';
import { batchNormBounds } from '../bounds.ts';
import { uniform } from '../check.ts';
import * as ref from '../reference.ts';
import { map, type Values } from '../reference.ts';
import { firstSeed, type OperationCase, operationCase } from './case.ts';

interface Norm {
  shape: readonly number[];
  /** Added to every input: with E[x²] − E[x]² the variance would be lost. */
  offset?: number;
}

/** One channel, odd, no image, more than 64 channels, more than one chunk of rows, and a large mean. */
const norms: readonly Norm[] = [
  { shape: [2, 1] },
  { shape: [5, 3] },
  { shape: [4, 3, 3, 5] },
  { shape: [3, 70] },
  { shape: [2, 7, 9, 7] },
  { shape: [40, 13, 3] },
  { shape: [4, 5, 5, 3], offset: 1000 },
  { shape: [40, 13, 1], offset: -1000 },
];

export const toTensor = (x: Values): Tensor => Tensor.from(Float32Array.from(x.data), x.shape);

/** x, γ, β, running mean and variance. */
export function batchNormInputs(
  shape: readonly number[],
  seed: number,
  offset = 0,
): [Values, Values, Values, Values, Values] {
  const C = [shape.at(-1)!];
  return [
    map(uniform(shape, seed), (value) => Math.fround(value + offset)),
    uniform(C, seed + 1, { min: 0.5, max: 1.5 }),
    uniform(C, seed + 2),
    map(uniform(C, seed + 3), (value) => Math.fround(value + offset)),
    uniform(C, seed + 4, { min: 0.5, max: 1.5 }),
  ];
}

export const batchNormCases: OperationCase[] = norms.flatMap(({ shape, offset = 0 }) =>
  [true, false].flatMap((training) =>
    [false, true].map((relu) => {
      const what = `[${shape}]${training ? ', training' : ''}${relu ? ', ReLU' : ''}${offset ? ` around ${offset}` : ''}`;
      return operationCase('batchNorm', what, () => {
        const cut = (seed: number) => {
          const { y } = ref.batchNorm(...batchNormInputs(shape, seed, offset), { training });
          return y.data.every((value) => Math.abs(value) > (offset ? 0.01 : 1e-3));
        };
        const seed = relu ? firstSeed(71, cut) : 71;
        const [x, gamma, beta, runningMean, runningVar] = batchNormInputs(shape, seed, offset);
        const bounds = batchNormBounds(x, gamma, beta, { training, runningMean, runningVar });
        return {
          op: ([t, g, b]) => ops.batchNorm(t, g, b, toTensor(runningMean), toTensor(runningVar), { training, relu }),
          reference: ([t, g, b]) => ref.batchNorm(t, g, b, runningMean, runningVar, { training, relu }).y,
          inputs: [x, gamma, beta],
          bound: bounds.y,
          gradientBounds: bounds.gradients,
          count: 16,
        };
      });
    }),
  ),
);
