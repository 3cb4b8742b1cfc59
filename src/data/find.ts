import { readdirSync } from 'node:fs';
import { join } from 'node:path';

/**
 * The PNG and JPEG files (by their names) anywhere below a folder, in the order of their names. Hidden files are passed over, among
 * them the ._NAME.png that macOS leaves on other disks; folders behind links too.
 */
export function* imagesBelow(folder: string): Generator<string> {
  const entries = readdirSync(folder, { withFileTypes: true }).filter(({ name }) => !name.startsWith('.'));
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* imagesBelow(path);
    else if (/\.(png|jpe?g)$/i.test(entry.name)) yield path;
  }
}
