import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { ConfigError, DataError, isUserError } from '../core/errors.ts';
import { counted } from '../core/words.ts';
import { writeFileAtomic } from '../data/atomic.ts';
import { encodePng } from '../data/encode.ts';
import type { Image } from '../data/image.ts';
import {
  checkColorizerFits,
  colorizeImage,
  colourBytes,
  loadColorizer,
  rehearseColours,
  saveColorizer,
  seenAs,
  trainColorizer,
} from '../train/colorize.ts';
import { DivergenceError } from '../train/divergence.ts';
import { makeFolder } from '../train/runfolder.ts';
import { openAdapter } from './adapter.ts';
import { imagesIn, readImage } from './images.ts';
import { onInterrupt } from './interrupt.ts';
import { prepareRemembered } from './kernels.ts';
import type { ColorizeOptions } from './options.ts';
import { checkFile, checkOutputs, outputOf } from './outputs.ts';
import { complaint } from './printable.ts';

/** `dawngrad colorize`: trains a colouriser on colour images, or gives gray images colours with one. */
export function colorize(options: ColorizeOptions): Promise<void> {
  return options.train === null ? paint(options) : train(options, options.train);
}

async function train(options: ColorizeOptions, folder: string): Promise<void> {
  const { model: path, size, width, epochs, lr, seed, limit, adapter } = options;
  if (existsSync(path)) throw new ConfigError(`--model ${path}: there is such a file already. Name a new one.`);
  checkFile(`--model ${path}`, path);
  const images: Uint8Array[] = [];
  let seen = 0;
  for (const file of imagesIn(folder)) {
    if (images.length === limit) break;
    seen++;
    const bytes = colourBytes(await readImage(file), size);
    if (bytes) images.push(bytes);
  }
  if (images.length === 0)
    throw new DataError(`--train ${folder}: all of its ${seen} images are gray. Give colour ones.`);
  const batch = Math.min(options.batch, images.length);
  const gpu = await openAdapter(adapter);
  const interrupt = onInterrupt('Stopping before the next step, and saving what was learnt so far.');
  try {
    checkColorizerFits(gpu, { size, width, seed, batch });
    makeFolder(`--model ${path}`, dirname(path));
    console.error(
      `${folder}: ${images.length} colour images${seen > images.length ? `, ${seen - images.length} gray ones left out` : ''}`,
    );
    const onEpoch = (epoch: number, loss: number) => console.error(`epoch ${epoch}/${epochs}  loss ${loss.toFixed(5)}`);
    const { model, steps, perEpoch, finished } = await trainColorizer(images, {
      ...{ size, width, epochs, batch, lr, seed, onEpoch },
      interrupted: interrupt.requested,
      prepare: (body) => prepareRemembered(gpu, body),
    });
    if (steps === 0) {
      console.error('Stopped before the first step: nothing was learnt, and nothing is saved.');
      return;
    }
    if (!finished) console.error(`Stopped after ${steps} of ${epochs * perEpoch} steps (${perEpoch} an epoch).`);
    await saveColorizer(path, model, { size, width, seed });
    console.error(`Saved: ${path}`);
  } catch (error) {
    if (!(error instanceof DivergenceError)) throw error;
    console.error(error.message);
    process.exitCode = 1;
  } finally {
    interrupt.release();
    gpu.close();
  }
}

/** What cannot be read is named on stderr, and the rest is painted; the exit code is then 2. */
async function paint({ model: path, paths, adapter }: ColorizeOptions): Promise<void> {
  const [from, to] = paths as [string, string];
  const files = imagesIn(from, true);
  const single = files[0] === from;
  if (single && !/\.png$/i.test(to))
    throw new ConfigError(`colorize: OUT ${to}: what is written is a PNG. Give a name that ends in .png.`);
  const target = (file: string) => (single ? to : outputOf(file, from, to));
  checkOutputs('colorize: OUT', single ? dirname(to) : to, files.map(target));
  const gpu = await openAdapter(adapter);
  try {
    const { model, size } = loadColorizer(path);
    let painted = 0;
    const prepared = new Set<string>();
    for (const file of files) {
      const image = await readable(file);
      if (!image) continue;
      const seen = seenAs(image, size);
      const extents = `${seen.width}×${seen.height}`;
      if (!prepared.has(extents)) await prepareRemembered(gpu, () => rehearseColours(model, seen));
      prepared.add(extents);
      const output = target(file);
      makeFolder(`colorize: OUT ${dirname(output)}`, dirname(output));
      writeFileAtomic(output, encodePng(await colorizeImage(model, image, size)));
      painted++;
    }
    if (painted > 0) console.error(`${counted(painted, 'image')} coloured: ${to}`);
    if (painted === files.length) return;
    if (files.length > 1)
      console.error(`dawngrad: ${files.length - painted} of ${files.length} could not be read; the rest is done.`);
    process.exitCode = 2;
  } finally {
    gpu.close();
  }
}

/** Null for what cannot be read; that is told. */
async function readable(file: string): Promise<Image | null> {
  try {
    return await readImage(file);
  } catch (error) {
    if (!isUserError(error)) throw error;
    console.error(complaint(error.message));
    return null;
  }
}
