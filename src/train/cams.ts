import { rehearse, step } from '../core/step.ts';
import { type Framing, shownSquare } from '../data/augment.ts';
import { Batches, type BatchOptions } from '../data/batches.ts';
import { type ImageSet, pixelsOf } from '../data/dataset.ts';
import type { Network } from '../models/index.ts';
import { type GradCamOptions, gradCam } from './gradcam.ts';
import type { HeatMap } from './heat.ts';
import type { Picture } from './sheet.ts';

/** An image of a set, and the class that is looked for in it. */
export interface Wanted {
  index: number;
  label: number;
}

export interface HeatMapOptions extends Omit<BatchOptions, 'augmentation'>, Pick<GradCamOptions, 'least'> {
  /** Called before the first batch with what goes through one on the host alone, for who looks for kernels. */
  prepare?(body: () => void): Promise<void>;
}

/** Grad-CAM of some images of a set, for a class each; see `gradCam`. An image may be asked for more than once. */
export async function heatMapsOf(
  model: Network,
  set: ImageSet,
  wanted: readonly Wanted[],
  { least, prepare, ...options }: HeatMapOptions,
): Promise<HeatMap[]> {
  if (wanted.length === 0) return [];
  const batch = Math.min(options.batch, wanted.length);
  const batches = new Batches(chosen(set, wanted), { ...options, batch });
  const mapsOf = (places: readonly number[], classes: readonly number[]) => {
    const { x } = batches.take(places);
    return gradCam(model, x, { classes, ...(least !== undefined && { least }) }).maps;
  };
  const noClasses = new Array<number>(batch).fill(0);
  await prepare?.(() => rehearse(() => mapsOf([], noClasses)));
  const all: HeatMap[] = [];
  for (let first = 0; first < wanted.length; first += batch) {
    const places = Array.from({ length: Math.min(batch, wanted.length - first) }, (_, i) => first + i);
    const classes = Array.from({ length: batch }, (_, i) => wanted[first + i]?.label ?? 0);
    const maps = await step(() => mapsOf(places, classes));
    const [, rows, columns] = maps.shape as [number, number, number];
    const values = await maps.read();
    for (const i of places.keys()) {
      all.push({ values: values.slice(i * rows * columns, (i + 1) * rows * columns), rows, columns });
    }
  }
  return all;
}

/** The part of a picture that the network is shown of it, where it is stored at `stored` pixels: what its maps lie over. */
export function shownPart(picture: Picture, framing: Framing = 'whole', stored = picture.side): Picture {
  const { pixels, side: own, channels } = picture;
  const { first, window } = shownSquare(framing, stored);
  const [from, side] = [first, window].map((at) => Math.round((at * own) / stored)) as [number, number];
  const part = new Uint8Array(side * side * channels);
  for (let row = 0; row < side; row++) {
    const start = ((from + row) * own + from) * channels;
    part.set(pixels.subarray(start, start + side * channels), row * side * channels);
  }
  return { pixels: part, side, channels };
}

function chosen(set: ImageSet, wanted: readonly Wanted[]): ImageSet {
  const size = set.side * set.side * set.channels;
  const pixels = new Uint8Array(wanted.length * size);
  for (const [i, { index }] of wanted.entries()) pixels.set(pixelsOf(set, index), i * size);
  return { ...set, pixels, labels: Uint8Array.from(wanted, ({ label }) => label), count: wanted.length };
}
