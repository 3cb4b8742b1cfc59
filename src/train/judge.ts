import { repeated } from '../core/repeat.ts';
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
  private readonly judges = new WeakMap<Module, (indices: Uint32Array) => Promise<void>>();

  constructor(set: ImageSet, options: JudgeOptions) {
    this.batches = new Batches(set, { ...options, batch: Math.min(options.batch, set.count) });
    this.tally = new Tally(this.batches.batch, this.batches.all);
  }

  /** Loss, prediction and probability of each image. */
  async verdicts(model: Module, onBatch: (done: number, of: number) => void = () => {}): Promise<Verdict[]> {
    model.eval();
    const judge = this.judging(model);
    for (let batch = 0; batch < this.batches.all; batch++) {
      await judge(this.indices(batch));
      onBatch(batch + 1, this.batches.all);
    }
    return this.tally.take();
  }

  /** The step that judges a batch of images; a recording of it serves all validations of one network. */
  private judging(model: Module): (indices: Uint32Array) => Promise<void> {
    const before = this.judges.get(model);
    if (before) return before;
    const judge = repeated(
      (indices: Uint32Array) => {
        this.batches.choose(indices);
        this.tally.next();
      },
      () =>
        noGrad(() => {
          const { x, labels } = this.batches.gather();
          this.tally.write(ops.cast(model.forward(x), 'f32'), { labels });
        }),
    );
    this.judges.set(model, judge);
    return judge;
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
