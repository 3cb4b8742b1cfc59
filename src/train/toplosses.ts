import { inPercent } from '../core/words.ts';
import { type Dataset, pixelsOf, type SplitName } from '../data/dataset.ts';
import type { Prediction } from './predictions.ts';
import { checkPicture, inks, lineStep, type Picture, Sheet, textWidth } from './sheet.ts';

/** An image that the network got most wrong. */
export interface TopLoss extends Picture {
  truth: string;
  prediction: string;
  /** Of the predicted class, 0 to 1. */
  probability: number;
  loss: number;
}

/** An image of a set with what the network makes of it. */
export function evaluatedImage(data: Dataset, split: SplitName, prediction: Prediction, index: number): TopLoss {
  const set = data[split]!;
  const { label, predicted, probability, loss } = prediction;
  return {
    pixels: pixelsOf(set, index),
    side: set.side,
    channels: set.channels,
    truth: data.classes[label]!,
    prediction: data.classes[predicted]!,
    probability,
    loss,
  };
}

// In pixels.
const imageSide = 144;
const gap = 20;
const margin = 24;
const columnsAtMost = 6;

/**
 * Draws images, worst first as given, six in a row, each with what it is, what it was taken for with which probability,
 * and its loss; returns a PNG file. Throws ShapeError where pixels are not side·side·channels.
 */
export function topLossesPng(items: readonly TopLoss[]): Uint8Array {
  for (const item of items) checkPicture(item);
  const columns = Math.max(1, Math.min(columnsAtMost, items.length));
  const rows = Math.ceil(items.length / columns);
  const heading = 2 * lineStep + 10;
  const cellHeight = imageSide + 8 + 3 * lineStep;
  const inner = columnsAtMost * imageSide + (columnsAtMost - 1) * gap;
  const height = 2 * margin + heading + rows * cellHeight + Math.max(0, rows - 1) * gap;
  const sheet = new Sheet(2 * margin + inner, height);
  sheet.text('Top losses', margin, margin, inner);
  const legend = items.length ? 'actual class / predicted class, its probability / loss' : 'No images.';
  sheet.text(legend, margin, margin + lineStep, inner, inks.muted);

  for (const [index, item] of items.entries()) {
    const left = margin + (index % columns) * (imageSide + gap);
    const top = margin + heading + Math.floor(index / columns) * (cellHeight + gap);
    sheet.picture(item, left, top, imageSide);
    const below = top + imageSide + 8;
    sheet.text(item.truth, left, below, imageSide);
    const percent = ` ${inPercent(item.probability, 0)}`;
    const colour = item.prediction === item.truth ? inks.right : inks.wrong;
    const room = imageSide - textWidth(percent) - 2;
    const width = sheet.text(item.prediction, left, below + lineStep, room, colour);
    sheet.text(percent, left + width + 2, below + lineStep, imageSide, colour);
    sheet.text(`loss ${item.loss.toFixed(2)}`, left, below + 2 * lineStep, imageSide, inks.muted);
  }
  return sheet.encode();
}
