import { DataError } from '../core/errors.ts';
import { AUGMENTATIONS } from '../data/augment.ts';
import type { ImageSet } from '../data/dataset.ts';
import type { Network } from '../models/index.ts';
import { Evaluator, type EvaluatorOptions } from './evaluator.ts';
import type { ModelFacts } from './modelfile.ts';

export interface ClassifyOptions extends Pick<EvaluatorOptions, 'tta'> {
  /** Images that go through the network at once. Default 32. */
  batch?: number;
}

/** What a model file says of its network, as far as it matters for the images that it is shown. */
type Facts = Pick<Required<ModelFacts>, 'options' | 'normalisation' | 'augment' | 'storedSide' | 'storedChannels'>;

/**
 * Class probabilities of images, in the order of `facts.classes`, from a network of a model file:
 *
 *     const network = train.loadModel('runs/NAME/model.safetensors');
 *     const [shares] = await train.classify(network, [pixels]);
 *
 * Each image is u8, channels last, [side, side, channels] as `facts.storedSide` and `facts.storedChannels` say; it is resized and
 * normalised as those of the training were. Throws DataError for one of another size.
 */
export async function classify(
  { model, facts }: { model: Network; facts: Facts },
  images: readonly (Uint8Array | Uint8ClampedArray)[],
  { batch = 32, tta }: ClassifyOptions = {},
): Promise<Float64Array[]> {
  if (images.length === 0) return [];
  const evaluator = new Evaluator(unlabelled(images, facts), { ...inputOf(facts, batch), ...(tta && { tta }) });
  return evaluator.probabilities(model);
}

/** Images whose class is not known, as a set. Throws DataError for one that is not as large as the network's. */
export function unlabelled(
  images: readonly (Uint8Array | Uint8ClampedArray)[],
  { storedSide: side, storedChannels: channels }: Pick<Facts, 'storedSide' | 'storedChannels'>,
): ImageSet {
  const size = side * side * channels;
  const pixels = new Uint8Array(images.length * size);
  for (const [i, image] of images.entries()) {
    if (image.length !== size)
      throw new DataError(
        `classify: image ${i} has ${image.length} values; those of the network are ${side}×${side}×${channels}, ${size}.`,
      );
    pixels.set(image, i * size);
  }
  return { pixels, labels: new Uint8Array(images.length), count: images.length, side, channels };
}

/** How a network is shown images: as those that validated its training. */
export const inputOf = ({ options: { size, channels }, normalisation, augment }: Facts, batch: number) => ({
  ...{ batch, size, channels, normalisation, framing: AUGMENTATIONS[augment].framing },
});
