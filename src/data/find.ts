import { existsSync, readdirSync, type Stats, statSync } from 'node:fs';
import { join } from 'node:path';
import { DataError } from '../core/errors.ts';

/**
 * The PNG and JPEG files (by their names) anywhere below a folder, in the order of their names. Hidden files are passed over, among
 * them the ._NAME.png that macOS leaves on other disks; so are pipes, devices, and folders behind links. A folder in it that cannot
 * be listed comes in place of what it holds: who reads it will say so.
 */
export function* imagesBelow(folder: string): Generator<string> {
  const entries = readdirSync(folder, { withFileTypes: true }).filter(({ name }) => !name.startsWith('.'));
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(folder, entry.name);
    if (!entry.isDirectory()) {
      if (/\.(png|jpe?g)$/i.test(entry.name) && !isSpecial(path)) yield path;
      continue;
    }
    try {
      yield* imagesBelow(path);
    } catch {
      yield path;
    }
  }
}

/** Throws DataError for a path that was listed with a name that is not UTF-8: Node puts U+FFFD into it, which leads nowhere. */
export function checkEncoding(path: string): void {
  if (path.includes('\ufffd') && !existsSync(path))
    throw new DataError(`${path}: its name is not UTF-8, so it cannot be opened. Rename it.`);
}

/**
 * What something is that is neither a regular file nor a folder nor a link, in words; null for those. Who reads a pipe
 * waits for a writer, and can read it but once.
 */
export function specialKind(entry: Stats): string | null {
  if (entry.isFIFO()) return 'a pipe';
  if (entry.isSocket()) return 'a socket';
  return entry.isCharacterDevice() || entry.isBlockDevice() ? 'a device' : null;
}

/** False for what leads nowhere, too: who reads it will say so. */
function isSpecial(path: string): boolean {
  try {
    return specialKind(statSync(path)) !== null;
  } catch {
    return false;
  }
}
