import { columns, cut, padEnd, padStart } from '../core/columns.ts';
import { DataError } from '../core/errors.ts';
import { setSeed } from '../core/stepbuffer.ts';
import { inPercent } from '../core/words.ts';
import { writeFileAtomic } from '../data/atomic.ts';
import { type Dataset, loadDataset, type Seen, type SplitName } from '../data/dataset.ts';
import type { Division } from '../data/split.ts';
import { inputOf } from '../train/classify.ts';
import { evaluationHtml } from '../train/evaluationpage.ts';
import { Evaluator } from '../train/evaluator.ts';
import { interpret, writeInterpretation } from '../train/interpretation.ts';
import { confusionOf, mostConfused, scores } from '../train/metrics.ts';
import { buildModel, originsOf, readModelFile } from '../train/modelfile.ts';
import { addPredictions, noSums } from '../train/predictions.ts';
import { timeInWords } from '../train/reportparts.ts';
import { makeFolder, runFolder } from '../train/runfolder.ts';
import { openAdapter } from './adapter.ts';
import { checkStored } from './defaults.ts';
import { howFar } from './howfar.ts';
import { prepareRemembered } from './kernels.ts';
import type { EvaluateOptions } from './options.ts';
import { checkOutputs } from './outputs.ts';
import { printable } from './printable.ts';
import { type TtaFacts, ttaInWords, ttaOf } from './tta.ts';
import { dawngradVersion } from './version.ts';

/** What `evaluate --json` prints. Accuracy, precision, recall and F1 are fractions. */
export interface Evaluation {
  model: string;
  arch: string;
  data: string;
  split: string;
  /** Which images those were, in words: 'PublicTest'. */
  splitName: string;
  /** How many of them the network has met in its training; null where it was trained on other images, or its file does not say. */
  seen: Seen | null;
  adapter: string;
  /** Test-time augmentation; null without. */
  tta: TtaFacts | null;
  images: number;
  correct: number;
  accuracy: number;
  /** Mean cross-entropy in nats. */
  loss: number;
  macroF1: number;
  /** In the order of the labels; `images` are those of the class. */
  classes: { name: string; precision: number; recall: number; f1: number; images: number }[];
  /** A row for each actual class, a column for each predicted one. */
  confusion: number[][];
  /** Every pair that was mixed up, most often first. */
  mostConfused: { actual: string; predicted: string; count: number }[];
  seconds: number;
}

/** `dawngrad evaluate`: how well a trained network does on labelled images. */
export async function evaluate(options: EvaluateOptions): Promise<void> {
  const file = readModelFile(options.model);
  const { facts } = file;
  const { split, valid, seed, limit, batch, out } = options;
  const { tta, facts: ttaFacts } = ttaOf(options.tta, facts);
  if (out !== null) checkOutputs('--out', out, outputsIn(out));
  const load = (store: number, division?: Division): Promise<Dataset> =>
    loadDataset({
      ...{
        data: options.data,
        valid: valid ?? undefined,
        seed: seed ?? undefined,
        limit: limit ?? undefined,
        division,
      },
      ...{ store, channels: facts.storedChannels },
      ...{ classes: facts.classes, use: 'evaluate', trainedOn: originsOf(facts) },
    });
  // As they were stored for the training they are known again; and divided as they were then, whatever side they are stored at now.
  const known = await load(facts.storedSide);
  const { store = null } = options;
  const same = store === null || store === facts.storedSide;
  const data = same ? known : await load(store, known.origin ?? undefined);
  checkStored(store, data.train.side);
  if (data.classes.join('\n') !== facts.classes.join('\n')) {
    throw new DataError(
      `${options.data}: its classes are ${data.classes.join(', ')}; the model's are ${facts.classes.join(', ')}. Evaluate on data of the same classes.`,
    );
  }
  const set = data[split];
  if (!set || set.count === 0) {
    const others = (['train', 'valid', 'test'] as const).filter((name) => (data[name]?.count ?? 0) > 0);
    const divided = `${known.seen && !valid ? 'divided as for the training, it' : 'it'} has only ${others.join(' and ')} (valid: ${data.validName})`;
    throw new DataError(`${options.data}: has no images in --split ${split}: ${divided}.`);
  }
  const seen = known.seen?.[split] ?? null;
  if (seen) warnOfSeen(split, set.count, seen);

  const gpu = await openAdapter(options.adapter);
  try {
    const started = performance.now();
    setSeed(data.origin?.seed ?? seed ?? 1);
    const input = inputOf(facts, batch);
    const evaluator = new Evaluator(set, { ...input, tta });
    const model = buildModel(file);
    if (out !== null) makeFolder(`--out ${out}`, out);
    await prepareRemembered(gpu, () => evaluator.rehearse(model));
    const predictions = await evaluator.predictions(model, howFar('batches'));
    const confusion = confusionOf(predictions, facts.classes.length);
    const { accuracy, correct, macroF1, classes } = scores(confusion);
    const nameOf = (label: number): string => facts.classes[label]!;
    const evaluation: Evaluation = {
      ...{ model: options.model, arch: facts.arch, data: options.data, split },
      splitName: split === 'valid' ? data.validName : split,
      seen,
      adapter: gpu.adapter.name,
      tta: ttaFacts,
      ...{ images: predictions.length, correct, accuracy },
      loss: addPredictions(noSums(), predictions).loss / predictions.length,
      macroF1,
      classes: classes.map(({ precision, recall, f1, support }, label) => ({
        ...{ name: nameOf(label), precision, recall, f1, images: support },
      })),
      confusion,
      mostConfused: mostConfused(confusion).map(({ actual, predicted, count }) => ({
        ...{ actual: nameOf(actual), predicted: nameOf(predicted), count },
      })),
      seconds: (performance.now() - started) / 1000,
    };
    if (out !== null) {
      const files = runFolder(out);
      const interpretation = await interpret(model, predictions, data, split, {
        ...input,
        prepare: (body) => prepareRemembered(gpu, body),
      });
      await writeInterpretation(files, interpretation, facts.classes);
      const summary = {
        ...evaluation,
        date: timeInWords(new Date()),
        version: dawngradVersion,
        classes: facts.classes,
        augmented: ttaFacts && ttaInWords(ttaFacts),
      };
      writeFileAtomic(files.report, await evaluationHtml(summary, interpretation));
      console.error(`Report: ${files.report}`);
    }
    console.log(options.json ? JSON.stringify(evaluation, null, 2) : tables(evaluation).map(printable).join('\n'));
  } finally {
    gpu.close();
  }
}

