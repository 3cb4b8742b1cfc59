import { kernel } from './kernel.ts';
import type { Tensor } from './tensor.ts';
import { walkOver } from './walk.ts';

const add = kernel('accumulate', 'add');
const addIntoKernel = kernel('accumulate', 'addInto');

/** a + b in a new tensor. */
export function sumOf(a: Tensor, b: Tensor): Tensor {
  const sum = a.emptyLike();
  const { consts, n, threads } = walkOver(a.size, a.dtype);
  add(consts, { a, b, sum }, { n }, threads);
  return sum;
}

/** a += b in place. */
export function addInto(a: Tensor, b: Tensor): void {
  const { consts, n, threads } = walkOver(a.size, a.dtype);
  addIntoKernel(consts, { b, sum: a }, { n }, threads);
}
