import { kernel } from './kernel.ts';
import type { Tensor } from './tensor.ts';

const add = kernel('accumulate', 'add');
const addIntoKernel = kernel('accumulate', 'add_into');

/** a + b in a new tensor. */
export function sumOf(a: Tensor, b: Tensor): Tensor {
  const sum = a.emptyLike();
  add({}, { a, b, sum }, { n: a.size }, a.size);
  return sum;
}

/** a += b in place. */
export function addInto(a: Tensor, b: Tensor): void {
  addIntoKernel({}, { b, sum: a }, { n: a.size }, a.size);
}
