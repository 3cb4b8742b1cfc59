import { ConfigError, UsageError } from '../core/errors.ts';
import { kernel } from '../core/kernel.ts';
import { nextDraw, stepCounter, stepSeed, stepStorage } from '../core/stepbuffer.ts';
import { record } from '../core/tape.ts';
import type { Tensor } from '../core/tensor.ts';
import { walkOver } from '../core/walk.ts';
import { floats } from './cast.ts';

const apply = kernel('dropout', 'apply');

/**
 * Zeroes each element with probability `p` and multiplies the others by 1/(1 − p); the identity when not `training`. The mask
 * depends on the seed, the step, the rank of this call in the step, and the index; backward draws it again, and so has to come in
 * the same step (throws UsageError). Saves nothing.
 * Source: Srivastava et al. 2014, in the inverted form of PyTorch.
 */
export function dropout(input: Tensor, p: number, { training }: { training: boolean }): Tensor {
  if (!(p >= 0 && p < 1))
    throw new ConfigError(`dropout: p is ${p}; it is a probability from 0 up to, not including, 1.`);
  if (!training || p === 0) return input;
  const x = floats(input);
  // All of the last four, too: a tensor's memory is whole fours.
  const { consts, n, threads } = walkOver(4 * Math.ceil(x.size / 4), x.dtype);
  const params = { n, draw: nextDraw(), p };
  const step = stepStorage();
  const [seed, at] = [stepSeed(), stepCounter()];
  const y = x.emptyLike();
  apply(consts, { step, x, out: y }, params, threads);
  const backward = (dy: Tensor) => {
    if (stepCounter() !== at || stepSeed() !== seed)
      throw new UsageError(
        'dropout: backward() would draw another mask in another step; call it in that of the forward pass.',
      );
    const dx = x.emptyLike();
    apply(consts, { step, x: dy, out: dx }, params, threads);
    return [dx];
  };
  return record(y, [x], backward, [], []);
}
