import type { Dataset, SplitName } from '../data/dataset.ts';
import type { Network } from '../models/index.ts';
import { type HeatMapOptions, heatMapsOf, shownPart, type Wanted } from './cams.ts';
import type { HeatMap } from './heat.ts';
import type { Prediction } from './predictions.ts';
import { evaluatedImage, type TopLoss } from './toplosses.ts';

/** Images of a class of each kind: so few that somebody looks at all. */
const EACH = 2;
/** Images at once: with gradients a network of full width takes more memory for each than it does to evaluate it. */
const BATCH = 16;
/** Rows at most: of more classes, those with the most mistakes. */
export const CLASSES = 12;

/** An image, as much of it as the network is shown, and where it sees what in it. */
export interface CamExample extends TopLoss {
  /** What speaks for the class that it was taken for. */
  seen: HeatMap;
  /** What speaks for the class that it is of, where it was taken for another. */
  missed: HeatMap | null;
}

/** The images of a class that say most about it. */
export interface CamRow {
  name: string;
  /** Those that the network is surest of, rightly. */
  right: CamExample[];
  /** Those that it got most wrong. */
  wrong: CamExample[];
}

/**
 * For each class the images that a network is surest of and those that it gets most wrong, with Grad-CAM of what it took them for
 * and, where that is not what they are, of that too. `predictions` are on all images of the split, in order.
 */
export async function camRowsOf(
  model: Network,
  predictions: readonly Prediction[],
  data: Dataset,
  split: SplitName,
  options: HeatMapOptions,
): Promise<CamRow[]> {
  const chosen = choose(predictions, data.classes.length);
  const wanted: Wanted[] = [];
  for (const index of chosen.flatMap(({ right, wrong }) => [...right, ...wrong])) {
    const { predicted, label } = predictions[index]!;
    wanted.push({ index, label: predicted });
    if (predicted !== label) wanted.push({ index, label });
  }
  const batch = Math.min(BATCH, options.batch);
  const maps = await heatMapsOf(model, data[split]!, wanted, { ...options, batch });
  const example = (index: number): CamExample => {
    const prediction = predictions[index]!;
    const seen = maps.shift()!;
    const missed = prediction.predicted === prediction.label ? null : maps.shift()!;
    const evaluated = evaluatedImage(data, split, prediction, index);
    return { ...evaluated, ...shownPart(evaluated, options.framing), seen, missed };
  };
  return chosen.map(({ label, right, wrong }) => ({
    name: data.classes[label]!,
    right: right.map(example),
    wrong: wrong.map(example),
  }));
}

interface Choice {
  label: number;
  right: number[];
  wrong: number[];
}

/** Places of images in `predictions`, class by class. */
function choose(predictions: readonly Prediction[], classes: number): Choice[] {
  const ofClass = Array.from({ length: classes }, (_, label) => ({
    label,
    right: [] as number[],
    wrong: [] as number[],
  }));
  for (const [index, { label, predicted }] of predictions.entries()) {
    ofClass[label]![predicted === label ? 'right' : 'wrong'].push(index);
  }
  const loss = (index: number): number => predictions[index]!.loss;
  return ofClass
    .filter(({ right, wrong }) => right.length + wrong.length > 0)
    .sort((a, b) => b.wrong.length - a.wrong.length)
    .slice(0, CLASSES)
    .sort((a, b) => a.label - b.label)
    .map(({ label, right, wrong }) => ({
      label,
      right: right.sort((a, b) => loss(a) - loss(b)).slice(0, EACH),
      wrong: wrong.sort((a, b) => loss(b) - loss(a)).slice(0, EACH),
    }));
}
