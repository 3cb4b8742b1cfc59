import { wgslType } from '../../core/dtype.ts';
import type { Kernel } from '../../core/kernel.ts';
import type { Tensor } from '../../core/tensor.ts';

/** The entry point of a matrix kernel that fits the results' extent: one stores four values at once, the other any number. */
export const storing =
  (main: Kernel, ragged: Kernel) =>
  (extent: number): Kernel =>
    extent % 4 === 0 ? main : ragged;

/** What an operand is read as, four values at once or one: its type in memory, and the same in f32. */
export const operandTypes = (name: string, { dtype }: Tensor, vectors: boolean): Record<string, string> => ({
  [`${name}Elem`]: wgslType(dtype, vectors ? 4 : 1),
  [`${name}Wide`]: wgslType('f32', vectors ? 4 : 1),
});

/** What a result is stored as by `main` and by `ragged`. */
export const resultTypes = (name: string, { dtype }: Tensor): Record<string, string> => ({
  [`${name}Elem`]: wgslType(dtype, 4),
  [`${name}Scalar`]: wgslType(dtype),
});

/** How kernels that have one entry point for both store a result: with `vectors` by fours, else one by one. */
export const storeConsts = ({ dtype }: Tensor, vectors: boolean): Record<string, string> =>
  vectors
    ? { STORE: 'lib/store_vectors.wgsl', OutVector: wgslType(dtype, 4) }
    : { STORE: 'lib/store_scalars.wgsl', OutScalar: wgslType(dtype) };
