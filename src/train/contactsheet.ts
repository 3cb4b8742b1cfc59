import { step } from '../core/step.ts';
import { setSeed } from '../core/stepbuffer.ts';
import type { Tensor } from '../core/tensor.ts';
import type { Augmentation } from '../data/augment.ts';
import { Batches } from '../data/batches.ts';
import type { ImageSet } from '../data/dataset.ts';
import { Pcg } from '../data/pcg.ts';
import { writable } from './font.ts';
import { inks, lineStep, type Picture, Sheet } from './sheet.ts';

export interface ContactOptions {
  augmentation: Augmentation;
  /** The α of mixup; 0 for none. */
  mixup: number;
  /** Side of the network's input. */
  size: number;
  /** Images, a row each. */
  images: number;
  /** How often each is drawn. */
  variants: number;
  seed: number;
}

/** One image, and what training would make of it. */
export interface ContactRow {
  label: number;
  /** As validation sees it. */
  plain: Picture;
  drawn: { picture: Picture; mixed: { label: number; share: number } | null }[];
}

/** Indices of `count` images, chosen by the seed: one of each class in turn, as long as there are some. */
export function chooseImages({ labels, count: all }: ImageSet, count: number, seed: number): number[] {
  const shuffled = [...new Pcg(seed, 1).shuffle(Uint32Array.from({ length: all }, (_, i) => i))];
  const seen = new Map<number, number>();
  const turns = shuffled.map((index) => {
    const label = labels[index]!;
    const turn = seen.get(label) ?? 0;
    seen.set(label, turn + 1);
    return { index, label, turn };
  });
  const sorted = turns.sort((a, b) => a.turn - b.turn || a.label - b.label);
  return sorted.slice(0, count).map(({ index }) => index);
}

/** Sees images of a set as validation does, and as training draws them in the first steps of a run. */
export async function contactRows(
  set: ImageSet,
  options: ContactOptions,
  onVariant: (done: number, of: number) => void = () => {},
): Promise<ContactRow[]> {
  const { augmentation, mixup, size, variants, seed } = options;
  const chosen = chooseImages(set, options.images, seed);
  const shared = { batch: chosen.length, size, normalisation: { mean: [0], std: [1] } };
  const plain = new Batches(set, { ...shared, framing: augmentation.framing });
  const drawing = new Batches(set, { ...shared, augmentation, mixup });
  const pictures = async (x: Tensor): Promise<Picture[]> => {
    const values = await x.read();
    const bytes = size * size * set.channels;
    return chosen.map((_, n) => {
      const pixels = new Uint8Array(bytes);
      for (let i = 0; i < bytes; i++) pixels[i] = Math.round(255 * values[n * bytes + i]!);
      return { pixels, side: size, channels: set.channels };
    });
  };
  setSeed(seed);
  const originals = await pictures(await step(() => plain.take(chosen).x));
  const rows: ContactRow[] = originals.map((picture, n) => ({
    ...{ label: set.labels[chosen[n]!]!, plain: picture, drawn: [] },
  }));
  for (let variant = 0; variant < variants; variant++) {
    const made = await step(() => {
      const { x, mixed } = drawing.take(chosen);
      return { x, others: mixed?.labels, shares: mixed?.share };
    });
    const others = await made.others?.readInts();
    const shares = await made.shares?.read();
    for (const [n, picture] of (await pictures(made.x)).entries()) {
      const mixed = others && shares ? { label: others[n]!, share: shares[n]! } : null;
      rows[n]!.drawn.push({ picture, mixed });
    }
    onVariant(variant + 1, variants);
  }
  return rows;
}

// In pixels.
const margin = 24;
const gap = 8;
/** Pictures are enlarged by whole steps to at least so much, and made smaller above the other. */
const [least, most] = [128, 256];

/**
 * Draws a row for each image: as validation sees it, then what was drawn. Returns a PNG file. `title` is its first line, `note` the
 * second; a class that the font has no letters for has its number.
 */
export function contactSheetPng(
  rows: readonly ContactRow[],
  { title, note, classes }: { title: string; note: string; classes: readonly string[] },
): Uint8Array {
  const { side } = rows[0]!.plain;
  const names = writable(classes);
  const tile = Math.min(most, side * Math.max(1, Math.ceil(least / side)));
  const mixes = rows.some(({ drawn }) => drawn.some(({ mixed }) => mixed));
  const columns = 1 + rows[0]!.drawn.length;
  const place = (column: number) => margin + column * (tile + gap) + (column > 0 ? 2 * gap : 0);
  const rowHeight = tile + lineStep + (mixes ? 2 * gap : gap);
  const heading = 3 * lineStep + gap;
  // Wide enough for the lines above too.
  const width = Math.max(640, place(columns) - gap + margin);
  const sheet = new Sheet(width, 2 * margin + heading + rows.length * rowHeight - gap);
  const inner = width - 2 * margin;
  sheet.text(title, margin, margin, inner);
  sheet.text(note, margin, margin + lineStep, inner, inks.muted);
  sheet.text('validation', place(0), margin + 2 * lineStep + gap, tile, inks.right);
  sheet.text('training', place(1), margin + 2 * lineStep + gap, inner - tile, inks.right);
  for (const [r, { label, plain, drawn }] of rows.entries()) {
    const top = margin + heading + r * rowHeight;
    sheet.picture(plain, place(0), top, tile);
    sheet.text(names[label]!, place(0), top + tile + 4, tile);
    for (const [v, { picture, mixed }] of drawn.entries()) {
      sheet.picture(picture, place(v + 1), top, tile);
      if (!mixed) continue;
      const text = `${Math.round(100 * (1 - mixed.share))}% ${names[mixed.label]!}`;
      sheet.text(mixed.share > 0.995 ? 'alone' : text, place(v + 1), top + tile + 4, tile, inks.muted);
    }
  }
  return sheet.encode();
}
