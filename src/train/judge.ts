import { step } from '../core/step.ts';
import { noGrad } from '../core/tape.ts';
import { Batches, type BatchOptions } from '../data/batches.ts';
import type { ImageSet } from '../data/dataset.ts';
import type { Module } from '../nn/index.ts';
import * as ops from '../ops/index.ts';
import { Tally, type Verdict } from './tally.ts';

export type JudgeOptions = Omit<BatchOptions, 'augmentation'>;

/** Runs a network forward over a set of images, in order, without augmentation. */
export class Judge {
  private readonly batches: Batches;
  private readonly tally: Tally;

  constructor(set: ImageSet, options: JudgeOptions) {
    this.batches = new Batches(set, { ...options, batch: Math.min(options.batch, set.count) });
    this.tally = new Tally(this.batches.batch, this.batches.all);
  }

  /** Loss, prediction and probability of each image. */
  async verdicts(model: Module, onBatch: (done: number, of: number) => void = () => {}): Promise<Verdict[]> {
    model.eval();
    for (let batch = 0; batch < this.batches.all; batch++) {
      await step(() =>
        noGrad(() => {
          const { x, labels } = this.batches.take(this.indices(batch));
          this.tally.add(model.forward(x), labels);
        }),
      );
      onBatch(batch + 1, this.batches.all);
    }
    return this.tally.take();
  }

  /** Class probabilities of each image. */
  async probabilities(model: Module): Promise<Float32Array[]> {
    model.eval();
    const all: Float32Array[] = [];
    for (let batch = 0; batch < this.batches.all; batch++) {
      const indices = this.indices(batch);
      const y = await step(() => noGrad(() => ops.softmax(model.forward(this.batches.take(indices).x))));
      const values = await y.read();
      const classes = y.shape[1]!;
      for (let n = 0; n < indices.length; n++) all.push(values.slice(n * classes, (n + 1) * classes));
    }
    return all;
  }

  /** Gives back what was reserved on the GPU. */
  release(): void {
    this.batches.release();
    this.tally.release();
  }

  private indices(batch: number): Uint32Array {
    const first = batch * this.batches.batch;
    const count = Math.min(this.batches.batch, this.batches.count - first);
    return Uint32Array.from({ length: count }, (_, i) => first + i);
  }
}
