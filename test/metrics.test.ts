import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { DataError } from '../src/core/errors.ts';
import { confusionOf, type EpochRow, metricsCsv, mostConfused, parseMetricsCsv, scores } from '../src/train/metrics.ts';
import type { Prediction } from '../src/train/predictions.ts';

// Khaireddin & Chen's published matrix on FER2013's PublicTest.
const published = [
  [308, 3, 34, 20, 49, 9, 44],
  [13, 36, 2, 1, 3, 1, 0],
  [38, 0, 284, 11, 84, 32, 47],
  [11, 0, 10, 797, 12, 15, 50],
  [56, 0, 54, 19, 425, 8, 91],
  [7, 0, 26, 16, 7, 351, 8],
  [31, 0, 21, 39, 78, 9, 429],
];

const close = (actual: number, expected: number) =>
  assert.ok(Math.abs(actual - expected) < 1e-12, `${actual} is not ${expected}`);

test('a published matrix gives its published figures', () => {
  const { accuracy, correct, total, classes, macroF1 } = scores(published);
  assert.is(correct, 2630);
  assert.is(total, 3589);
  close(accuracy, 2630 / 3589);
  assert.equal(
    classes.map(({ support }) => support),
    [467, 56, 496, 895, 653, 415, 607],
  );
  close(classes[1]!.precision, 36 / 39);
  close(classes[1]!.recall, 36 / 56);
  close(classes[1]!.f1, 72 / 95);
  close(
    macroF1,
    classes.reduce((mean, { f1 }) => mean + f1 / 7, 0),
  );
});

test('a class never predicted scores 0, and one that is nowhere leaves the mean alone', () => {
  // numpy: precision_recall_fscore_support([0, 0, 1], [0, 0, 0]) gives F1 0.8 and 0, macro 0.4.
  const { classes, macroF1, macroClasses, accuracy } = scores([
    [2, 0, 0],
    [1, 0, 0],
    [0, 0, 0],
  ]);
  assert.equal(classes[1], { precision: 0, recall: 0, f1: 0, support: 1 });
  assert.equal(classes[2], { precision: 0, recall: 0, f1: 0, support: 0 });
  close(macroF1, 0.4);
  assert.is(macroClasses, 2);
  close(accuracy, 2 / 3);
  // precision_recall_fscore_support([0, 0], [0, 1]): F1 2/3 and 0, of a class that is predicted alone, too.
  const predicted = scores([[1, 1], [0, 0]]); // biome-ignore format: a matrix
  close(predicted.macroF1, 1 / 3);
  assert.is(predicted.macroClasses, 2);
  assert.equal(scores([]), { accuracy: 0, macroF1: 0, total: 0, correct: 0, macroClasses: 0, classes: [] });
});

test('confused pairs come most often first', () => {
  const pairs = mostConfused(published, 50);
  assert.equal(pairs, [
    { actual: 4, predicted: 6, count: 91 },
    { actual: 2, predicted: 4, count: 84 },
    { actual: 6, predicted: 4, count: 78 },
    { actual: 4, predicted: 0, count: 56 },
    { actual: 4, predicted: 2, count: 54 },
    { actual: 3, predicted: 6, count: 50 },
  ]);
  assert.is(mostConfused(published).at(-1)!.count, 1);
  assert.equal(mostConfused([[3, 0], [0, 3]]), []); // biome-ignore format: a matrix
});

test('predictions are counted in rows, actual by predicted', () => {
  const predictions = [
    [0, 1],
    [2, 2],
    [0, 1],
    [1, 0],
  ].map(([label, predicted]) => ({ label, predicted, loss: 1, probability: 0.4 }));
  assert.equal(confusionOf(predictions as Prediction[], 3), [[0, 2, 0], [1, 0, 0], [0, 0, 1]]); // biome-ignore format: a matrix
});

test('a matrix that is not square is refused', () => {
  assert.throws(() => scores([[1, 2], [3]]), /2 rows has 1 columns in row 1/);
  assert.throws(() => mostConfused([[1], [2, 3]]), /2 rows has 1 columns in row 0/);
});

const row: EpochRow = {
  epoch: 1,
  step: 448,
  lr: 0.00012345678,
  trainLoss: 1.9459101490553132,
  trainAccuracy: 1 / 3,
  validLoss: Number.NaN,
  validAccuracy: 2630 / 3589,
  seconds: 61.23456789,
  imagesPerSecond: 1234.56789,
};

test('metrics.csv has the agreed columns', () => {
  assert.is(
    metricsCsv([row]),
    'epoch,step,lr,train_loss,train_accuracy,valid_loss,valid_accuracy,seconds,images_per_s\n' +
      '1,448,0.0001234568,1.94591,0.3333333,NaN,0.7327947,61.2346,1234.57\n',
  );
});

test('metrics.csv read and written again is the same text', () => {
  const extreme = { ...row, epoch: 2, lr: 1e-12, trainLoss: 3.4e38, validLoss: Infinity, validAccuracy: 0 };
  const text = metricsCsv([row, extreme]);
  assert.is(metricsCsv(parseMetricsCsv(text, 'metrics.csv')), text);
  assert.equal(parseMetricsCsv(metricsCsv([]), 'metrics.csv'), []);
  const spreadsheet = `\uFEFF${text.replaceAll('\n', '\r\n')}`;
  assert.is(metricsCsv(parseMetricsCsv(spreadsheet, 'metrics.csv')), text);
  assert.is(parseMetricsCsv(text, 'metrics.csv')[0]!.validAccuracy, 0.7327947);
});

test('a damaged metrics.csv is refused with file and line', () => {
  const text = metricsCsv([row]);
  const refused = (broken: string, expected: RegExp) => {
    assert.throws(
      () => parseMetricsCsv(broken, 'm.csv'),
      (error: Error) => error instanceof DataError && expected.test(error.message),
    );
  };
  refused('', /^m\.csv:1: expected the columns epoch,step.* Restore the file, or remove it\.$/);
  refused('epoch,loss\n1,2\n', /^m\.csv:1: /);
  refused(text.slice(0, -9), /^m\.csv:2: has 8 columns, expected 9\. Restore/);
  refused(text.replace('448', 'x'), /^m\.csv:2: step is "x", not a number\. Restore/);
});

test.run();
