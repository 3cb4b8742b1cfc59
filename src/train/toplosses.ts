import { PNG } from 'pngjs';
import { ShapeError } from '../core/errors.ts';
import { type Lettering, letter, letterWithin, lineHeight } from './font.ts';

/** An image that the network got most wrong. `pixels` are side·side·channels bytes, row by row, channels last. */
export interface TopLoss {
  pixels: Uint8Array;
  side: number;
  channels: 1 | 3;
  truth: string;
  prediction: string;
  /** Of the predicted class, 0 to 1. */
  probability: number;
  loss: number;
}

type Rgb = readonly [number, number, number];

const ground: Rgb = [255, 255, 255];
const ink: Rgb = [31, 41, 51];
const muted: Rgb = [95, 107, 122];
const wrong: Rgb = [181, 71, 0];
const right: Rgb = [0, 96, 158];

// In pixels. A dot of the font is 2 by 2, so a line of text is 18 high.
const dot = 2;
const imageSide = 144;
const gap = 20;
const margin = 24;
const captionLine = (lineHeight + 3) * dot;
const columnsAtMost = 5;

/**
 * Draws images, worst first as given, five in a row, each with what it is, what it was taken for with which probability,
 * and its loss; returns a PNG file.
 *
 * Images are enlarged by whole steps without smoothing where they are small, so that their pixels can be seen as the
 * network sees them. Throws ShapeError where pixels are not side·side·channels.
 */
export function topLossesPng(items: readonly TopLoss[]): Uint8Array {
  for (const item of items) checkPixels(item);
  const columns = Math.max(1, Math.min(columnsAtMost, items.length));
  const rows = Math.ceil(items.length / columns);
  const heading = 2 * captionLine + 10;
  const cellHeight = imageSide + 8 + 3 * captionLine;
  const width = 2 * margin + columnsAtMost * imageSide + (columnsAtMost - 1) * gap;
  const height = 2 * margin + heading + rows * cellHeight + Math.max(0, rows - 1) * gap;
  const png = new PNG({ width, height, colorType: 2 });
  fill(png, ground);

  const innerWidth = (width - 2 * margin) / dot;
  drawText(png, letterWithin('Top losses', innerWidth), margin, margin, ink);
  const legend = items.length ? 'actual class / predicted class, its probability / loss' : 'No images.';
  drawText(png, letterWithin(legend, innerWidth), margin, margin + captionLine, muted);

  for (const [index, item] of items.entries()) {
    const left = margin + (index % columns) * (imageSide + gap);
    const top = margin + heading + Math.floor(index / columns) * (cellHeight + gap);
    drawImage(png, item, left, top);
    const percent = ` ${(100 * item.probability).toFixed(0)} %`;
    const room = imageSide / dot;
    const colour = item.prediction === item.truth ? right : wrong;
    const below = top + imageSide + 8;
    const prediction = letterWithin(item.prediction, room - letter(percent).width - 1);
    drawText(png, letterWithin(item.truth, room), left, below, ink);
    drawText(png, prediction, left, below + captionLine, colour);
    drawText(png, letter(percent), left + (prediction.width + 1) * dot, below + captionLine, colour);
    drawText(png, letter(`loss ${item.loss.toFixed(2)}`), left, below + 2 * captionLine, muted);
  }
  return PNG.sync.write(png, { colorType: 2, inputHasAlpha: true });
}

/** One image alone, in its own size, as a PNG file. Throws ShapeError where pixels are not side·side·channels. */
export function imagePng(item: Pick<TopLoss, 'pixels' | 'side' | 'channels'>): Uint8Array {
  checkPixels(item);
  const { pixels, side, channels } = item;
  const png = new PNG({ width: side, height: side });
  for (let at = 0; at < side * side; at++) {
    const pixel = pixels.subarray(at * channels, (at + 1) * channels);
    png.data.set(channels === 3 ? pixel : [pixel[0]!, pixel[0]!, pixel[0]!], at * 4);
    png.data[at * 4 + 3] = 255;
  }
  return PNG.sync.write(png, { colorType: channels === 3 ? 2 : 0 });
}

function checkPixels({ pixels, side, channels }: Pick<TopLoss, 'pixels' | 'side' | 'channels'>): void {
  if (side >= 1 && pixels.length === side * side * channels) return;
  throw new ShapeError(`Top losses: an image has ${pixels.length} bytes, expected ${side}·${side}·${channels}.`);
}

function fill(png: PNG, [r, g, b]: Rgb): void {
  for (let at = 0; at < png.data.length; at += 4) png.data.set([r, g, b, 255], at);
}

function drawText(png: PNG, { rows }: Lettering, left: number, top: number, [r, g, b]: Rgb): void {
  for (const [y, row] of rows.entries()) {
    for (const [x, inked] of row.entries()) {
      if (!inked) continue;
      for (let k = 0; k < dot * dot; k++) {
        const column = left + x * dot + (k % dot);
        const line = top + y * dot + Math.floor(k / dot);
        png.data.set([r, g, b], (line * png.width + column) * 4);
      }
    }
  }
}

/** Scales an image to imageSide: each target pixel is the mean of the source area that it covers. */
function drawImage(png: PNG, { pixels, side, channels }: TopLoss, left: number, top: number): void {
  const covered = Array.from({ length: imageSide }, (_, at) => {
    const from = Math.floor((at * side) / imageSide);
    return { from, to: Math.max(from + 1, Math.floor(((at + 1) * side) / imageSide)) };
  });
  for (const [y, rows] of covered.entries()) {
    for (const [x, columns] of covered.entries()) {
      const target = ((top + y) * png.width + left + x) * 4;
      const area = (rows.to - rows.from) * (columns.to - columns.from);
      for (let c = 0; c < 3; c++) {
        let sum = 0;
        for (let row = rows.from; row < rows.to; row++) {
          for (let column = columns.from; column < columns.to; column++) {
            sum += pixels[(row * side + column) * channels + (channels === 3 ? c : 0)]!;
          }
        }
        png.data[target + c] = Math.round(sum / area);
      }
    }
  }
}
