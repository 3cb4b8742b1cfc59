import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { columns, padEnd } from '../core/columns.ts';
import { isUserError } from '../core/errors.ts';
import { inPercent } from '../core/words.ts';
import { writeFileAtomic } from '../data/atomic.ts';
import type { ImageSet } from '../data/dataset.ts';
import { fitSquare } from '../data/folder.ts';
import { cropSquare, toRgb } from '../data/image.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { Network } from '../models/index.ts';
import { heatMapsOf, shownPart } from '../train/cams.ts';
import { inputOf, unlabelled } from '../train/classify.ts';
import { Evaluator } from '../train/evaluator.ts';
import { overlay } from '../train/heat.ts';
import { buildModel, type ModelFile, readModelFile } from '../train/modelfile.ts';
import { makeFolder } from '../train/runfolder.ts';
import { picturePng } from '../train/sheet.ts';
import type { Tta } from '../train/tta.ts';
import { openAdapter } from './adapter.ts';
import { imagesIn, readImage } from './images.ts';
import { prepareRemembered } from './kernels.ts';
import type { PredictOptions } from './options.ts';
import { checkOutputs, outputOf } from './outputs.ts';
import { complaint, printable } from './printable.ts';
import { ttaOf } from './tta.ts';

/** Images that go through the network at once. */
const BATCH = 32;
/** Images that are decoded, classified and printed before the next ones are looked at. */
const PORTION = 16 * BATCH;
/** Up to so many images get a table each, more a line each. */
const FEW = 4;
/** Classes on such a line. */
const SHOWN = 3;
/** Sides of what `--cam` writes, in pixels: smaller images are enlarged by whole steps, larger ones shrunk. */
const SMALLEST = 192;
const LARGEST = 768;

/**
 * What `predict --json` prints is a list of these, in the order in which the images were given or found: probabilities by
 * class name, of which `prediction` has the highest; or why there are none.
 */
export type Prediction =
  | {
      image: string;
      prediction: string;
      probability: number;
      probabilities: Record<string, number>;
      /** With `--cam`: the file in which it lies under Grad-CAM. */
      cam?: string;
    }
  | { image: string; error: string };

/**
 * `dawngrad predict`: class probabilities of images. What cannot be read is named on stderr, and the rest is done; the exit
 * code is then 2.
 */