/** `All 40 images`, `36 of the 40 images`. */
const shareOf = (some: number, count: number): string => `${some === count ? 'All' : `${some} of the`} ${count} images`;

/** Says so where a figure is not what it seems to be: that of images which the network has not met. */
function warnOfSeen(split: SplitName, count: number, { trained, validated }: Seen): void {
  if (split !== 'train' && trained > 0) {
    console.error(
      `Note: ${shareOf(trained, count)} were trained on: how it does on new ones is not seen here. Without --valid and --seed those are taken that validated.`,
    );
  }
  if (split === 'test' && validated > 0) {
    console.error(
      `Note: ${shareOf(validated, count)} validated the training and chose its best epoch: they are no test.`,
    );
  }
}

/** What `--out` writes, where a run has it too. */
const outputsIn = (out: string): string[] => {
  const { confusion, topLosses, cams, report } = runFolder(out);
  return [confusion, topLosses, cams, report];
};

const COLUMNS = 80;
const LONGEST_NAME = 24;
const PAIRS = 5;

const cell = (name: string, width: number): string => padEnd(cut(name, width), width);

/** An evaluation for people, within 80 columns. */
export function tables(evaluation: Evaluation): string[] {
  const { arch, data, split, splitName, seen, tta, images, correct, accuracy, loss, macroF1, classes } = evaluation;
  const width = Math.max(8, ...classes.map(({ name }) => Math.min(columns(name), LONGEST_NAME)));
  const mixed = evaluation.mostConfused.slice(0, PAIRS);
  const digits = Math.max(0, ...mixed.map(({ count }) => String(count).length));
  const pairs = mixed.map(({ actual, predicted, count }) => {
    const all = classes.find(({ name }) => name === actual)!.images;
    const words = `${cell(actual, width)}  taken for  ${cell(predicted, width)}`;
    return `${words}  ${String(count).padStart(digits)} of ${all}`;
  });
  return [
    `${arch} on ${data}, ${split === splitName ? split : `${split} (${splitName})`}`,
    ...(split === 'train' && seen ? [`${shareOf(seen.trained, images)} were trained on.`] : []),
    ...(tta ? [`Test-time augmentation: ${ttaInWords(tta)}`] : []),
    `${correct} of ${images} images right: ${inPercent(accuracy)}; loss ${loss.toFixed(4)}, mean F1 ${inPercent(macroF1)}`,
    '',
    `${''.padEnd(width)}  precision     recall         F1   images`,
    ...classes.map(({ name, precision, recall, f1, images: support }) => {
      const shares = [precision, recall, f1].map((share) => inPercent(share).padStart(11)).join('');
      return `${cell(name, width)}${shares}${String(support).padStart(9)}`;
    }),
    '',
    ...matrix(evaluation, width),
    ...(pairs.length > 0 ? ['', 'Most often mixed up:', ...pairs] : []),
  ];
}

/** The confusion matrix, as wide as the names need and the terminal has; nothing but a line where it cannot be shown. */
function matrix({ confusion, classes }: Evaluation, width: number): string[] {
  const names = classes.map(({ name }) => name);
  const room = Math.floor((COLUMNS - width) / names.length);
  const least = Math.max(4, 1 + Math.max(...confusion.flat().map((count) => String(count).length)));
  if (room < least) return [`A confusion matrix of ${names.length} classes is too wide for this table; --json has it.`];
  const each = Math.max(least, Math.min(room, 2 + Math.max(...names.map(columns))));
  const row = (head: string, cells: readonly (string | number)[]): string =>
    cell(head, width) + cells.map((text) => padStart(cut(String(text), each - 1), each)).join('');
  return [
    'Actual class in rows, predicted in columns:',
    row('', names),
    ...confusion.map((counts, label) => row(names[label]!, counts)),
  ];
}
