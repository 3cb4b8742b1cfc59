import { inPercent } from '../core/words.ts';
import { toGray } from '../data/image.ts';
import { type Picture, type Rgb, resized } from './sheet.ts';

/** How much each place of an image speaks for a class: rows·columns numbers from 0 on, row by row. */
export interface HeatMap {
  values: Float32Array;
  rows: number;
  columns: number;
}

/**
 * The colour map `inferno`, at nine places: its lightness rises evenly, so it can be read in gray and by the colour-blind. Source:
 * Smith and van der Walt 2015, in the public domain.
 */
const stops: readonly Rgb[] = [
  [0, 0, 4],
  [33, 12, 74],
  [87, 16, 110],
  [138, 34, 106],
  [188, 55, 84],
  [228, 90, 49],
  [249, 142, 9],
  [249, 203, 53],
  [252, 255, 164],
];

/** The colour of a share from 0 (dark) to 1 (light). */
export const heatColour = (share: number): Rgb => [heatOf(share, 0), heatOf(share, 1), heatOf(share, 2)];

/** Red, green or blue of it. */
function heatOf(share: number, channel: number): number {
  const at = Math.min(1, Math.max(0, share)) * (stops.length - 1);
  const low = Math.min(stops.length - 2, Math.floor(at));
  const from = stops[low]![channel]!;
  return Math.round(from + (stops[low + 1]![channel]! - from) * (at - low));
}

/**
 * A map stretched over a square image: bilinear between the centres of its places, and what lies beyond the outer ones like them, as
 * PyTorch's `interpolate` (bilinear, align_corners=False) does it. [side, side]
 */
export function stretched({ values, rows, columns }: HeatMap, side: number): Float32Array {
  const places = (extent: number) =>
    Array.from({ length: side }, (_, i) => {
      const at = Math.max(0, ((i + 0.5) * extent) / side - 0.5);
      const low = Math.min(extent - 1, Math.floor(at));
      return { low, high: Math.min(low + 1, extent - 1), part: at - low };
    });
  const across = places(columns);
  const result = new Float32Array(side * side);
  for (const [y, down] of places(rows).entries()) {
    const [upper, lower] = [down.low * columns, down.high * columns];
    for (const [x, { low, high, part }] of across.entries()) {
      const above = values[upper + low]! * (1 - part) + values[upper + high]! * part;
      const below = values[lower + low]! * (1 - part) + values[lower + high]! * part;
      result[y * side + x] = above * (1 - down.part) + below * down.part;
    }
  }
  return result;
}

/** How much of the image shines through the colours. */
const SEE_THROUGH = 0.45;

/** An image of `side` in shades of gray under the colours of a map, whose largest value is the lightest; black where it is 0. */
export function overlay(picture: Picture, map: HeatMap, side: number): Picture {
  const gray = toGray({ ...resized(picture, side), width: side, height: side }).pixels;
  const heat = stretched(map, side);
  const most = heat.reduce((a, b) => Math.max(a, b), 0);
  const result = new Uint8Array(side * side * 3);
  for (const [at, value] of heat.entries()) {
    const share = most > 0 ? value / most : 0;
    for (let c = 0; c < 3; c++) {
      result[3 * at + c] = Math.round(SEE_THROUGH * gray[at]! + (1 - SEE_THROUGH) * heatOf(share, c));
    }
  }
  return { pixels: result, side, channels: 3 };
}

const thirds = [
  ['the upper left', 'the top', 'the upper right'],
  ['the left', 'the middle', 'the right'],
  ['the lower left', 'the bottom', 'the lower right'],
] as const;

/** Which ninth of the image holds most of a map, in words, for those who do not see it. */
export function mostlyAt(map: HeatMap): string {
  const side = 48;
  const ninths = new Float64Array(9);
  for (const [at, value] of stretched(map, side).entries()) {
    const row = Math.floor(at / side / (side / 3));
    const column = Math.floor((at % side) / (side / 3));
    ninths[3 * row + column]! += value;
  }
  const all = ninths.reduce((a, b) => a + b, 0);
  if (!(all > 0)) return 'nowhere';
  const most = ninths.indexOf(Math.max(...ninths));
  return `mostly ${thirds[Math.floor(most / 3)]![most % 3]} (${inPercent(ninths[most]! / all, 0)})`;
}
