export * from './arrays.ts';
export {
  AUGMENTATIONS,
  type Augmentation,
  type AugmentationName,
  type Batch,
  Batches,
  type BatchOptions,
  type Normalisation,
  normalisationOf,
} from './batches.ts';
export { type DataOptions, type Dataset, type ImageSet, loadDataset, type SplitName } from './dataset.ts';
export { decodeImage, type Image, resizeImage } from './image.ts';
