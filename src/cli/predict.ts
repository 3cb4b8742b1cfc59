import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { DataError, isUserError } from '../core/errors.ts';
import type { ImageSet } from '../data/dataset.ts';
import { fitSquare } from '../data/folder.ts';
import { decodeImage, toRgb } from '../data/image.ts';
import { openGpu } from '../gpu/node.ts';
import { Judge } from '../train/judge.ts';
import { loadModel, type ModelFacts } from '../train/modelfile.ts';
import type { PredictOptions } from './options.ts';

/** Images that go through the network at once. */
const BATCH = 32;
/** From this many images on, each gets one line. */
const MANY = 4;

/** One element of what `predict --json` prints: probabilities by class name, or why there are none. */
export type Prediction =
  | { image: string; prediction: string; probability: number; probabilities: Record<string, number> }
  | { image: string; error: string };

/** `dawngrad predict`: class probabilities of images. Those that cannot be read are named, and the others done. */
export async function predict({ model: path, images, adapter, json }: PredictOptions): Promise<void> {
  const files = images.flatMap(imagesIn);
  const gpu = await openGpu({ adapter });
  try {
    console.error(gpu.adapter.why);
    const { model, facts } = loadModel(path);
    const { set, readable, failures } = await decode(files, facts);
    const predictions: Prediction[] = [];
    if (set.count > 0) {
      const { size, channels } = facts.options;
      const judge = new Judge(set, { batch: BATCH, size, channels, normalisation: facts.normalisation });
      const all = await judge.probabilities(model);
      for (const [i, values] of all.entries()) predictions.push(named(readable[i]!, values, facts.classes));
    }
    for (const [image, error] of failures) predictions.push({ image, error });
    if (json) console.log(JSON.stringify(predictions, null, 2));
    else for (const line of predictions.flatMap(shown(predictions.length))) console.log(line);
    for (const error of failures.values()) console.error(`dawngrad: ${error}`);
    if (failures.size > 0) process.exitCode = 2;
  } finally {
    gpu.close();
  }
}

/** The path itself, or the PNG and JPEG files below a folder, in the order of their names. */
function imagesIn(path: string): string[] {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (!stats) throw new DataError(`${path}: no such file or folder. Give images, or folders of them.`);
  if (!stats.isDirectory()) return [path];
  const files = readdirSync(path, { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.(png|jpe?g)$/i.test(name))
    .sort()
    .map((name) => join(path, name));
  if (files.length === 0) throw new DataError(`${path}: holds no PNG or JPEG images.`);
  return files;
}

/** What the system says of a file (no permission, a folder called x.png) is the user's to mend. */
function bytesOf(file: string): Uint8Array {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new DataError(
      `${file}: cannot be read (${(error as Error).message}). Check that it is a file and may be read.`,
    );
  }
}

/** Decodes images to the form that the network was trained on; what cannot be decoded is kept with its reason. */
async function decode(files: readonly string[], { options, storedSide }: ModelFacts) {
  const { channels } = options;
  const decoded: Uint8Array[] = [];
  const readable: string[] = [];
  const failures = new Map<string, string>();
  for (const file of files) {
    try {
      const image = fitSquare(await decodeImage(bytesOf(file), file), storedSide, channels);
      decoded.push((channels === 3 ? toRgb(image) : image).pixels);
      readable.push(file);
    } catch (error) {
      if (!isUserError(error)) throw error;
      failures.set(file, error.message);
    }
  }
  const pixels = new Uint8Array(decoded.length * storedSide * storedSide * channels);
  for (const [i, image] of decoded.entries()) pixels.set(image, i * image.length);
  const set: ImageSet = {
    pixels,
    labels: new Uint8Array(decoded.length),
    count: decoded.length,
    side: storedSide,
    channels,
  };
  return { set, readable, failures };
}

function named(image: string, values: Float32Array, classes: readonly string[]): Prediction {
  const ranked = classes.map((name, c) => [name, values[c]!] as const).sort((a, b) => b[1] - a[1]);
  const [prediction, probability] = ranked[0]!;
  return { image, prediction, probability, probabilities: Object.fromEntries(ranked) };
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`.padStart(7);

/** A line for each of many images, a small table for each of few. */
const shown = (count: number) => (prediction: Prediction) => {
  if (!('prediction' in prediction)) return [];
  const { image, probabilities } = prediction;
  // Sorted again: an object puts keys such as "3" first, whatever their order was.
  const ranked = Object.entries(probabilities).sort((a, b) => b[1] - a[1]);
  if (count > MANY)
    return `${image}: ${ranked
      .slice(0, 3)
      .map(([name, share]) => `${name} ${percent(share).trim()}`)
      .join(', ')}`;
  return [
    image,
    ...ranked.map(([name, share]) => `  ${percent(share)}  ${'█'.repeat(Math.round(20 * share)).padEnd(20)} ${name}`),
  ].join('\n');
};
