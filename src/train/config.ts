import type { AugmentationName } from '../data/batches.ts';
import type { ModelOptions } from '../models/index.ts';

/** How a network is trained: the options of `train` that reach the GPU, in their own units. */
export interface TrainConfig {
  arch: string;
  width: number;
  head: ModelOptions['head'];
  /** Side of the map that the `vgg` head sees; 1 where null. */
  pool: number | null;
  dropout: number;
  /** Input side in pixels; the stored side where null. */
  size: number | null;
  channels: 1 | 3;
  epochs: number;
  batch: number;
  /** Batches whose gradients make one update. */
  accumulate: number;
  optimizer: 'sgd' | 'adam' | 'adamw';
  nesterov: boolean;
  lr: number;
  momentum: number;
  weightDecay: number;
  schedule: 'one-cycle' | 'cosine' | 'step' | 'plateau' | 'constant';
  /** Epochs of linear warm-up. */
  warmup: number;
  labelSmoothing: number;
  augment: AugmentationName;
  seed: number;
  /** f16: activations, and copies of the weights; the loss is scaled. */
  precision: 'f32' | 'f16';
}
