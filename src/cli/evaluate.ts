import { DataError } from '../core/errors.ts';
import { loadDataset } from '../data/dataset.ts';
import { openGpu } from '../gpu/node.ts';
import { confusionOf } from '../train/artifacts.ts';
import { Judge } from '../train/judge.ts';
import { mostConfused, type Scores, scores } from '../train/metrics.ts';
import { loadModel } from '../train/modelfile.ts';
import { addVerdicts, noSums } from '../train/tally.ts';
import type { EvaluateOptions } from './options.ts';

/** What `evaluate --json` prints. Shares are fractions; the confusion matrix has a row for each actual class. */
export interface Evaluation {
  model: string;
  arch: string;
  data: string;
  split: string;
  adapter: string;
  images: number;
  accuracy: number;
  loss: number;
  macroF1: number;
  classes: { name: string; precision: number; recall: number; f1: number; images: number }[];
  confusion: number[][];
  seconds: number;
}

/** `dawngrad evaluate`: how well a trained network does on labelled images. */
export async function evaluate(options: EvaluateOptions): Promise<void> {
  const gpu = await openGpu({ adapter: options.adapter });
  try {
    console.error(gpu.adapter.why);
    const { model, facts } = loadModel(options.model);
    const { split, valid, seed, limit, batch } = options;
    const data = await loadDataset({
      ...{ data: options.data, valid: valid ?? undefined, seed, limit: limit ?? undefined },
      ...{ store: options.store ?? facts.storedSide, channels: facts.options.channels },
      ...{ classes: facts.classes, use: 'evaluate' },
    });
    const set = data[split];
    if (!set || set.count === 0)
      throw new DataError(`${options.data}: has no images in --split ${split}. Choose another split.`);
    if (data.classes.join() !== facts.classes.join()) {
      throw new DataError(
        `${options.data}: its classes are ${data.classes.join(', ')}; the model's are ${facts.classes.join(', ')}. Evaluate on data of the same classes.`,
      );
    }
    const started = performance.now();
    const { size, channels } = facts.options;
    const judge = new Judge(set, { batch, size, channels, normalisation: facts.normalisation });
    const verdicts = await judge.verdicts(model);
    const sums = addVerdicts(noSums(), verdicts);
    const confusion = confusionOf(verdicts, facts.classes.length);
    const score = scores(confusion);
    const evaluation: Evaluation = {
      ...{ model: options.model, arch: facts.arch, data: options.data, split, adapter: gpu.adapter.name },
      ...{ images: sums.count, accuracy: score.accuracy, loss: sums.loss / sums.count, macroF1: score.macroF1 },
      classes: score.classes.map(({ precision, recall, f1, support }, c) => ({
        ...{ name: facts.classes[c]!, precision, recall, f1, images: support },
      })),
      confusion,
      seconds: (performance.now() - started) / 1000,
    };
    console.log(options.json ? JSON.stringify(evaluation, null, 2) : tables(evaluation, score));
  } finally {
    gpu.close();
  }
}

const percent = (share: number): string => (Number.isNaN(share) ? '–' : `${(100 * share).toFixed(1)} %`);

function tables(
  { arch, data, split, images, accuracy, loss, macroF1, classes, confusion }: Evaluation,
  { correct }: Scores,
): string {
  const names = classes.map(({ name }) => name);
  const width = Math.max(8, ...names.map((name) => name.length));
  const cell = Math.max(5, ...confusion.flat().map((count) => String(count).length + 1));
  const lines = [
    `${arch} on ${data}, ${split}: ${percent(accuracy)} (${correct} of ${images}), loss ${loss.toFixed(4)}, mean F1 ${percent(macroF1)}`,
    '',
    `${''.padEnd(width)}  precision   recall       F1   images`,
    ...classes.map(({ name, precision, recall, f1, images: count }) => {
      const shares = [precision, recall, f1].map((share) => percent(share).padStart(9)).join('');
      return `${name.padEnd(width)}  ${shares}${String(count).padStart(9)}`;
    }),
    '',
    'Actual class in rows, predicted in columns:',
    `${''.padEnd(width)}  ${names.map((name) => name.slice(0, cell - 1).padStart(cell)).join('')}`,
    ...confusion.map(
      (row, c) => `${names[c]!.padEnd(width)}  ${row.map((count) => String(count).padStart(cell)).join('')}`,
    ),
  ];
  const confused = mostConfused(confusion).slice(0, 5);
  if (confused.length > 0) {
    lines.push('', 'Most often confused:');
    for (const { actual, predicted, count } of confused)
      lines.push(`  ${names[actual]} taken for ${names[predicted]}: ${count}`);
  }
  return lines.join('\n');
}
