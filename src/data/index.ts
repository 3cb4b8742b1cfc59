export * from './arrays.ts';
export {
  AUGMENTATIONS,
  type Augmentation,
  type AugmentationName,
  type Frame,
  type Framing,
  tenCrops,
} from './augment.ts';
export {
  type Batch,
  Batches,
  type BatchOptions,
  type Normalisation,
  normalisationOf,
} from './batches.ts';
export {
  type DataOptions,
  type Dataset,
  type ImageSet,
  loadDataset,
  type Origin,
  type Seen,
  type SplitName,
} from './dataset.ts';
export { decodeImage, type Image, resizeImage } from './image.ts';
export type { Mixed } from './mixup.ts';
