import { currentGpu } from '../gpu/gpu.ts';
import { type DType, wgslType } from './dtype.ts';

/** How an elementwise kernel goes over its elements. */
export interface Walk {
  /** `Elem`, what values are stored in, and `Vec`, what they are computed with. */
  consts: { Elem: string; Vec: string } & Grouping;
  /** Elements: fours of values, or values. */
  n: number;
  /** Invocations in all. */
  threads: number;
}

/** Constants of such a kernel: elements side by side in a workgroup, and how many of those each of its invocations walks over. */
export type Grouping = Readonly<{ GROUP: number; EACH: number }>;

/** Hardware hides the latency of a load behind other invocations; software drivers pay for each invocation that they start. */
const GROUPINGS = { hardware: { GROUP: 64, EACH: 1 }, software: { GROUP: 8, EACH: 64 } };

/** A walk over `size` values of `dtype`, four at once where their number allows it: `shaders/lib/walk.wgsl`. */
export function walkOver(size: number, dtype: DType = 'f32'): Walk {
  const fours = size % 4 === 0;
  const n = fours ? size / 4 : size;
  const grouping = GROUPINGS[currentGpu().adapter.software ? 'software' : 'hardware'];
  const Elem = wgslType(dtype, fours ? 4 : 1);
  return { consts: { Elem, Vec: fours ? 'vec4f' : 'f32', ...grouping }, n, threads: threadsOf(n, grouping) };
}

/** Invocations of workgroups that have GROUP·EACH elements each. */
export const threadsOf = (n: number, { GROUP, EACH }: Grouping): number => Math.ceil(n / (GROUP * EACH)) * GROUP;
