import { DataError, ShapeError } from '../core/errors.ts';
import type { Prediction } from './predictions.ts';

/** Counts of validation images: a row per actual class, a column per predicted class. */
export type Confusion = readonly (readonly number[])[];

/** How well one class is found. `support` is the number of images that are of the class. */
export interface ClassScore {
  precision: number;
  recall: number;
  f1: number;
  support: number;
}

/** What a confusion matrix says: overall accuracy, the mean F1 of the classes that occur or are predicted, and each class. */
export interface Scores {
  accuracy: number;
  macroF1: number;
  /** How many those are. */
  macroClasses: number;
  total: number;
  correct: number;
  classes: ClassScore[];
}

/** Images of class `actual` that were taken for class `predicted`. */
export interface Confused {
  actual: number;
  predicted: number;
  count: number;
}

/** Counts the predictions by class and predicted class. */
export function confusionOf(predictions: readonly Prediction[], classes: number): number[][] {
  const counts = Array.from({ length: classes }, () => new Array<number>(classes).fill(0));
  for (const { label, predicted } of predictions) counts[label]![predicted]!++;
  return counts;
}

/**
 * Accuracy, and per class precision tp/(tp+fp), recall tp/(tp+fn) and F1 2tp/(2tp+fp+fn).
 *
 * A quotient with nothing in its denominator is 0, and a class that is neither present nor predicted does not enter the
 * mean of F1: both as scikit-learn's classification_report does. Throws ShapeError for a matrix that is not square.
 */
export function scores(confusion: Confusion): Scores {
  checkSquare(confusion);
  const ratio = (part: number, whole: number) => (whole > 0 ? part / whole : 0);
  const predictedCounts = confusion.map((_, k) => sum(confusion.map((row) => row[k]!)));
  const classes = confusion.map((row, k) => {
    const hits = row[k]!;
    const support = sum(row);
    const predicted = predictedCounts[k]!;
    return {
      precision: ratio(hits, predicted),
      recall: ratio(hits, support),
      f1: ratio(2 * hits, support + predicted),
      support,
    };
  });
  const total = sum(classes.map(({ support }) => support));
  const correct = sum(confusion.map((row, k) => row[k]!));
  const seen = classes.filter(({ support }, k) => support + predictedCounts[k]! > 0);
  return {
    accuracy: ratio(correct, total),
    macroF1: ratio(sum(seen.map(({ f1 }) => f1)), seen.length),
    macroClasses: seen.length,
    total,
    correct,
    classes,
  };
}

/**
 * The pairs (actual, predicted) that are mixed up at least `minimum` times, most often first; ties in matrix order.
 *
 * Source: fast.ai, ClassificationInterpretation.most_confused.
 */
export function mostConfused(confusion: Confusion, minimum = 1): Confused[] {
  checkSquare(confusion);
  return confusion
    .flatMap((row, actual) => row.map((count, predicted) => ({ actual, predicted, count })))
    .filter(({ actual, predicted, count }) => actual !== predicted && count >= minimum)
    .sort((a, b) => b.count - a.count);
}

function checkSquare(confusion: Confusion): void {
  const wrong = confusion.findIndex((row) => row.length !== confusion.length);
  if (wrong >= 0) {
    const size = confusion.length;
    throw new ShapeError(`A confusion matrix of ${size} rows has ${confusion[wrong]!.length} columns in row ${wrong}.`);
  }
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

/**
 * One epoch: a row of metrics.csv. Accuracies are fractions; `step` counts from the run's start; `seconds` are of training and
 * validation, `imagesPerSecond` of training alone; NaN is unknown.
 */
export interface EpochRow {
  epoch: number;
  step: number;
  lr: number;
  trainLoss: number;
  trainAccuracy: number;
  validLoss: number;
  validAccuracy: number;
  seconds: number;
  imagesPerSecond: number;
}

const columns: readonly [name: string, key: keyof EpochRow, digits: number][] = [
  ['epoch', 'epoch', 16],
  ['step', 'step', 16],
  ['lr', 'lr', 7],
  ['train_loss', 'trainLoss', 7],
  ['train_accuracy', 'trainAccuracy', 7],
  ['valid_loss', 'validLoss', 7],
  ['valid_accuracy', 'validAccuracy', 7],
  ['seconds', 'seconds', 6],
  ['images_per_s', 'imagesPerSecond', 6],
];

/** A row as metrics.csv holds it: 7 significant digits (as an f32 has), times 6. A resumed run knows no more of its past. */
export function recorded(row: EpochRow): EpochRow {
  const entries = columns.map(([, key, digits]) => [key, Number(row[key].toPrecision(digits))]);
  return Object.fromEntries(entries) as EpochRow;
}

/**
 * The text of metrics.csv: a header, then a line an epoch, `recorded`.
 *
 * Text that was read back and written again is the same text, so a resumed run's file is the uninterrupted run's.
 */
export function metricsCsv(rows: readonly EpochRow[]): string {
  const lines = rows.map(recorded).map((row) => columns.map(([, key]) => String(row[key])));
  return [columns.map(([name]) => name), ...lines].map((cells) => `${cells.join(',')}\n`).join('');
}

/** A run goes on without it; its report then lacks the epochs so far. */
const MEND = 'Restore the file, or remove it.';

/** Reads metrics.csv back; `file` names it in errors. Throws DataError with file and line. */
export function parseMetricsCsv(text: string, file: string): EpochRow[] {
  const lines = text
    .replace(/^\uFEFF/, '')
    .trimEnd()
    .split(/\r?\n/);
  const header = columns.map(([name]) => name).join(',');
  if (lines[0] !== header) throw new DataError(`${file}:1: expected the columns ${header}. ${MEND}`);
  return lines.slice(1).map((line, index) => {
    const cells = line.split(',');
    const where = `${file}:${index + 2}`;
    if (cells.length !== columns.length) {
      throw new DataError(`${where}: has ${cells.length} columns, expected ${columns.length}. ${MEND}`);
    }
    const entries = columns.map(([name, key], column) => {
      const cell = cells[column]!.trim();
      const value = cell === '' ? Number.NaN : Number(cell);
      if (Number.isNaN(value) && cell !== 'NaN') {
        throw new DataError(`${where}: ${name} is ${JSON.stringify(cell.slice(0, 40))}, not a number. ${MEND}`);
      }
      return [key, value] as const;
    });
    return Object.fromEntries(entries) as unknown as EpochRow;
  });
}