export async function predict(options: PredictOptions): Promise<void> {
  const { model: path, images, adapter, json, cam, camMaps } = options;
  const file = readModelFile(path);
  const { tta } = ttaOf(options.tta, file.facts);
  const found = images.flatMap((given) => find(given, cam));
  if (cam !== null)
    checkOutputs(
      '--cam',
      cam,
      found.flatMap(({ output }) => output ?? []),
    );
  const all: Prediction[] = [];
  let failures = 0;
  let opened: Opened | null = null;
  try {
    for (let from = 0; from < found.length; from += PORTION) {
      const portion: (Decoded | Failed)[] = [];
      for (const item of found.slice(from, from + PORTION))
        portion.push('error' in item ? item : await decode(item, file.facts));
      const readable = portion.filter((item) => 'pixels' in item);
      if (readable.length > 0 && !opened) {
        const gpu = await openAdapter(adapter);
        opened = { gpu, model: buildModel(file) };
        if (cam !== null) makeFolder(`--cam ${cam}`, cam);
      }
      const shares = opened ? await classify(opened, readable, file.facts, tta) : [];
      if (opened && cam !== null) await draw(opened, readable, shares, file.facts, camMaps);
      for (const item of portion) {
        if ('pixels' in item) {
          const ranked = rank(file.facts.classes, shares.shift()!);
          if (json) all.push(named(item, ranked));
          else console.log((found.length > FEW ? line : table)(item.image, ranked).map(printable).join('\n'));
        } else {
          failures++;
          all.push(item);
          console.error(complaint(item.error));
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

interface Opened {
  gpu: Gpu;
  model: Network;
}

interface Found {
  image: string;
  /** Where the image under Grad-CAM goes. */
  output?: string;
}

interface Decoded extends Found {
  pixels: Uint8Array;
}

interface Failed {
  image: string;
  output?: undefined;
  error: string;
}

/** The images that a path leads to. */
function find(path: string, cam: string | null): (Found | Failed)[] {
  try {
    return imagesIn(path, cam === null).map((image) => ({
      image,
      ...(cam !== null && { output: outputOf(image, path, cam) }),
    }));
  } catch (error) {
    return [failed(path, error)];
  }
}

/** Reads an image in the form in which the network's training images were stored. */
async function decode(found: Found, facts: ModelFile['facts']): Promise<Decoded | Failed> {
  const { storedSide, storedChannels } = facts;
  try {
    const fitted = fitSquare(await readImage(found.image), storedSide, storedChannels);
    return { ...found, pixels: (storedChannels === 3 ? toRgb(fitted) : fitted).pixels };
  } catch (error) {
    return failed(found.image, error);
  }
}

function failed(image: string, error: unknown): Failed {
  if (!isUserError(error)) throw error;
  return { image, error: error.message };
}

const setOf = (images: readonly Decoded[], facts: ModelFile['facts']): ImageSet =>
  unlabelled(
    images.map(({ pixels }) => pixels),
    facts,
  );

async function classify(
  { gpu, model }: Opened,
  images: readonly Decoded[],
  facts: ModelFile['facts'],
  tta: Tta | undefined,
): Promise<Float64Array[]> {
  if (images.length === 0) return [];
  const evaluator = new Evaluator(setOf(images, facts), { ...inputOf(facts, BATCH), tta });
  await prepareRemembered(gpu, () => evaluator.rehearse(model));
  return evaluator.probabilities(model);
}

/** Writes each image under Grad-CAM of what it was taken for. */
async function draw(
  { gpu, model }: Opened,
  images: readonly Decoded[],
  shares: readonly Float64Array[],
  facts: ModelFile['facts'],
  least: number | null,
): Promise<void> {
  const wanted = shares.map((of, index) => ({ index, label: of.indexOf(Math.max(...of)) }));
  const maps = await heatMapsOf(model, setOf(images, facts), wanted, {
    ...inputOf(facts, BATCH),
    ...(least !== null && { least }),
    prepare: (body) => prepareRemembered(gpu, body),
  });
  for (const [i, { image, output }] of images.entries()) {
    // The network sees it small; a person need not.
    const square = cropSquare(await readImage(image));
    const shown = shownPart({ ...square, side: square.width }, inputOf(facts, BATCH).framing, facts.storedSide);
    const side = Math.min(LARGEST, shown.side * Math.max(1, Math.ceil(SMALLEST / shown.side)));
    const drawn = overlay(shown, maps[i]!, side);
    mkdirSync(dirname(output!), { recursive: true });
    writeFileAtomic(output!, picturePng(drawn));
  }
}

type Ranked = readonly (readonly [name: string, share: number])[];

const rank = (classes: readonly string[], shares: Float64Array): Ranked =>
  classes.map((name, label) => [name, shares[label]!] as const).sort((a, b) => b[1] - a[1]);

function named({ image, output }: Decoded, ranked: Ranked): Prediction {
  const [prediction, probability] = ranked[0]!;
  const probabilities = Object.fromEntries(ranked);
  return { image, prediction, probability, probabilities, ...(output && { cam: output }) };
}

function table(image: string, ranked: Ranked): string[] {
  const width = Math.max(...ranked.map(([name]) => columns(name)));
  const rows = ranked.map(([name, share]) =>
    `  ${padEnd(name, width)}  ${inPercent(share).padStart(7)}  ${'█'.repeat(Math.round(40 * share))}`.trimEnd(),
  );
  return [image, ...rows];
}

const line = (image: string, ranked: Ranked): string[] => {
  const shown = ranked.slice(0, SHOWN).map(([name, share]) => `${name} ${inPercent(share)}`);
  return [`${image}: ${shown.join(', ')}`];
};
