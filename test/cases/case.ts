import { Tensor } from '../../src/core/tensor.ts';
import * as ops from '../../src/ops/index.ts';
import { type Case, checker } from '../check.ts';
import type { Values } from '../reference.ts';
import * as ref from '../reference.ts';

/** The operations and their twins, to be looked up by name. */
export const engine = { ...ops };
export const oracle = { ...ref };

export type OperationName = keyof typeof ops;

/** What `gradcheck` is to run: an operation, its twin of the oracle, inputs, allowances. */
export type Check = Case<Tensor, readonly Values[]>;

/** One exported operation on one set of inputs. The inputs are made when the case is run. */
export interface OperationCase {
  readonly op: OperationName;
  readonly what: string;
  readonly make: () => Check;
  /** It needs an adapter that computes in f16. */
  readonly half?: boolean;
  /** The allowances where the kernel variant of this name computes the case and has its own. */
  readonly boundsFor?: (variant: string) => Pick<Check, 'bound' | 'gradientBounds'> | undefined;
}

export const operationCase = <const I extends readonly Values[]>(
  op: OperationName,
  what: string,
  make: () => Case<Tensor, I>,
): OperationCase => ({ op, what: `${op} ${what}`, make: make as unknown as () => Check });

/** The engine's `gradcheck`, on whatever device is current. */
export const { gradcheck } = checker<Tensor>((data, shape, options) => Tensor.from(data, shape, options));

/** The oracle's scalars are []; the engine's are [1]. */
export const atLeast1d = (y: Values): Values => (y.shape.length > 0 ? y : { shape: [1], data: y.data });

/** The first seed from `from` on for which `fits`: keeps inputs away from where an operation jumps. */
export function firstSeed(from: number, fits: (seed: number) => boolean): number {
  for (let seed = from; seed < from + 1000; seed++) if (fits(seed)) return seed;
  throw new Error('no seed fits');
}
