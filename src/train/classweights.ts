import { ConfigError } from '../core/errors.ts';

/**
 * Class weights that make up for unequal numbers of images: N/(C·n_c) for C classes of n_c images, N in all. Their mean over the
 * images is 1. Source: scikit-learn's `compute_class_weight('balanced')`.
 *
 * Throws ConfigError where a class has no image.
 */
export function balancedWeights(labels: ArrayLike<number>, classes: number, names?: readonly string[]): Float32Array {
  const counts = new Float64Array(classes);
  for (let i = 0; i < labels.length; i++) counts[labels[i]!]!++;
  const empty = counts.indexOf(0);
  if (empty >= 0) {
    throw new ConfigError(
      `balanced class weights: no training image is of class ${names ? `'${names[empty]}'` : empty}, whose weight would be infinite. Take more images, or leave the weights out.`,
    );
  }
  return Float32Array.from(counts, (count) => labels.length / (classes * count));
}
