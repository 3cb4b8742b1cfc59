import { readFileSync, statSync } from 'node:fs';
import { DataError, isUserError } from '../core/errors.ts';
import type { ImageSet } from '../data/dataset.ts';
import { imagesBelow } from '../data/find.ts';
import { fitSquare } from '../data/folder.ts';
import { decodeImage, toRgb } from '../data/image.ts';
import type { Gpu } from '../gpu/gpu.ts';
import { openGpu } from '../gpu/node.ts';
import type { Module } from '../nn/index.ts';
import { Judge } from '../train/judge.ts';
import { buildModel, type ModelFile, readModelFile } from '../train/modelfile.ts';
import type { PredictOptions } from './options.ts';

/** Images that go through the network at once. */
const BATCH = 32;
/** Images that are decoded, judged and printed before the next ones are looked at. */
const PORTION = 16 * BATCH;
/** Up to so many images get a table each, more a line each. */
const FEW = 4;
/** Classes on such a line. */
const SHOWN = 3;

/**
 * What `predict --json` prints is a list of these, in the order in which the images were given or found: probabilities by
 * class name, most probable first; or why there are none.
 */
export type Prediction =
  | { image: string; prediction: string; probability: number; probabilities: Record<string, number> }
  | { image: string; error: string };

/**
 * `dawngrad predict`: class probabilities of images. What cannot be read is named on stderr, and the rest is done; the exit
 * code is then 2.
 */
export async function predict({ model: path, images, adapter, json }: PredictOptions): Promise<void> {
  const file = readModelFile(path);
  const found = images.flatMap(imagesIn);
  const all: Prediction[] = [];
  let failures = 0;
  let opened: { gpu: Gpu; model: Module } | null = null;
  try {
    for (let from = 0; from < found.length; from += PORTION) {
      const portion: (Decoded | Failed)[] = [];
      for (const item of found.slice(from, from + PORTION)) portion.push(await decode(item, file.facts));
      const readable = portion.filter((item) => 'pixels' in item);
      if (readable.length > 0 && !opened) {
        const gpu = await openGpu({ adapter });
        console.error(gpu.adapter.why);
        opened = { gpu, model: buildModel(file) };
      }
      const shares = opened ? await judge(opened.model, readable, file.facts) : [];
      for (const item of portion) {
        if ('pixels' in item) {
          const ranked = rank(file.facts.classes, shares.shift()!);
          if (json) all.push(named(item.image, ranked));
          else console.log((found.length > FEW ? line : table)(item.image, ranked));
        } else {
          failures++;
          all.push(item);
          console.error(`dawngrad: ${item.error}`);
        }
      }
    }
    if (json) console.log(JSON.stringify(all, null, 2));
  } finally {
    opened?.gpu.close();
  }
  if (failures === 0) return;
  if (found.length > 1) console.error(`dawngrad: ${failures} of ${found.length} could not be read; the rest is above.`);
  process.exitCode = 2;
}

interface Found {
  image: string;
  error?: string;
}

/** The path itself, or the PNG and JPEG files (by their names) anywhere below a folder, in the order of their names. */
function imagesIn(path: string): Found[] {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (!stats) return [{ image: path, error: `${path}: no such file or folder. Give images, or folders of them.` }];
  if (!stats.isDirectory()) return [{ image: path }];
  const files = [...imagesBelow(path)];
  if (files.length === 0) return [{ image: path, error: `${path}: holds no PNG or JPEG images.` }];
  return files.map((image) => ({ image }));
}

interface Decoded {
  image: string;
  pixels: Uint8Array;
}

interface Failed {
  image: string;
  error: string;
}

/** Reads an image in the form in which the network's training images were stored. */
async function decode({ image, error }: Found, facts: ModelFile['facts']): Promise<Decoded | Failed> {
  const { storedSide, storedChannels } = facts;
  try {
    if (error !== undefined) throw new DataError(error);
    const fitted = fitSquare(await decodeImage(readFileSync(image), image), storedSide, storedChannels);
    return { image, pixels: (storedChannels === 3 ? toRgb(fitted) : fitted).pixels };
  } catch (failure) {
    // What the system says of a file that cannot be read names it too.
    if (!isUserError(failure) && !(failure instanceof Error && 'code' in failure)) throw failure;
    return { image, error: failure.message };
  }
}

async function judge(model: Module, images: readonly Decoded[], facts: ModelFile['facts']): Promise<Float32Array[]> {
  if (images.length === 0) return [];
  const { storedSide: side, storedChannels, options, normalisation } = facts;
  const pixels = new Uint8Array(images.length * side * side * storedChannels);
  for (const [i, image] of images.entries()) pixels.set(image.pixels, i * image.pixels.length);
  const labels = new Uint8Array(images.length);
  const set: ImageSet = { pixels, labels, count: images.length, side, channels: storedChannels };
  const { size, channels } = options;
  const judge = new Judge(set, { batch: BATCH, size, channels, normalisation });
  try {
    return await judge.probabilities(model);
  } finally {
    judge.release();
  }
}

type Ranked = readonly (readonly [name: string, share: number])[];

const rank = (classes: readonly string[], shares: Float32Array): Ranked =>
  classes.map((name, label) => [name, shares[label]!] as const).sort((a, b) => b[1] - a[1]);

function named(image: string, ranked: Ranked): Prediction {
  const [prediction, probability] = ranked[0]!;
  return { image, prediction, probability, probabilities: Object.fromEntries(ranked) };
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

function table(image: string, ranked: Ranked): string {
  const width = Math.max(...ranked.map(([name]) => name.length));
  const rows = ranked.map(([name, share]) =>
    `  ${name.padEnd(width)}  ${percent(share).padStart(7)}  ${'█'.repeat(Math.round(40 * share))}`.trimEnd(),
  );
  return [image, ...rows].join('\n');
}

const line = (image: string, ranked: Ranked): string => {
  const shown = ranked.slice(0, SHOWN).map(([name, share]) => `${name} ${percent(share)}`);
  return `${image}: ${shown.join(', ')}`;
};
