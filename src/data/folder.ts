import { createHash } from 'node:crypto';
import { type Dirent, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { DataError } from '../core/errors.ts';
import { checkEncoding, specialKind } from './find.ts';
import { cropSquare, decodeImage, type Image, resizeImage, toGray, toRgb } from './image.ts';
import { emotions, PRIVATE_TEST, PUBLIC_TEST, RowBuffer, type Rows, TRAINING, usageNames } from './rows.ts';

/** What the folders beside `train` may be called, and which usage their images have when no prefix says otherwise. */
const partFolders: Record<string, number> = {
  train: TRAINING,
  training: TRAINING,
  valid: PUBLIC_TEST,
  validation: PUBLIC_TEST,
  val: PUBLIC_TEST,
  test: PRIVATE_TEST,
  testing: PRIVATE_TEST,
};

/** The images of a folder, found but not yet read. */
export interface FolderListing {
  path: string;
  classes: string[];
  /** Path below `path`, with '/' on every system; sorted. */
  files: { file: string; label: number; usage: number }[];
  partNames: [string, string];
  /** Hash over names, sizes and times: changes when a file comes, goes or is written. */
  signature: string;
}

/**
 * Finds the images of a folder of class folders: plain (`angry/x.png`), or below `train/` with `valid/` or `test/`
 * beside it. The file-name prefixes of Kaggle's FER2013 folders, `Training_`, `PublicTest_` and `PrivateTest_`, give the split in
 * plain class folders, and divide a `test/` that has no `valid/` beside it; elsewhere the folder does.
 *
 * Labels follow the sorted folder names; FER2013's seven names get FER2013's labels, so that folder and CSV go with the
 * same model. `classes`, a model's, fixes the labels instead, and then classes may be absent.
 * Throws DataError for no or empty class folders, for two whose names differ in case alone, for what is neither file nor folder in them,
 * for names that are not UTF-8, and for classes that `classes` does not have.
 */
export function listFolder(path: string, classes?: string[]): FolderListing {
  const top = entriesOf(path).filter((entry) => isFolder(path, entry));
  const parts = top.filter((entry) => Object.hasOwn(partFolders, entry.name.toLowerCase()));
  const roots =
    parts.length > 0
      ? parts.map((entry) => ({ below: `${entry.name}/`, usage: partFolders[entry.name.toLowerCase()]! }))
      : [{ below: '', usage: TRAINING }];
  if (parts.length > 0 && parts.length < top.length) {
    const stray = top.find((entry) => !parts.includes(entry))!;
    throw new DataError(
      `${join(path, stray.name)}: a folder beside ${parts[0]!.name}/ that is no split. Expected train, valid or test; move or remove it.`,
    );
  }

  const apart = roots.some(({ usage }) => usage === PUBLIC_TEST);

  const found: { file: string; className: string; usage: number }[] = [];
  const partNames: [string, string] = ['PublicTest', 'PrivateTest'];
  const siblings: { folder: string; names: string[] }[] = [];
  for (const { below, usage } of roots) {
    const folder = join(path, below);
    const classFolders = entriesOf(folder).filter((entry) => isFolder(folder, entry));
    if (classFolders.length === 0) {
      throw new DataError(
        `${folder}: no class folders in it. Expected a folder for each class, such as happy/ and sad/, with PNG or JPEG images.`,
      );
    }
    siblings.push({ folder, names: classFolders.map(({ name }) => name) });
    for (const { name: className } of classFolders) {
      const images = imagesOf(join(folder, className));
      for (const file of images) {
        const prefixed = usageNames.findIndex((name) => file.startsWith(`${name}_`));
        const byName = below === '' ? prefixed >= 0 : usage === PRIVATE_TEST && !apart && prefixed > 0;
        if (!byName && usage !== TRAINING) partNames[usage - 1] = below.slice(0, -1);
        found.push({ file: `${below}${className}/${file}`, className, usage: byName ? prefixed : usage });
      }
    }
  }
  // 'Angry' in train/ and 'angry' in test/ are one class.
  const names = [...new Map(found.map(({ className }) => [comparable(className), className])).values()].sort();
  const labels = classes ?? orderClasses(names);
  if (labels.length > 256) throw new DataError(`${path}: ${labels.length} class folders; expected at most 256.`);
  const unknown = names.find((name) => labelOf(labels, name) < 0);
  if (unknown !== undefined) {
    throw new DataError(`${join(path, unknown)}: a class that the model does not have. Expected ${labels.join(', ')}.`);
  }
  for (const { folder, names } of siblings) checkDistinct(folder, names, labels);

  const files = found
    .map(({ file, className, usage }) => ({ file, label: labelOf(labels, className), usage }))
    .sort((a, b) => (a.file < b.file ? -1 : 1));
  const hash = createHash('sha256');
  for (const { file } of files) {
    const name = join(path, file);
    const stats = statSync(name);
    const special = specialKind(stats);
    if (special !== null) throw new DataError(`${name}: ${special}, not a regular file. Remove it.`);
    const { size, mtimeMs, ctimeMs } = stats;
    hash.update(`${file} ${size} ${mtimeMs} ${ctimeMs}\n`);
  }
  return { path, classes: labels, files, partNames, signature: hash.digest('hex') };
}

/**
 * Reads a listing's images, cut to their middle square and resized to `store` a side.
 * With `channels` 3 the set is stored in colour from the first coloured image on, and gray if there is none.
 * Throws DataError, beginning with the file, at the first one that is no readable image, and for more than fit into an array.
 */
export async function readFolder(listing: FolderListing, store: number, channels: 1 | 3): Promise<Rows> {
  const { path, classes, files, partNames } = listing;
  let rows = new RowBuffer(path, store * store, files.length);
  let stored: 1 | 3 = 1;
  for (const { file, label, usage } of files) {
    const name = join(path, file);
    const image = fitSquare(await decodeImage(bytesOf(name), name), store, channels);
    if (image.channels === 3 && stored === 1) {
      rows = inColour(rows, store);
      stored = 3;
    }
    const { pixels } = stored === 3 ? toRgb(image) : image;
    const offset = rows.reserve();
    rows.pixels.set(pixels, offset);
    rows.add(label, usage, 0);
  }
  return {
    ...rows.finish(),
    classes,
    side: store,
    channels: stored,
    partNames,
    lines: null,
    files: files.map(({ file }) => file),
  };
}

/** What a file holds; the system's error names the file, which that of reading an open one does not. */
function bytesOf(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    throw Object.assign(error as Error, { path });
  }
}

