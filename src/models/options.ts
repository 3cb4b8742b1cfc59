/** What a network is built from; enough to build it again, so it goes into model files. */
export interface ModelOptions {
  classes: number;
  /** Input channels: 3, or a 1-channel stem. */
  channels: 1 | 3;
  /** Input side in pixels. */
  size: number;
  /** Multiplies every channel count, rounded to a multiple of 8, at least 8. */
  width: number;
  /** `vgg` and `linear` are torchvision's own, for VGG and for ResNet; `fastai` goes behind either. */
  head: 'vgg' | 'linear' | 'fastai';
  /** Side of the map that the `vgg` head of a VGG sees; nothing else has a use for it. */
  pool: number;
  /** Dropout of the head; its own default where undefined. The `linear` head drops nothing. */
  dropout?: number;
  seed: number;
}

/** What somebody who builds a network has to say; `createModel` knows the rest. */
export type ModelSettings = Pick<ModelOptions, 'classes' | 'size'> & Partial<ModelOptions>;

/** Smallest input side: what halves the image five times, or four as fer_vgg does, leaves something of it. */
export const SMALLEST_SIZE = 32;

/** Channels of a layer that has `channels` at width 1. */
export const scaled = (channels: number, width: number): number => Math.max(8, Math.round((channels * width) / 8) * 8);
