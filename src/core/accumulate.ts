import { kernel } from './kernel.ts';
import { inParts } from './parts.ts';
import type { Tensor } from './tensor.ts';
import { walkOver } from './walk.ts';

const add = kernel('accumulate', 'add');
const addIntoKernel = kernel('accumulate', 'addInto');

/** a + b in a new tensor, of any size. */
export function sumOf(a: Tensor, b: Tensor): Tensor {
  const sum = a.emptyLike();
  inParts({ a, b, sum }, (operands, count) => {
    const { consts, n, threads } = walkOver(count, a.dtype);
    add(consts, operands, { n }, threads);
  });
  return sum;
}

/** a += b in place, of any size. */
export function addInto(a: Tensor, b: Tensor): void {
  inParts({ b, sum: a }, (operands, count) => {
    const { consts, n, threads } = walkOver(count, a.dtype);
    addIntoKernel(consts, operands, { n }, threads);
  });
  a.storage.written();
}