/** An image as a set stores it: the middle square, `side` by `side`, gray where one channel is wanted. */
export function fitSquare(image: Image, side: number, channels: 1 | 3): Image {
  return resizeImage(cropSquare(channels === 1 ? toGray(image) : image), side, side);
}

function inColour(gray: RowBuffer, side: number): RowBuffer {
  const colour = new RowBuffer(gray.source, gray.imageBytes * 3, gray.labels.length);
  colour.pixels.set(
    toRgb({ pixels: gray.finish().pixels, width: side, height: side * gray.count, channels: 1 }).pixels,
  );
  for (let i = 0; i < gray.count; i++) colour.add(gray.labels[i]!, gray.usage[i]!, 0);
  return colour;
}

function orderClasses(names: string[]): string[] {
  const isFer2013 = names.length === emotions.length && emotions.every((name) => labelOf(names, name) >= 0);
  return isFer2013 ? [...emotions] : names;
}

/** A model may know both a and A: what has the name itself comes first. */
const labelOf = (classes: string[], name: string): number =>
  classes.includes(name) ? classes.indexOf(name) : classes.findIndex((known) => comparable(known) === comparable(name));

/** Without regard to case, and to whether an é is one character or, as in what comes from a Mac, two. */
const comparable = (name: string): string => name.normalize().toLowerCase();

/** Two folders side by side that are taken for one class may well be two, as those of letters: a and A. */
function checkDistinct(folder: string, names: string[], classes: string[]): void {
  const found = names.map((name) => labelOf(classes, name));
  const again = found.findIndex((label, i) => found.indexOf(label) < i);
  if (again < 0) return;
  throw new DataError(
    `${join(folder, names[again]!)}: the same class as ${names[found.indexOf(found[again]!)]}/ beside it, as case and the spelling of accents make no other one. Rename one of the two, or put their images into one.`,
  );
}

/** All files of a class folder; each must turn out to be an image. */
function imagesOf(folder: string): string[] {
  checkEncoding(folder);
  const entries = entriesOf(folder);
  for (const { name } of entries) checkEncoding(join(folder, name));
  const nested = entries.find((entry) => isFolder(folder, entry));
  if (nested !== undefined) {
    throw new DataError(
      `${join(folder, nested.name)}: a folder inside a class folder. Expected images only; give the folder above the classes.`,
    );
  }
  if (entries.length === 0)
    throw new DataError(`${folder}: an empty class folder. Put PNG or JPEG images there or remove it.`);
  return entries.map(({ name }) => name);
}

/** What systems leave behind is no data: dot files, Thumbs.db, desktop.ini, __MACOSX. */
function entriesOf(folder: string): Dirent[] {
  const isData = ({ name }: Dirent) => !name.startsWith('.') && !/^(thumbs\.db|desktop\.ini|__macosx)$/i.test(name);
  return readdirSync(folder, { withFileTypes: true }).filter(isData);
}

const isFolder = (parent: string, entry: Dirent): boolean =>
  entry.isDirectory() || (entry.isSymbolicLink() && statSync(join(parent, entry.name)).isDirectory());
