import { ConfigError } from '../core/errors.ts';
import { rewritten } from '../core/halfcopy.ts';
import { kernel } from '../core/kernel.ts';
import { inStep } from '../core/step.ts';
import { Tensor } from '../core/tensor.ts';
import { walkOver } from '../core/walk.ts';
import { currentGpu } from '../gpu/gpu.ts';
import type { UpdateRange } from './optimizer.ts';

const follow = kernel('average', 'follow');
const followScaled = kernel('average', 'followScaled');
const count = kernel('average', 'count');
const countScaled = kernel('average', 'countScaled');
const exchange = kernel('average', 'exchange');

/** Throws ConfigError unless 0 < decay < 1. */
export function checkDecay(decay: number): void {
  if (!(decay > 0 && decay < 1)) throw new ConfigError(`ema is ${decay}; it is a number between 0 and 1.`);
}

/**
 * The exponential moving average of an optimizer's weights: after each update
 *
 *   e ← d·e + (1−d)·w,  d = min(decay, (1+t)/(10+t))
 *
 * where t updates are in it already, and the first one copies the weights. So there is no bias towards where training began, and
 * a short run is averaged over its latter part. Before it the average is the weights that the optimizer was made with. Updates that a
 * loss scale leaves out are none. Running statistics are not averaged: those of the trained network, averages themselves, serve both.
 *
 * Source: Polyak and Juditsky 1992; the growing decay is that of TensorFlow's `ExponentialMovingAverage` with `num_updates`, copying
 * first and what becomes of running statistics that of PyTorch's `AveragedModel`.
 */
export class WeightAverage {
  /** The averages, in the order of the parameters. While they are exchanged: the weights. */
  readonly tensors: readonly Tensor[];
  /** One u32: how many updates are in it. */
  readonly updates: Tensor;
  private readonly parameters: readonly Tensor[];
  private readonly ranges: () => Iterable<UpdateRange>;
  private readonly rest: number;
  private exchanged = false;

  constructor(
    decay: number,
    parameters: readonly Tensor[],
    tensors: readonly Tensor[],
    ranges: () => Iterable<UpdateRange>,
  ) {
    this.rest = 1 - decay;
    this.parameters = parameters;
    this.tensors = tensors;
    this.ranges = ranges;
    this.updates = Tensor.from(new Uint32Array(1));
    for (const [i, tensor] of tensors.entries()) {
      tensor.storage.gpu.stream.copy(parameters[i]!.storage, tensor.storage);
    }
  }

  /** Records that the average takes in the weights; the optimizer calls it after the updates. */
  follow(ranges: readonly UpdateRange[]): void {
    const { updates, rest } = this;
    for (const range of ranges) {
      const { consts, n, threads } = walk(range);
      const operands = { weights: range.parameters, average: range.average!, updates };
      if (range.scaled) followScaled(consts, { ...operands, scale: range.scaled.scale }, { n, rest }, threads);
      else follow(consts, operands, { n, rest }, threads);
    }
    const scale = ranges[0]?.scaled?.scale;
    if (scale) countScaled({}, { counted: updates, scale }, { n: 1, rest }, [1, 1, 1]);
    else count({}, { counted: updates }, { n: 1, rest }, [1, 1, 1]);
  }

  /**
   * Runs `fn` with the averages in place of the weights, which are afterwards what they were, to the bit. Throws ConfigError within a
   * step, while it runs already, and where the weights are another optimizer's by now or on another GPU than the one in use.
   */
  async during<T>(fn: () => Promise<T>): Promise<T> {
    this.check();
    this.exchange();
    try {
      return await fn();
    } finally {
      this.exchange();
    }
  }

  private check(): void {
    if (inStep()) throw new ConfigError('average.during: a step would go on with the averages; call it between steps.');
    if (this.exchanged) throw new ConfigError('average.during: it runs already; await it before it is called again.');
    const pools = new Set([...this.ranges()].map(({ parameters }) => parameters.pool));
    if (this.parameters.some(({ storage }) => !pools.has(storage.pool)))
      throw new ConfigError('average.during: a later optimizer has taken over the parameters; use that one’s average.');
    if (this.parameters[0]?.storage.gpu !== currentGpu())
      throw new ConfigError(
        'average.during: the weights are on another GPU than the one in use. `useGpu` says which that is.',
      );
  }

  private exchange(): void {
    this.exchanged = !this.exchanged;
    for (const range of this.ranges()) {
      const { consts, n, threads } = walk(range);
      exchange(consts, { exchanged: range.parameters, average: range.average! }, { n, rest: 0 }, threads);
    }
    for (const parameter of this.parameters) rewritten(parameter);
  }
}

/** Over the vec4s of a range. */
function walk({ parameters }: UpdateRange) {
  const { consts, n, threads } = walkOver(parameters.sizeBytes / 4);
  return { consts: { GROUP: consts.GROUP, EACH: consts.EACH }, n, threads };
}
