import type { AugmentationName } from '../data/augment.ts';
import type { ModelOptions } from '../models/index.ts';

/** How a network is trained: the options of `train` that reach the GPU, in their own units. */
export interface TrainConfig {
  arch: string;
  width: number;
  head: ModelOptions['head'];
  /** Side of the map that the `vgg` head sees; 1 where null. */
  pool: number | null;
  dropout: number;
  /** The file whose weights the network begins with; its own drawn ones where null. */
  pretrained: string | null;
  /** Epochs with a frozen body, before the `epochs`: fast.ai's `fine_tune`, whose base rate is `lr`. */
  freezeEpochs: number;
  /** The head's learning rate over that of the first layers. */
  lrMult: number;
  /** Input side in pixels; the stored side where null. */
  size: number | null;
  channels: 1 | 3;
  epochs: number;
  batch: number;
  /** Batches whose gradients make one update. */
  accumulate: number;
  optimizer: 'sgd' | 'adam' | 'adamw' | 'fastai-adam';
  nesterov: boolean;
  lr: number;
  momentum: number;
  weightDecay: number;
  /** What decays: everything, or all but norms and biases. */
  decay: 'all' | 'weights';
  schedule: 'one-cycle' | 'cosine' | 'step' | 'plateau' | 'constant';
  /** Epochs of linear warm-up. */
  warmup: number;
  labelSmoothing: number;
  /** The α of mixup; 0 for none. */
  mixup: number;
  /** Weights of the classes in the training loss: all 1, or N/(C·n_c). */
  classWeights: 'none' | 'balanced';
  /** The largest norm of an update's gradients; null for any. */
  clip: number | null;
  /** Decay of the moving average of the weights; 0 for none. */
  ema: number;
  augment: AugmentationName;
  seed: number;
  /** f16: activations, and copies of the weights; the loss is scaled. */
  precision: 'f32' | 'f16';
}
