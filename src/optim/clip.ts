import { ConfigError } from '../core/errors.ts';
import { kernel } from '../core/kernel.ts';
import { reserveStepWords, type StepSlot, stepStorage } from '../core/stepbuffer.ts';
import { Tensor } from '../core/tensor.ts';
import { threadsOf } from '../core/walk.ts';
import { columnOf } from '../ops/columns.ts';
import type { UpdateRange } from './optimizer.ts';

const squares = kernel('clip', 'squares');
const squaresScaled = kernel('clip', 'squaresScaled');
const factor = kernel('clip', 'factor');

/** Invocations that share a range, at most: each leaves a partial sum. They fill a large GPU, and are summed by one workgroup. */
const MOST = 16_384;
/** Vec4s of an invocation at least: fewer are not worth a partial sum. */
const LEAST = 8;

/**
 * Clips gradients by the norm of all of them together: the optimizer multiplies each by
 *
 *   min(1, most/(‖g‖₂ + 1e-6))
 *
 * Gradients are those of the parameters that the update moves, accumulated and unscaled. Nothing is read back: the factor goes
 * into the step buffer, where the optimizer's kernels read it. Source: Pascanu et al. 2013; PyTorch's `clip_grad_norm_`.
 */
export class GradientClip {
  private readonly most: number;
  private readonly slot: StepSlot;

  /** @param most the largest norm. Throws ConfigError unless it is a number above 0. */
  constructor(most: number) {
    if (!(most > 0 && Number.isFinite(most))) throw new ConfigError(`clip is ${most}; it is a number above 0.`);
    this.most = most;
    this.slot = reserveStepWords(1);
  }

  /** Where the factor is in the step buffer. */
  get at(): number {
    return this.slot.at;
  }

  /** Records the factor of an update; the optimizer calls it before the updates. */
  measure(ranges: readonly UpdateRange[], groupTable: Tensor): void {
    const shares = ranges.map((range) => {
      const each = Math.max(LEAST, range.consts.EACH, 2 ** Math.ceil(Math.log2(range.count / MOST)));
      const consts = { ...range.consts, EACH: each };
      return { range, consts, threads: threadsOf(range.count, consts) };
    });
    const parts = Tensor.empty([shares.reduce((sum, { threads }) => sum + threads, 0)]);
    const params = { n: 0, firstBlock: 0, first: 0, block: 0, at: this.at, most: this.most };
    let first = 0;
    for (const { range, consts, threads } of shares) {
      const { gradients, firstBlock, count, scaled } = range;
      const operands = { gradient: gradients, groupOf: groupTable, sums: parts };
      const own = { ...params, n: count, firstBlock, first };
      if (scaled) squaresScaled(consts, { ...operands, scale: scaled.scale }, own, threads);
      else squares(consts, operands, own, threads);
      first += threads;
    }
    const { consts, block, threads } = columnOf(parts.storage, parts.size);
    factor(consts, { parts, step: stepStorage() }, { ...params, n: parts.size, block }, threads);
  }
}
