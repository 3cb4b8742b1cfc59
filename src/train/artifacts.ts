import { writeFileAtomic } from '../data/atomic.ts';
import { type Dataset, pixelsOf, type SplitName } from '../data/dataset.ts';
import { type ModelOptions, pythonFor } from '../models/index.ts';
import { confusionFrom, type EpochRow, scores } from './metrics.ts';
import { confusionSvg, curvesSvg } from './plots.ts';
import { reportHtml, type Setting } from './report.ts';
import type { RunFolder } from './runfolder.ts';
import type { RunRecord, RunResult } from './runrecord.ts';
import type { Verdict } from './tally.ts';
import { type TopLoss, topLossesPng } from './toplosses.ts';

const TOP_LOSSES = 25;

/** Counts of (label, prediction) as a matrix: rows are labels, columns predictions. */
export function confusionOf(verdicts: readonly Verdict[], classes: number): number[][] {
  const counts = new Array<number>(classes * classes).fill(0);
  for (const { label, prediction } of verdicts) counts[label * classes + prediction]!++;
  return confusionFrom(counts, classes);
}

/** The images with the highest losses, with what they are and were taken for. */
export function topLossesOf(
  verdicts: readonly Verdict[],
  data: Dataset,
  split: SplitName,
  count = TOP_LOSSES,
): TopLoss[] {
  const set = data[split]!;
  return verdicts
    .map((verdict, index) => ({ ...verdict, index }))
    .sort((a, b) => b.loss - a.loss)
    .slice(0, count)
    .map(({ index, label, prediction, probability, loss }) => ({
      pixels: pixelsOf(set, index),
      side: set.side,
      channels: set.channels,
      truth: data.classes[label]!,
      prediction: data.classes[prediction]!,
      probability,
      loss,
    }));
}

export interface ArtifactParts {
  folder: RunFolder;
  record: Omit<RunRecord, 'version'>;
  result: RunResult;
  /** What the network was built from. */
  options: ModelOptions;
  rows: readonly EpochRow[];
  /** Of the best epoch's weights on the validation images. */
  verdicts: readonly Verdict[];
  data: Dataset;
}

/** Writes what a person looks at: curves, confusion matrix, top losses, and the report that holds all of it. */
export async function writeArtifacts(parts: ArtifactParts): Promise<void> {
  const { folder, record, result, options, rows, verdicts, data } = parts;
  const confusion = confusionOf(verdicts, data.classes.length);
  const topLosses = topLossesOf(verdicts, data, 'valid');
  writeFileAtomic(folder.curves, await curvesSvg(rows));
  writeFileAtomic(folder.confusion, await confusionSvg(confusion, data.classes));
  writeFileAtomic(folder.topLosses, topLossesPng(topLosses));
  const counts = { train: data.train.count, valid: data.valid.count, ...(data.test ? { test: data.test.count } : {}) };
  const page = await reportHtml(
    {
      folder: folder.dir,
      date: new Date().toISOString().slice(0, 16).replace('T', ' '),
      command: `dawngrad ${record.commandLine.join(' ')}`,
      options: record.options as Record<string, Setting>,
      seed: record.seed,
      versions: record.versions,
      adapter: { ...record.adapter },
      model: record.model,
      data: { ...record.data, path: record.data.path ?? record.data.name, counts },
      result: {
        bestEpoch: result.bestEpoch ?? 0,
        bestValidAccuracy: result.validAccuracy ?? scores(confusion).accuracy,
        finalValidAccuracy: rows.at(-1)?.validAccuracy ?? Number.NaN,
        epochs: result.epochs,
        steps: result.steps,
        seconds: result.seconds,
        imagesPerSecond: result.imagesPerSecond,
        peakGpuBytes: result.peakGpuBytes,
        ...(result.status === 'finished' ? {} : { note: `The run ${result.status} before its last epoch.` }),
      },
      pytorch: pythonFor(record.model.arch, options),
    },
    { rows, confusion, topLosses },
  );
  writeFileAtomic(folder.report, page);
}
