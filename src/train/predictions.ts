import { kernel } from '../core/kernel.ts';
import { reserveStepWords, type StepSlot, stepStorage } from '../core/stepbuffer.ts';
import { Tensor } from '../core/tensor.ts';
import type { Batch } from '../data/batches.ts';

const recordPredictions = kernel('predictions', 'record');

/** What is known of one image after a forward pass. */
export interface Prediction {
  loss: number;
  predicted: number;
  probability: number;
  label: number;
}

/** Loss and accuracy over some images, as sums, so that they can be added up. */
export interface Sums {
  loss: number;
  correct: number;
  count: number;
}

export const noSums = (): Sums => ({ loss: 0, correct: 0, count: 0 });

export function addPredictions(sums: Sums, predictions: readonly Prediction[]): Sums {
  for (const { loss, predicted, label } of predictions) {
    sums.loss += loss;
    sums.correct += predicted === label ? 1 : 0;
    sums.count++;
  }
  return sums;
}

/**
 * Collects predictions on the GPU over many steps; reading them is left to whoever wants to wait. Rows are a ring of `capacity`
 * batches.
 */
export class PredictionBuffer {
  private readonly rows: Tensor;
  private readonly first: StepSlot;
  private readonly batch: number;
  private readonly capacity: number;
  private recorded = 0;
  private taken = 0;

  constructor(batch: number, capacity: number) {
    this.batch = batch;
    this.capacity = capacity;
    this.rows = Tensor.zeros([batch * capacity, 4]);
    this.first = reserveStepWords(1);
  }

  /** Batches that were recorded and not taken yet. */
  get waiting(): number {
    return this.recorded - this.taken;
  }

  get full(): boolean {
    return this.waiting >= this.capacity;
  }

  /** Makes room for a batch: the host's part, which a repeated step calls in `prepare`. */
  next(): void {
    this.first.setInts([(this.recorded++ % this.capacity) * this.batch]);
  }

  /** Records the predictions on a batch; call it within a step, once, after `next`. */
  write(logits: Tensor, { labels, mixed }: Pick<Batch, 'labels' | 'mixed'>): void {
    const params = { n: this.batch, c: logits.shape[1]!, at: this.first.at };
    const { labels: others = labels, share = logits } = mixed ?? {};
    const operands = { step: stepStorage(), logits, labels, others, share, rows: this.rows };
    recordPredictions({ MIXED: mixed !== undefined }, operands, params, this.batch);
  }

  /** Leaves out what waits: predictions of a pass that came to no end. */
  forget(): void {
    this.taken = this.recorded;
  }

  /** The predictions since the last call, in order. Waits for the GPU. */
  async take(): Promise<Prediction[]> {
    const [from, to] = [this.taken, this.recorded];
    this.taken = to;
    if (from === to) return [];
    const values = await this.rows.read();
    const predictions: Prediction[] = [];
    for (let batch = from; batch < to; batch++) {
      for (let n = 0; n < this.batch; n++) {
        const at = 4 * ((batch % this.capacity) * this.batch + n);
        const [loss, predicted, probability, label] = values.subarray(at, at + 4) as unknown as [
          number,
          number,
          number,
          number,
        ];
        if (label >= 0) predictions.push({ loss, predicted, probability, label });
      }
    }
    return predictions;
  }
}
