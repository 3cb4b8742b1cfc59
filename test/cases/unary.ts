import { unaryBounds } from '../bounds.ts';
import { uniform } from '../check.ts';
import { engine, type OperationCase, operationCase, oracle } from './case.ts';

export const UNARY = [
  'abs',
  'exp',
  'gelu',
  'log',
  'neg',
  'relu',
  'sigmoid',
  'silu',
  'softplus',
  'sqrt',
  'square',
  'tanh',
] as const;

const positive: readonly string[] = ['log', 'sqrt'];

/** Odd, a single element, and more than a workgroup with no divisor of its 64. */
const shapes = [[7], [1], [3, 5, 13]] as const;

export const unaryCasesOf = (shapes: readonly (readonly number[])[]): OperationCase[] =>
  UNARY.flatMap((name) =>
    shapes.map((shape) =>
      operationCase(name, `[${shape}]`, () => {
        const [bound, slope] = unaryBounds[name]!;
        return {
          op: ([x]) => engine[name](x),
          reference: ([x]) => oracle[name](x),
          inputs: [uniform(shape, 11, { min: positive.includes(name) ? 0.05 : -2, max: 2 })],
          bound,
          gradientBounds: [slope],
        };
      }),
    ),
  );

export const unaryCases = unaryCasesOf(shapes);
