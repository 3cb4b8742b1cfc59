import { writeFileAtomic } from '../data/atomic.ts';
import type { Dataset } from '../data/dataset.ts';
import { type ModelOptions, pythonFor } from '../models/index.ts';
import { callOf, quoted } from './call.ts';
import type { HeatMapOptions } from './cams.ts';
import { inputOf } from './classify.ts';
import { interpret, writeInterpretation } from './interpretation.ts';
import { type EpochRow, scores } from './metrics.ts';
import { loadModel } from './modelfile.ts';
import { curvesSvg } from './plots.ts';
import type { Prediction } from './predictions.ts';
import { reportHtml } from './report.ts';
import { type Setting, timeInWords } from './reportparts.ts';
import type { RunFolder } from './runfolder.ts';
import type { RunRecord, RunResult } from './runrecord.ts';

export interface ArtifactParts {
  folder: RunFolder;
  record: Omit<RunRecord, 'version'>;
  result: RunResult;
  /** What the network was built from. */
  options: ModelOptions;
  rows: readonly EpochRow[];
  /** Of the best epoch's weights on the validation images. */
  predictions: readonly Prediction[];
  data: Dataset;
  /** Images at once where the network is asked again, for Grad-CAM. */
  batch: number;
  prepare: NonNullable<HeatMapOptions['prepare']>;
}

/** What the report says first of a run that did not go through all its epochs. */
function noteOn({ status, stoppedEarly, epochs, bestEpoch }: RunResult): { note?: string } {
  if (stoppedEarly) {
    const without = epochs - (bestEpoch ?? 0);
    const since = without === 1 ? 'an epoch was' : `${without} epochs in a row were`;
    return { note: `The run stopped early: ${since} no better than epoch ${bestEpoch}.` };
  }
  return status === 'finished' ? {} : { note: `The run ${status} before its last epoch.` };
}

/** Arguments of `train` that make such a run as a whole: without the folder, which holds it already, and where it was to stop. */
export const ofWhole = (args: readonly string[]): string[] => {
  const left = ['--out', '--resume', '--max-minutes'];
  return args.filter((arg, i) => !left.includes(arg.split('=')[0]!) && !left.includes(args[i - 1] ?? ''));
};

/**
 * Writes what a person looks at: curves, confusion matrix, top losses, where the network looks, and the report that holds all of it.
 * The network is that of the folder's model file.
 */
export async function writeArtifacts(parts: ArtifactParts): Promise<void> {
  const { folder, record, result, options, rows, predictions, data, batch, prepare } = parts;
  const { model, facts } = loadModel(folder.model);
  const interpretation = await interpret(model, predictions, data, 'valid', { ...inputOf(facts, batch), prepare });
  writeFileAtomic(folder.curves, await curvesSvg(rows));
  await writeInterpretation(folder, interpretation, data.classes);
  const counts = { train: data.train.count, valid: data.valid.count, ...(data.test ? { test: data.test.count } : {}) };
  const page = await reportHtml(
    {
      folder: folder.dir,
      date: timeInWords(new Date()),
      command: callOf('train', ...ofWhole(record.commandLine.slice(1)).map(quoted)),
      options: record.options as Record<string, Setting>,
      seed: record.seed,
      versions: record.versions,
      adapter: { ...record.adapter },
      model: record.model,
      data: { ...record.data, path: record.data.path ?? record.data.name, counts },
      result: {
        bestEpoch: result.bestEpoch ?? 0,
        bestValidAccuracy: result.validAccuracy ?? scores(interpretation.confusion).accuracy,
        finalValidAccuracy: rows.at(-1)?.validAccuracy ?? Number.NaN,
        epochs: result.epochs,
        steps: result.steps,
        seconds: result.seconds,
        imagesPerSecond: result.imagesPerSecond,
        peakGpuBytes: result.peakGpuBytes,
        ...noteOn(result),
      },
      pytorch: pythonFor(record.model.arch, options),
    },
    { rows, ...interpretation },
  );
  writeFileAtomic(folder.report, page);
}
