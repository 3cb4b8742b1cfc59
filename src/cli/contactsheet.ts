import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { ConfigError } from '../core/errors.ts';
import { counted } from '../core/words.ts';
import { writeFileAtomic } from '../data/atomic.ts';
import { AUGMENTATIONS, inputSide } from '../data/augment.ts';
import { loadDataset } from '../data/dataset.ts';
import { contactRows, contactSheetPng } from '../train/contactsheet.ts';
import { writable } from '../train/font.ts';
import { makeFolder } from '../train/runfolder.ts';
import { openAdapter } from './adapter.ts';
import { checkStored } from './defaults.ts';
import { howFar } from './howfar.ts';
import type { ContactSheetOptions } from './options.ts';
import { checkFile } from './outputs.ts';
import { printable } from './printable.ts';

/** `dawngrad contact-sheet`: what training images look like after augmentation, as a picture. */
export async function contactSheet(options: ContactSheetOptions): Promise<void> {
  const { data: source, store, size: given, channels, augment, mixup, seed, images, variants, out } = options;
  checkSheet(out);
  const data = await loadDataset({ data: source, seed, store: store ?? undefined, channels });
  checkStored(store, data.train.side);
  const set = data.train;
  const augmentation = AUGMENTATIONS[augment];
  const size = given ?? inputSide(augmentation, set.side);
  const gpu = await openAdapter(options.adapter);
  try {
    const shown = Math.min(images, set.count);
    const limit = gpu.maxTensorBytes;
    const perImage = 4 * size * size * set.channels;
    if (shown * perImage > limit)
      throw new ConfigError(
        `--images ${images}: at --size ${size} ${gpu.adapter.name} holds ${Math.floor(limit / perImage)} at once. Take fewer.`,
      );
    const rows = await contactRows(
      set,
      { augmentation, mixup, size, images: shown, variants, seed },
      howFar('variants'),
    );
    const resize = size === set.side ? `${size} px` : `${set.side} to ${size} px`;
    const title = `--augment ${augment}${mixup > 0 ? ` --mixup ${mixup}` : ''}, ${resize}`;
    const note = `${data.name}, seed ${seed}`;
    makeFolder(`--out ${out}`, dirname(out));
    writeFileAtomic(out, contactSheetPng(rows, { title, note, classes: data.classes }));
    const numbers = writable(data.classes);
    const numbered = data.classes.flatMap((name, k) => (numbers[k] === name ? [] : [`${numbers[k]} is ${name}`]));
    if (numbered.length > 0)
      console.error(printable(`The sheet has no letters for some names: ${numbered.join(', ')}.`));
    console.error(`${counted(shown, 'image')}, each drawn ${counted(variants, 'time')}: ${out}`);
  } finally {
    gpu.close();
  }
}

/** Refuses, before anything is read, a file that cannot be written. */
function checkSheet(out: string): void {
  if (!/\.png$/i.test(out)) throw new ConfigError(`--out ${out}: the sheet is a PNG. Give a name that ends in .png.`);
  if (existsSync(out)) throw new ConfigError(`--out ${out}: there is such a file already. Name a new one.`);
  checkFile(`--out ${out}`, out);
}
