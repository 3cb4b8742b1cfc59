import { withHalfDraws } from '../check.ts';
import type { OperationCase, OperationName } from './case.ts';

/** Inputs that stay f32, as they are in training: biases, and the parameters of batch norm. */
const STAY_F32: Partial<Record<OperationName, readonly number[]>> = { batchNorm: [1, 2], conv2d: [2], linear: [2] };

/** What f16 cannot hold apart: 4200 multiples of 4, and values whose neighbours are 1 apart. */
const beyond = ({ op, what }: OperationCase): boolean =>
  (/^(max|min) \[4200\]/.test(what) && (op === 'max' || op === 'min')) || / around -?1000$/.test(what);

/** The same cases on f16 tensors: inputs and gradients are rounded to f16, and so are what the reference is given. */
export const halved = (cases: readonly OperationCase[]): OperationCase[] =>
  cases
    .filter((one) => one.op !== 'cast' && !beyond(one))
    .map(({ op, what, make }) => ({
      op,
      what: `${what}, f16`,
      half: true,
      make: () => {
        const { ...one } = withHalfDraws(make);
        const stay = STAY_F32[op] ?? [];
        // A loss is f32, whatever it is of.
        const result = op === 'crossEntropy' ? 'f32' : 'f16';
        return { ...one, result, half: true, dtypes: one.inputs.map((_, i) => (stay.includes(i) ? 'f32' : 'f16')) };
      },
    }));
