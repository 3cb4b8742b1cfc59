import { Tensor } from '../../src/core/tensor.ts';
import * as ops from '../../src/ops/index.ts';
import { crossEntropyBounds, logSoftmaxBounds, softmaxBounds } from '../bounds.ts';
import { integers, uniform } from '../check.ts';
import * as ref from '../reference.ts';
import { atLeast1d, engine, type OperationCase, operationCase, oracle } from './case.ts';

const shapes = [
  [1, 1],
  [3, 7],
  [2, 3, 5],
  [67, 7],
  [2, 131],
] as const;

const logits = (shape: readonly number[], seed: number): ref.Values =>
  uniform(shape, seed, { min: -4, max: 4, kinks: [] });

export const softmaxCasesOf = (shapes: readonly (readonly number[])[]): OperationCase[] =>
  shapes.flatMap((shape) =>
    (['softmax', 'logSoftmax'] as const).map((name) =>
      operationCase(name, `[${shape}]`, () => {
        const x = logits(shape, 81);
        const bounds = (name === 'softmax' ? softmaxBounds : logSoftmaxBounds)(x);
        return {
          op: ([t]) => engine[name](t),
          reference: ([t]) => oracle[name](t),
          inputs: [x],
          bound: bounds.y,
          gradientBounds: bounds.gradients,
        };
      }),
    ),
  );

/** [images, classes]. */
const batches = [
  [1, 1],
  [5, 7],
  [67, 3],
] as const;

export const crossEntropyCasesOf = (batches: readonly (readonly [N: number, C: number])[]): OperationCase[] =>
  batches.flatMap(([N, C]) =>
    [0, 0.1].flatMap((labelSmoothing) =>
      [false, true].flatMap((weighted) =>
        (['mean', 'sum', 'none'] as const).map((reduction) => {
          const what = `[${N},${C}] ${reduction}${weighted ? ', class weights' : ''}${labelSmoothing ? ', smoothing' : ''}`;
          return operationCase('crossEntropy', what, () => {
            const x = logits([N, C], 82);
            const labels = integers([N], 83, 0, C).data;
            const weight = weighted ? uniform([C], 84, { min: 0.5, max: 2 }) : null;
            const options = { labelSmoothing, weight, reduction };
            const bounds = crossEntropyBounds(x, labels, options);
            return {
              op: ([t]) =>
                ops.crossEntropy(t, Tensor.from(Uint32Array.from(labels)), {
                  labelSmoothing,
                  reduction,
                  ...(weight && { weight: Tensor.from(Float32Array.from(weight.data)) }),
                }),
              reference: ([t]) => atLeast1d(ref.crossEntropy(t, labels, options)),
              inputs: [x],
              bound: bounds.y,
              gradientBounds: bounds.gradients,
            };
          });
        }),
      ),
    ),
  );

export const softmaxAndLossCases: OperationCase[] = [...softmaxCasesOf(shapes), ...crossEntropyCasesOf(batches)];
