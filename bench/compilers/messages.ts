/** Begins a line that is the child's own, among those of the driver. */
export const MARK = '@dawngrad ';

/** What the child does with its device. */
export type How = 'open' | 'compile';

/** Where a kernel is needed. */
export interface Use {
  /** Of the matrix kernels: which computes the problem. */
  variant: string;
  /** A matrix product or convolution with its extents; else what is computed. */
  problem: string;
}

/** What the child tells: what is printed between a kernel's `begin` and its `end` is about it. */
export type Message =
  | { adapter: string; driver: string }
  | ({ begin: string } & Use)
  | { end: string; compiled: boolean }
  | { failed: string; why: string }
  | { done: true };
