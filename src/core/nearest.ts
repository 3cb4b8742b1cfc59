import { listOf } from './words.ts';

/**
 * The valid name that `name` was probably meant to be; up to three where several are equally near, none where none is.
 *
 * A name is near where one is part of the other, or where at most two fifths of its letters (one at least) are wrong:
 * optimal string alignment distance, case aside. So `vgg16` finds `vgg16_bn`, and `adma` finds `adam`. Of several that `name` is
 * part of, those that add least to it are nearest.
 */
export function nearest(name: string, valid: readonly string[]): string[] {
  const wanted = name.toLowerCase();
  const distances = valid.map((candidate) => distanceTo(wanted, candidate.toLowerCase()));
  const least = Math.min(...distances);
  if (least > Math.max(1, Math.floor(wanted.length * 0.4))) return [];
  const near = valid.filter((_, index) => distances[index] === least);
  const edits = near.map((candidate) => editDistance(wanted, candidate.toLowerCase()));
  const fewest = Math.min(...edits);
  return near.filter((_, index) => edits[index] === fewest).slice(0, 3);
}

/** ` Did you mean a or b?` for the names nearest to `name`, to end an error's line with; empty where none is near. */
export function didYouMean(name: string, valid: readonly string[]): string {
  const found = nearest(name, valid);
  return found.length > 0 ? ` Did you mean ${listOf(found)}?` : '';
}

function distanceTo(wanted: string, candidate: string): number {
  if (wanted === candidate) return 0;
  if (wanted.length > 1 && (candidate.includes(wanted) || wanted.includes(candidate))) return 1;
  return editDistance(wanted, candidate);
}

/** Insertions, deletions, substitutions and swaps of neighbours that turn `a` into `b`, no part being edited twice. */
function editDistance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    const above = rows[i - 1]!;
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      row[j] = Math.min(above[j]! + 1, row[j - 1]! + 1, above[j - 1]! + cost);
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (swapped) row[j] = Math.min(row[j]!, rows[i - 2]![j - 2]! + 1);
    }
    rows.push(row);
  }
  return rows[a.length]![b.length]!;
}
