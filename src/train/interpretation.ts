import { writeFileAtomic } from '../data/atomic.ts';
import type { Dataset, SplitName } from '../data/dataset.ts';
import type { Network } from '../models/index.ts';
import { type CamRow, camRowsOf } from './camrows.ts';
import type { HeatMapOptions } from './cams.ts';
import { camSheetPng } from './camsheet.ts';
import { writable } from './font.ts';
import { type Confusion, confusionOf } from './metrics.ts';
import { confusionSvg } from './plots.ts';
import type { Prediction } from './predictions.ts';
import type { RunFolder } from './runfolder.ts';
import { evaluatedImage, type TopLoss, topLossesPng } from './toplosses.ts';

/** Two, three, four, six and eight of them in a row leave none alone. */
const TOP_LOSSES = 24;

/** The images with the highest losses, with what they are and were taken for. */
function topLossesOf(predictions: readonly Prediction[], data: Dataset, split: SplitName): TopLoss[] {
  return predictions
    .map((prediction, index) => ({ prediction, index }))
    .sort((a, b) => b.prediction.loss - a.prediction.loss)
    .slice(0, TOP_LOSSES)
    .map(({ prediction, index }) => evaluatedImage(data, split, prediction, index));
}

/** What a person looks at to understand what a network makes of labelled images. */
export interface Interpretation {
  confusion: Confusion;
  /** Worst first. */
  topLosses: readonly TopLoss[];
  /** Where it looks, class by class. */
  cams: readonly CamRow[];
}

/** What a network makes of a split: `predictions` are on all of its images, in order, and `input` is what they were evaluated with. */
export async function interpret(
  model: Network,
  predictions: readonly Prediction[],
  data: Dataset,
  split: SplitName,
  input: HeatMapOptions,
): Promise<Interpretation> {
  return {
    confusion: confusionOf(predictions, data.classes.length),
    topLosses: topLossesOf(predictions, data, split),
    cams: await camRowsOf(model, predictions, data, split, input),
  };
}

/** Where an interpretation is written to. */
export type InterpretationFiles = Pick<RunFolder, 'confusion' | 'topLosses' | 'cams'>;

/** Writes an interpretation as figures; classes that the font of the sheets has no letters for have their numbers there. */
export async function writeInterpretation(
  files: InterpretationFiles,
  { confusion, topLosses, cams }: Interpretation,
  classes: readonly string[],
): Promise<void> {
  writeFileAtomic(files.confusion, await confusionSvg(confusion, classes));
  const drawn = writable(classes);
  const nameOf = (name: string) => drawn[classes.indexOf(name)] ?? name;
  const named = <T extends TopLoss>(item: T): T => ({
    ...item,
    truth: nameOf(item.truth),
    prediction: nameOf(item.prediction),
  });
  writeFileAtomic(files.topLosses, topLossesPng(topLosses.map(named)));
  const rows = cams.map(({ name, right, wrong }) => ({
    ...{ name: nameOf(name), right: right.map(named), wrong: wrong.map(named) },
  }));
  writeFileAtomic(files.cams, camSheetPng(rows));
}
