import { ShapeError } from '../core/errors.ts';
import { repeated } from '../core/repeat.ts';
import { rehearse } from '../core/step.ts';
import { noGrad } from '../core/tape.ts';
import type { Tensor } from '../core/tensor.ts';
import { Batches, type BatchOptions } from '../data/batches.ts';
import type { ImageSet } from '../data/dataset.ts';
import type { Module } from '../nn/index.ts';
import * as ops from '../ops/index.ts';
import { addPredictions, noSums, type Prediction, PredictionBuffer } from './predictions.ts';
import { once, type Tta, type View } from './tta.ts';

export interface EvaluatorOptions extends Omit<BatchOptions, 'augmentation' | 'mixup'> {
  /** Test-time augmentation. Default: none. */
  tta?: Tta;
}

type Pass = (indices: Uint32Array) => Promise<Tensor>;

/** Runs a network forward over a set of images, in order, as they are or with test-time augmentation. */
export class Evaluator {
  private readonly batches: Batches;
  private readonly buffer: PredictionBuffer;
  private readonly tta: Tta;
  private readonly views: View[];
  private readonly labels: Uint8Array;
  private readonly largest: number;
  private readonly passes = new WeakMap<Module, Pass[]>();
  private latest: Promise<unknown> = Promise.resolve();
  private readonly steps = new WeakMap<Module, (indices: Uint32Array) => Promise<void>>();

  constructor(set: ImageSet, options: EvaluatorOptions) {
    this.batches = new Batches(set, { ...options, batch: Math.min(options.batch, set.count) });
    this.buffer = new PredictionBuffer(this.batches.batch, this.batches.all);
    this.tta = options.tta ?? once;
    this.views = this.tta.views(set.side, options.size ?? set.side);
    this.labels = set.labels;
    this.largest = set.labels.reduce((most, label) => Math.max(most, label), 0);
  }

  /** Goes through a batch on the host alone, so that `prepareKernels` sees what it computes. Leaves the network in evaluation mode. */
  rehearse(model: Module): void {
    model.eval();
    this.batches.choose([]);
    rehearse(() =>
      noGrad(() => {
        for (const view of this.views) this.logits(model, view);
      }),
    );
  }

  /**
   * Loss, prediction and probability of each image. Leaves the network in evaluation mode. Throws ShapeError where the network has no
   * output for a class of the set.
   */
  async predictions(model: Module, onBatch: (done: number, of: number) => void = () => {}): Promise<Prediction[]> {
    if (this.tta !== once) {
      const all = await this.probabilities(model, onBatch);
      return all.map((shares, i) => predictionOf(shares, this.labels[i]!));
    }
    return this.inTurn(async () => {
      this.buffer.forget();
      const evaluate = this.stepFor(model);
      for (let batch = 0; batch < this.batches.all; batch++) {
        await evaluate(this.indices(batch));
        onBatch(batch + 1, this.batches.all);
      }
      return this.buffer.take();
    });
  }

  /** The share of the images whose class the network gives the highest output. Leaves the network in evaluation mode. */
  async accuracy(model: Module): Promise<number> {
    const { correct, count } = addPredictions(noSums(), await this.predictions(model));
    return correct / count;
  }

  /** Calls share a buffer: each waits for the one before. */
  private inTurn<T>(work: () => Promise<T>): Promise<T> {
    const own = this.latest.then(work);
    this.latest = own.catch(() => {});
    return own;
  }

  /** The step that evaluates a batch of images; a recording of it serves all validations of one network. */
  private stepFor(model: Module): (indices: Uint32Array) => Promise<void> {
    const before = this.steps.get(model);
    if (before) return before;
    const evaluate = repeated(
      (indices: Uint32Array) => {
        // Here, where steps that were begun before are done: one of training would set it back.
        model.eval();
        this.batches.choose(indices);
        this.buffer.next();
      },
      () =>
        noGrad(() => {
          const { x, labels } = this.batches.gather();
          this.buffer.write(this.checked(ops.cast(model.forward(x), 'f32')), { labels });
        }),
    );
    this.steps.set(model, evaluate);
    return evaluate;
  }

  /** Class probabilities of each image. Leaves the network in evaluation mode. */
  async probabilities(model: Module, onBatch: (done: number, of: number) => void = () => {}): Promise<Float64Array[]> {
    const passes = this.passing(model);
    const all: Float64Array[] = [];
    for (let batch = 0; batch < this.batches.all; batch++) {
      const indices = this.indices(batch);
      const rows: Float32Array[] = [];
      let classes = 0;
      for (const pass of passes) {
        const logits = await pass(indices);
        classes = logits.shape[1]!;
        rows.push(await logits.read());
      }
      for (let n = 0; n < indices.length; n++) {
        all.push(this.tta.combine(rows.map((values) => values.subarray(n * classes, (n + 1) * classes))));
      }
      onBatch(batch + 1, this.batches.all);
    }
    return all;
  }

  /** A step for each view, which gives the logits of a batch. */
  private passing(model: Module): Pass[] {
    const before = this.passes.get(model);
    if (before) return before;
    const passes = this.views.map((view) =>
      repeated(
        (indices: Uint32Array) => {
          model.eval();
          this.batches.choose(indices);
        },
        () => noGrad(() => this.logits(model, view)),
      ),
    );
    this.passes.set(model, passes);
    return passes;
  }

  /** Of the chosen images, seen once. */
  private logits(model: Module, view: View): Tensor {
    return this.checked(ops.cast(model.forward(this.batches.gather(view ?? undefined).x), 'f32'));
  }

  private checked(logits: Tensor): Tensor {
    const outputs = logits.shape[1]!;
    if (this.largest < outputs) return logits;
    throw new ShapeError(
      `Evaluator: the set has images of class ${this.largest}, and the network ${outputs} outputs. Give one with an output for each class.`,
    );
  }

  private indices(batch: number): Uint32Array {
    const first = batch * this.batches.batch;
    const count = Math.min(this.batches.batch, this.batches.count - first);
    return Uint32Array.from({ length: count }, (_, i) => first + i);
  }
}

/** What is tallied on the GPU, from probabilities; one that is 0 counts as the smallest that f32 has. */
function predictionOf(shares: Float64Array, label: number): Prediction {
  let predicted = 0;
  for (const [c, share] of shares.entries()) if (share > shares[predicted]!) predicted = c;
  const loss = -Math.log(Math.max(shares[label]!, 2 ** -149));
  return { loss, predicted, probability: shares[predicted]!, label };
}
