import { readFileSync, statSync } from 'node:fs';
import { DataError } from '../core/errors.ts';
import { checkEncoding, imagesBelow, specialKind } from '../data/find.ts';
import { decodeImage, type Image } from '../data/image.ts';

/**
 * The path itself, or the PNG and JPEG files (by their names) anywhere below a folder, in the order of their names. Throws
 * DataError where there is no image to be read. A pipe is none, but for one that is open already (/dev/stdin, <(…)) and is read
 * `once`: for the writer of any other it might wait for ever.
 */
export function imagesIn(path: string, once = false): string[] {
  const stats = attempt(path, () => statSync(path, { throwIfNoEntry: false }));
  if (!stats) throw new DataError(`${path}: no such file or folder. Give images, or folders of them.`);
  const special = specialKind(stats);
  const isOpen = once && stats.isFIFO() && /^\/(dev|proc)\//.test(path);
  if (special !== null && !isOpen)
    throw new DataError(`${path}: ${special}, not a regular file. Give the path of the image itself.`);
  if (!stats.isDirectory()) return [path];
  const files = attempt(path, () => [...imagesBelow(path)]);
  if (files.length === 0) throw new DataError(`${path}: holds no PNG or JPEG images.`);
  return files;
}

/** Reads an image. Throws DataError, beginning with its path, where it cannot be read or is none. */
export async function readImage(path: string): Promise<Image> {
  checkEncoding(path);
  const bytes = attempt(path, () => readFileSync(path));
  return decodeImage(bytes, path);
}

/** What the system says of a path is for the user to mend, like any other bad input. */
function attempt<T>(path: string, act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw new DataError(`${path}: cannot be read (${(error as Error).message}). Check that it exists and may be read.`);
  }
}
