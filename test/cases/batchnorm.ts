import { Tensor } from '../../src/core/tensor.ts';
import * as ops from '../../src/ops/index.ts';
import { batchNormBounds } from '../bounds.ts';
import { uniform } from '../check.ts';
import * as ref from '../reference.ts';
import { map, type Values } from '../reference.ts';
import { firstSeed, type OperationCase, operationCase } from './case.ts';

export interface Norm {
  shape: readonly number[];
  /** Added to every input: with E[x²] − E[x]² the variance would be lost. */
  offset?: number;
}

/**
 * One channel, odd, no image, more than 64 channels, more than one chunk of rows, so many channels that there is only one, in fours
 * and one by one, and a large mean.
 */
const norms: readonly Norm[] = [
  { shape: [2, 1] },
  { shape: [5, 3] },
  { shape: [4, 3, 3, 5] },
  { shape: [3, 70] },
  { shape: [2, 7, 9, 7] },
  { shape: [40, 13, 3] },
  { shape: [9, 11, 13, 4] },
  { shape: [2, 5, 3, 72] },
  { shape: [3, 5, 35] },
  { shape: [3, 5, 136] },
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

/** Shapes that the residual form is checked on: columns in fours and one by one. */
const residuals: readonly Norm[] = [
  { shape: [2, 1] },
  { shape: [3, 5, 3, 7] },
  { shape: [30, 5, 8] },
  { shape: [3, 5, 136] },
  { shape: [9, 11, 13, 4] },
];

const FORMS = [true, false].flatMap((training) => [false, true].map((relu) => ({ training, relu })));

function batchNormCase(
  batchNorm: typeof ops.batchNorm,
  { shape, offset = 0 }: Norm,
  { training, relu }: { training: boolean; relu: boolean },
  withResidual: boolean,
): OperationCase {
  const what = [
    `[${shape}]`,
    ...(training ? [', training'] : []),
    ...(withResidual ? [', residual'] : []),
    ...(relu ? [', ReLU'] : []),
    ...(offset ? [` around ${offset}`] : []),
  ].join('');
  return operationCase('batchNorm', what, () => {
    const residualOf = (seed: number) => (withResidual ? uniform(shape, seed + 5) : undefined);
    const farFromZero = (seed: number) => {
      const { y } = ref.batchNorm(...batchNormInputs(shape, seed, offset), { training, residual: residualOf(seed) });
      return y.data.every((value) => Math.abs(value) > (offset ? 0.01 : 1e-3));
    };
    const seed = relu ? firstSeed(71, farFromZero) : 71;
    const [x, gamma, beta, runningMean, runningVar] = batchNormInputs(shape, seed, offset);
    const residual = residualOf(seed);
    const bounds = batchNormBounds(x, gamma, beta, { training, runningMean, runningVar, residual });
    return {
      op: ([t, g, b, r]) =>
        batchNorm(t!, g!, b!, toTensor(runningMean), toTensor(runningVar), {
          ...{ training, relu },
          ...(r && { residual: r }),
        }),
      reference: ([t, g, b, r]) =>
        ref.batchNorm(t!, g!, b!, runningMean, runningVar, { training, relu, residual: r }).y,
      inputs: [x, gamma, beta, ...(residual ? [residual] : [])] as readonly Values[],
      bound: bounds.y,
      gradientBounds: bounds.gradients,
      count: 16,
    };
  });
}

/** The cases of `batchNorm`, or of something else that must do the same. */
export const batchNormCasesOf = (
  batchNorm: typeof ops.batchNorm,
  plain: readonly Norm[] = norms,
  withResidual: readonly Norm[] = residuals,
): OperationCase[] => [
  ...plain.flatMap((norm) => FORMS.map((form) => batchNormCase(batchNorm, norm, form, false))),
  ...withResidual.flatMap((norm) => FORMS.map((form) => batchNormCase(batchNorm, norm, form, true))),
];

export const batchNormCases = batchNormCasesOf(ops.batchNorm);

/** On hardware a column has more chunks than four times its lanes. */
export const manyChunks = batchNormCase(ops.batchNorm, { shape: [294, 252] }, { training: true, relu: false }, false);
