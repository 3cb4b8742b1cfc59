import { ConfigError } from '../core/errors.ts';
import { counted } from '../core/words.ts';
import { AUGMENTATIONS, type AugmentationName } from '../data/augment.ts';
import type { ModelFile } from '../train/modelfile.ts';
import { augmentedTta, type Tta, tenCropTta } from '../train/tta.ts';

/** What `evaluate --json` says of test-time augmentation. */
export type TtaFacts =
  | { kind: 'augmented'; augment: AugmentationName; passes: number; beta: number }
  | { kind: 'ten-crop'; passes: number };

const BETA = 0.25;

/** What `--tta` asks for, of a model. Throws ConfigError where its training drew nothing, as far as its file says. */
export function ttaOf(
  given: string | null,
  { augment }: ModelFile['facts'],
): { tta: Tta | undefined; facts: TtaFacts | null } {
  if (given === null) return { tta: undefined, facts: null };
  if (given === 'ten-crop') return { tta: tenCropTta, facts: { kind: 'ten-crop', passes: 10 } };
  const passes = Number(given);
  const augmentation = AUGMENTATIONS[augment];
  if (augmentation.draw === 'none')
    throw new ConfigError(
      `--tta ${given}: the model's file names no augmentation (--augment none, or an earlier version), so there is nothing to draw. Use --tta ten-crop.`,
    );
  return {
    tta: augmentedTta(augmentation, passes, BETA),
    facts: { kind: 'augmented', augment, passes, beta: BETA },
  };
}

/** The same in words. */
export const ttaInWords = (facts: TtaFacts): string =>
  facts.kind === 'ten-crop'
    ? 'ten crops'
    : `${counted(facts.passes, 'pass', 'passes')} augmented by ${facts.augment} and one as it is`;
