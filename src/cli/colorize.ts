import { existsSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { ConfigError, DataError } from '../core/errors.ts';
import { counted } from '../core/nearest.ts';
import { writeFileAtomic } from '../data/atomic.ts';
import { encodePng } from '../data/encode.ts';
import { imagesBelow } from '../data/find.ts';
import { decodeImage, type Image } from '../data/image.ts';
import { colorizeImages, colourBytes, loadColorizer, saveColorizer, trainColorizer } from '../train/colorize.ts';
import { makeFolder } from '../train/runfolder.ts';
import { openAdapter } from './adapter.ts';
import type { ColorizeOptions } from './options.ts';
import { checkOutputs, outputOf } from './outputs.ts';

/** Images that go through the network at once. */
const BATCH = 16;

/** `dawngrad colorize`: trains a colouriser on colour images, or gives gray images colours with one. */
export function colorize(options: ColorizeOptions): Promise<void> {
  return options.train === null ? paint(options) : train(options, options.train);
}

async function train(options: ColorizeOptions, folder: string): Promise<void> {
  const { model: path, size, width, epochs, batch, lr, seed, limit, adapter } = options;
  if (existsSync(path)) throw new ConfigError(`--model ${path}: there is such a file already. Name a new one.`);
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory())
    throw new DataError(`--train ${folder}: no such folder. Give a folder of colour images.`);
  const images: Uint8Array[] = [];
  let seen = 0;
  for (const file of imagesBelow(folder)) {
    if (images.length === limit) break;
    seen++;
    const bytes = colourBytes(await decodeImage(readFileSync(file), file), size);
    if (bytes) images.push(bytes);
  }
  if (images.length === 0)
    throw new DataError(
      `--train ${folder}: ${seen > 0 ? `all of its ${seen} images are gray` : 'it holds no PNG or JPEG images'}. Give colour ones.`,
    );
  const gpu = await openAdapter(adapter);
  try {
    console.error(
      `${folder}: ${images.length} colour images${seen > images.length ? `, ${seen - images.length} gray ones left out` : ''}`,
    );
    const onEpoch = (epoch: number, loss: number) => console.error(`epoch ${epoch}/${epochs}  loss ${loss.toFixed(5)}`);
    const model = await trainColorizer(images, {
      size,
      width,
      epochs,
      batch: Math.min(batch, images.length),
      lr,
      seed,
      onEpoch,
    });
    await saveColorizer(path, model, { size, width, seed });
    console.error(`Saved: ${path}`);
  } finally {
    gpu.close();
  }
}

async function paint({ model: path, paths, adapter }: ColorizeOptions): Promise<void> {
  const [from, to] = paths as [string, string];
  const stats = statSync(from, { throwIfNoEntry: false });
  if (!stats) throw new DataError(`${from}: no such file or folder. Give a PNG or JPEG image, or a folder of them.`);
  const files = stats.isDirectory() ? [...imagesBelow(from)] : [from];
  if (files.length === 0) throw new DataError(`${from}: holds no PNG or JPEG images.`);
  if (!stats.isDirectory() && !/\.png$/i.test(to))
    throw new ConfigError(`colorize: OUT ${to}: what is written is a PNG. Give a name that ends in .png.`);
  const target = (file: string) => (stats.isDirectory() ? outputOf(file, from, to) : to);
  const folder = stats.isDirectory() ? to : dirname(to);
  checkOutputs('colorize: OUT', folder, files.map(target));
  const gpu = await openAdapter(adapter);
  try {
    const { model, size } = loadColorizer(path);
    makeFolder(`colorize: OUT ${folder}`, folder);
    for (let n = 0; n < files.length; n += BATCH) {
      const batch = files.slice(n, n + BATCH);
      const images: Image[] = [];
      for (const file of batch) images.push(await decodeImage(readFileSync(file), file));
      for (const [i, image] of (await colorizeImages(model, images, size)).entries()) {
        const file = target(batch[i]!);
        mkdirSync(dirname(file), { recursive: true });
        writeFileAtomic(file, encodePng(image));
      }
    }
    console.error(`${counted(files.length, 'image')} coloured: ${to}`);
  } finally {
    gpu.close();
  }
}
