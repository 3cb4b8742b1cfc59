import { checkHalf } from '../core/dtype.ts';
import { ConfigError } from '../core/errors.ts';
import { kernel } from '../core/kernel.ts';
import { Tensor } from '../core/tensor.ts';
import { HostValue } from '../core/trace.ts';
import type { UpdateRange } from './optimizer.ts';

const start = kernel('lossscale', 'start');
const inspect = kernel('lossscale', 'inspect');
const settle = kernel('lossscale', 'settle');

/** Where the updates are counted among the words. */
const UPDATES = 2;

export interface LossScaleOptions {
  /** Scale of the first step. */
  initial?: number;
  /** So many good steps in a row double it. */
  growthInterval?: number;
}

/** Where a loss scale stands. */
export interface LossScaleState {
  scale: number;
  /** Good steps in a row, since the last change. */
  good: number;
  /** Updates made. */
  updates: number;
  /** Updates left out because a gradient was infinite or NaN. */
  skipped: number;
}

/**
 * The dynamic loss scale of f16 training. Give it to an optimizer, start the backward pass from its `gradient`, and the rest
 * happens on the GPU: an update with an infinite or NaN gradient is left out and halves the scale, a long row of good ones
 * doubles it. A scale is one optimizer's: what another one has of the same backward pass is scaled, and stays so.
 *
 *     const lossScale = new optim.LossScale();
 *     const optimizer = new optim.SGD(net.parameters().values(), { lossScale });
 *     …
 *     loss.backward(lossScale.gradient());
 *     optimizer.step(rates);
 *
 * Source: Micikevicius et al. 2018, "Mixed Precision Training"; PyTorch's `torch.amp.GradScaler`.
 */
export class LossScale {
  /** See shaders/lossscale.wgsl. */
  readonly words: Tensor;
  /** Whose updates it decides about: the latest that was made with it. */
  optimizer: object | null = null;
  /** Whether `gradient` was called since the last update. */
  readonly asked = new HostValue(false);
  private readonly interval: number;

  constructor({ initial = 2 ** 16, growthInterval = 2000 }: LossScaleOptions = {}) {
    checkHalf('LossScale');
    if (!(initial > 0 && Number.isInteger(Math.log2(initial))))
      throw new ConfigError(`LossScale: initial is ${initial}; it is a power of two.`);
    if (!(Number.isInteger(growthInterval) && growthInterval > 0))
      throw new ConfigError(`LossScale: growthInterval is ${growthInterval}; it is a whole number from 1 on.`);
    this.interval = growthInterval;
    this.words = Tensor.from(wordsOf({ scale: initial, good: 0, updates: 0, skipped: 0 }));
  }

  /** What `loss.backward` starts from: the scale times `share`, of one element; 1/n where n batches make an update. */
  gradient(share = 1): Tensor {
    this.asked.set(true);
    const out = Tensor.empty([1]);
    start({}, { state: this.words, out }, { n: 1, firstBlock: 0, interval: 0, share }, [1, 1, 1]);
    return out;
  }

  /** Records the search for bad gradients in a range; the optimizer calls it before the updates. */
  inspect({ gradients, firstBlock, count, consts, threads }: UpdateRange, groupTable: Tensor): void {
    const params = { n: count, firstBlock, interval: 0, share: 0 };
    inspect(consts, { gradient: gradients, groupOf: groupTable, flags: this.words }, params, threads);
  }

  /** Records the decision about the next scale; the optimizer calls it after the updates. */
  settle(): void {
    settle({}, { state: this.words }, { n: 1, firstBlock: 0, interval: this.interval, share: 0 }, [1, 1, 1]);
    this.asked.set(false);
  }

  /** Counts updates from 0 again, as an optimizer does that has cleared its state; the scale stays. */
  forgetUpdates(): void {
    const { gpu, pool, offsetBytes } = this.words.storage;
    gpu.stream.clear({ pool, offsetBytes: offsetBytes + 4 * UPDATES, sizeBytes: 4 });
  }

  /** Waits for the GPU: for checkpoints and reports. */
  async read(): Promise<LossScaleState> {
    const words = await this.words.readInts();
    const [, good, updates, skipped] = words as unknown as [number, number, number, number];
    return { scale: new Float32Array(words.buffer)[0]!, good, updates, skipped };
  }

  /** Goes on from what `read` gave. */
  restore(state: LossScaleState): void {
    this.words.write(wordsOf(state));
  }
}

function wordsOf({ scale, good, updates, skipped }: LossScaleState): Uint32Array {
  const words = Uint32Array.of(0, good, updates, skipped, 0);
  new Float32Array(words.buffer)[0] = scale;
  return words;
}
