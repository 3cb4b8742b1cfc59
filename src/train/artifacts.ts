import { writeFileAtomic } from '../data/atomic.ts';
import type { Dataset, SplitName } from '../data/dataset.ts';
import { type ModelOptions, pythonFor } from '../models/index.ts';
import { camRowsOf } from './camrows.ts';
import { camSheetPng } from './camsheet.ts';
import { confusionFrom, type EpochRow, scores } from './metrics.ts';
import { loadModel } from './modelfile.ts';
import { confusionSvg, curvesSvg } from './plots.ts';
import { reportHtml } from './report.ts';
import type { Setting } from './reportparts.ts';
import type { RunFolder } from './runfolder.ts';
import type { RunRecord, RunResult } from './runrecord.ts';
import type { Verdict } from './tally.ts';
import { judgedImage, type TopLoss, topLossesPng } from './toplosses.ts';

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
  return verdicts
    .map((verdict, index) => ({ verdict, index }))
    .sort((a, b) => b.verdict.loss - a.verdict.loss)
    .slice(0, count)
    .map(({ verdict, index }) => judgedImage(data, split, verdict, index));
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
  /** Images at once where the network is asked again, for Grad-CAM. */
  batch: number;
}

/**
 * Writes what a person looks at: curves, confusion matrix, top losses, where the network looks, and the report that holds all of it.
 * The network is that of the folder's model file.
 */
export async function writeArtifacts(parts: ArtifactParts): Promise<void> {
  const { folder, record, result, options, rows, verdicts, data, batch } = parts;
  const confusion = confusionOf(verdicts, data.classes.length);
  const topLosses = topLossesOf(verdicts, data, 'valid');
  writeFileAtomic(folder.curves, await curvesSvg(rows));
  writeFileAtomic(folder.confusion, await confusionSvg(confusion, data.classes));
  writeFileAtomic(folder.topLosses, topLossesPng(topLosses));
  const { model, facts } = loadModel(folder.model);
  const { size, channels } = facts.options;
  const input = { batch, size, channels, normalisation: facts.normalisation };
  const cams = await camRowsOf(model, verdicts, data, 'valid', input);
  writeFileAtomic(folder.cams, camSheetPng(cams));
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
    { rows, confusion, topLosses, cams },
  );
  writeFileAtomic(folder.report, page);
}
