import { ConfigError } from '../core/errors.ts';
import { kernel } from '../core/kernel.ts';
import { nextDraw, stepStorage } from '../core/stepbuffer.ts';
import { record } from '../core/tape.ts';
import type { Tensor } from '../core/tensor.ts';

const apply = kernel('dropout', 'apply');

/**
 * Zeroes each element with probability `p` and multiplies the others by 1/(1 − p); the identity when not `training`. The mask
 * depends on the seed, the step, the rank of this call in the step, and the index; backward draws it again. Saves nothing.
 * Source: Srivastava et al. 2014, in the inverted form of PyTorch.
 */
export function dropout(x: Tensor, p: number, { training }: { training: boolean }): Tensor {
  if (!(p >= 0 && p < 1))
    throw new ConfigError(`dropout: p is ${p}; it is a probability from 0 up to, not including, 1.`);
  if (!training || p === 0) return x;
  const params = { n: x.size, draw: nextDraw(), p };
  const step = stepStorage();
  const y = x.emptyLike();
  apply({}, { step, x, out: y }, params, x.size);
  return record(y, [x], (dy) => {
    const dx = x.emptyLike();
    apply({}, { step, x: dy, out: dx }, params, x.size);
    return [dx];
  });
}
