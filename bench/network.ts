import { repeated } from '../src/core/repeat.ts';
import { rehearse, step } from '../src/core/step.ts';
import { noGrad } from '../src/core/tape.ts';
import type { Tensor } from '../src/core/tensor.ts';
import { AUGMENTATIONS, type AugmentationName } from '../src/data/augment.ts';
import { Batches } from '../src/data/batches.ts';
import { createModel } from '../src/models/index.ts';
import type { Module } from '../src/nn/index.ts';
import * as ops from '../src/ops/index.ts';
import { Adam, LossScale, type Optimizer, SGD } from '../src/optim/index.ts';
import { noise } from './harness.ts';
import type { Scale } from './kernels.ts';

/** Side of the images before the GPU resizes them. */
const STORED = 48;
const CLASSES = 7;

/** A training step to measure. */
export interface StepShape extends Scale {
  /** Default: vgg16_bn. */
  arch?: string;
  /** Default: sgd. */
  optimizer?: 'sgd' | 'adam';
  /** Side of the network's input. Default: 48, that of the images. */
  size?: number;
  /** Default: f32. */
  precision?: 'f32' | 'f16';
  /** Default: crop. */
  augment?: AugmentationName;
}

/** A network as `train` runs it (gray 48 px images to 3 channels, augmented; SGD with momentum), on images of noise. */
export class Network {
  readonly model: Module;
  private readonly batches: Batches;
  private readonly optimizer: Optimizer;
  private readonly shape: StepShape;
  private readonly lossScale: LossScale | null;
  private first = 0;

  constructor(shape: StepShape) {
    this.shape = shape;
    const { arch = 'vgg16_bn', batch, width, size = STORED, precision = 'f32', augment = 'crop' } = shape;
    const shared = { classes: CLASSES, channels: 3, pool: 1, seed: 1 } as const;
    this.model = createModel(arch, { ...shared, size, width });
    const count = 4 * batch;
    const pixels = Uint8Array.from(noise(count * STORED * STORED, 1), (value) => 127.5 * (value + 1));
    const labels = Uint8Array.from({ length: count }, (_, i) => i % CLASSES);
    const normalisation = { mean: [0.5], std: [0.25] };
    this.batches = new Batches(
      { pixels, labels, count, side: STORED, channels: 1 },
      { batch, size, channels: 3, normalisation, augmentation: AUGMENTATIONS[augment], dtype: precision },
    );
    this.lossScale = precision === 'f16' ? new LossScale() : null;
    const scaling = this.lossScale ? { lossScale: this.lossScale } : {};
    const Update = shape.optimizer === 'adam' ? Adam : SGD;
    this.optimizer = new Update(this.model.parameters().values(), { weightDecay: 1e-4, ...scaling });
  }

  /** Trains one step as `step` does it, code and all; resolves to the loss when it is submitted. */
  trainEagerly(): Promise<Tensor> {
    return step(() => {
      this.prepareTraining();
      return this.record();
    });
  }

  /** Trains one step, from the third on by a recording, as training does. The next call frees the loss. */
  readonly train = repeated(
    () => this.prepareTraining(),
    () => this.record(),
  );

  /** Goes through a step on the host alone. */
  rehearse(): void {
    this.model.train();
    rehearse(() => {
      const { x, labels } = this.batches.take(this.next());
      ops.crossEntropy(ops.cast(this.model.forward(x), 'f32'), labels).backward();
    });
    this.optimizer.zeroGrad();
  }

  /** Runs one batch forward, as an evaluation does. */
  readonly evaluate = repeated(
    () => {
      this.model.eval();
      this.batches.choose(this.next());
    },
    () => {
      noGrad(() => this.model.forward(this.batches.gather().x));
    },
  );

  private prepareTraining(): void {
    this.model.train();
    this.batches.choose(this.next());
    this.optimizer.prepare({ lr: 0.01, momentum: 0.9 });
  }

  private record(): Tensor {
    const { x, labels } = this.batches.gather();
    const loss = ops.crossEntropy(ops.cast(this.model.forward(x), 'f32'), labels);
    loss.backward(this.lossScale?.gradient());
    this.optimizer.apply();
    return loss;
  }

  private next(): Uint32Array {
    const { batch } = this.shape;
    this.first = (this.first + batch) % (4 * batch);
    return Uint32Array.from({ length: batch }, (_, i) => this.first + i);
  }
}
