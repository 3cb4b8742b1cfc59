import { inPercent } from '../core/words.ts';
import type { CamExample, CamRow } from './camrows.ts';
import { type HeatMap, heatColour, overlay } from './heat.ts';
import { checkPicture, inks, lineStep, Sheet, textWidth } from './sheet.ts';

// In pixels.
const tile = 112;
const between = 6;
const gap = 24;
const margin = 24;
const scale = { width: 144, height: 14 };

/** Width of some tiles side by side. */
const across = (tiles: number): number => tiles * tile + (tiles - 1) * between;

/** Tiles of an example: the image, what speaks for the prediction and, where that is wrong, for the class that it is of. */
const tilesOf = ({ seen, missed }: CamExample): (HeatMap | null)[] => [null, seen, ...(missed ? [missed] : [])];

/**
 * Draws where a network looks, a row for each class: the images that it is surest of, and those that it gets most wrong; each beside
 * itself under Grad-CAM's colours. Returns a PNG file. Throws ShapeError where pixels are not side·side·channels.
 */
export function camSheetPng(rows: readonly CamRow[]): Uint8Array {
  for (const picture of rows.flatMap(({ right, wrong }) => [...right, ...wrong])) checkPicture(picture);
  const most = (kind: 'right' | 'wrong') => Math.max(1, ...rows.map((row) => row[kind].length));
  const columns = { right: most('right'), wrong: most('wrong') };
  const wrongAt = margin + columns.right * (across(2) + gap);
  const width = wrongAt + columns.wrong * (across(3) + gap) - gap + margin;
  const heading = 3 * lineStep + 14;
  const rowHeight = lineStep + tile + 6 + 2 * lineStep + 12;
  const sheet = new Sheet(width, 2 * margin + heading + rows.length * rowHeight);
  const inner = width - 2 * margin;
  sheet.text('Where the network looks', margin, margin, inner);
  const legend = rows.length ? 'Grad-CAM: the lighter, the more a place speaks for the class below' : 'No images.';
  sheet.text(legend, margin, margin + lineStep, inner, inks.muted);
  const scaleAt = width - margin - textWidth('most') - 8 - scale.width;
  sheet.text('nothing', scaleAt - textWidth('nothing') - 8, margin, inner, inks.muted);
  sheet.text('most', scaleAt + scale.width + 8, margin, inner, inks.muted);
  for (let x = 0; x < scale.width; x++) {
    sheet.fill(scaleAt + x, margin, 1, scale.height, heatColour(x / (scale.width - 1)));
  }
  sheet.text('surest', margin, margin + 2 * lineStep + 6, across(2), inks.right);
  const mistakes = rows.some(({ wrong }) => wrong.length > 0) ? 'most wrong' : 'none wrong';
  sheet.text(mistakes, wrongAt, margin + 2 * lineStep + 6, across(3), inks.wrong);

  for (const [r, { name, right, wrong }] of rows.entries()) {
    const top = margin + heading + r * rowHeight;
    sheet.text(name, margin, top, inner);
    for (const [i, example] of right.entries()) draw(sheet, example, margin + i * (across(2) + gap), top + lineStep);
    for (const [i, example] of wrong.entries()) draw(sheet, example, wrongAt + i * (across(3) + gap), top + lineStep);
  }
  return sheet.encode();
}

function draw(sheet: Sheet, example: CamExample, left: number, top: number): void {
  const { truth, prediction, probability, loss, missed } = example;
  const below = top + tile + 6;
  for (const [i, map] of tilesOf(example).entries()) {
    const at = left + i * (tile + between);
    sheet.picture(map ? overlay(example, map, tile) : example, at, top, tile);
    if (!map) sheet.text(`loss ${loss.toFixed(2)}`, at, below, tile, inks.muted);
    else if (map === missed) sheet.text(truth, at, below, tile, inks.right);
    else {
      sheet.text(prediction, at, below, tile, missed ? inks.wrong : inks.right);
      sheet.text(inPercent(probability, 0), at, below + lineStep, tile, inks.muted);
    }
  }
}
