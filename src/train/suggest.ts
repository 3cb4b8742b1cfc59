import type { LrPoint } from './plots.ts';

/** Rates that the range test suggests, by fast.ai's names; undefined where there are too few points for one. */
export interface Suggestions {
  valley: number | undefined;
  slide: number | undefined;
  steep: number | undefined;
  minimum: number | undefined;
}

type Suggest = (points: readonly LrPoint[]) => number | undefined;

/**
 * Halfway into the middle third of the longest decreasing subsequence of losses, by its end and its length.
 *
 * Its end e is the first point where the length L is greatest; with start = e − L, the point is start + ⌊t⌋ + ⌊t/2⌋, t = (e − start)/3.
 * Source: fast.ai v2's `valley`.
 */
const valley: Suggest = (points) => {
  const lengths = points.map(() => 1);
  for (let i = 1; i < points.length; i++) {
    for (let j = 0; j < i; j++) {
      if (points[i]!.loss < points[j]!.loss) lengths[i] = Math.max(lengths[i]!, lengths[j]! + 1);
    }
  }
  const longest = Math.max(...lengths);
  if (longest < 2) return points[0]?.lr;
  const third = longest / 3;
  const start = lengths.indexOf(longest) - longest;
  // The start may lie one before the first point: as in Python, −1 is then the last.
  return points.at(start + Math.floor(third) + Math.floor(third / 2))?.lr;
};

const WINDOW = 15;
const FLAT = 0.005;

/** Slides a window of 15 points from the right while the slopes (per point) at its ends differ by more than 0.005. Source: `slide`. */
const slide: Suggest = (points) => {
  const slopes = slopesOf(points.map(({ loss }) => loss));
  let right = points.length - 1;
  let left = right - WINDOW;
  if (left < 0) return undefined;
  let found = points[left]!.lr;
  while (left >= 0 && Math.abs(slopes[right]! - slopes[left]!) > FLAT) {
    found = points[left]!.lr;
    right--;
    left--;
  }
  return found;
};

/** Central differences, one-sided at the ends. */
function slopesOf(values: readonly number[]): number[] {
  const last = values.length - 1;
  return values.map((_, i) => {
    const [a, b] = [Math.max(0, i - 1), Math.min(last, i + 1)];
    return (values[b]! - values[a]!) / Math.max(1, b - a);
  });
}

/** Where the loss falls fastest over log(lr), from one point to the next. Source: `steep`. */
const steep: Suggest = (points) => {
  let best: { lr: number; slope: number } | undefined;
  for (const [i, { lr, loss }] of points.slice(0, -1).entries()) {
    const next = points[i + 1]!;
    const slope = (next.loss - loss) / Math.log(next.lr / lr);
    if (!best || slope < best.slope) best = { lr, slope };
  }
  return best?.lr;
};

/** A tenth of the rate with the lowest loss. Source: `minimum`. */
const minimum: Suggest = (points) => {
  const lowest = points.reduce<LrPoint | undefined>((a, b) => (a && a.loss <= b.loss ? a : b), undefined);
  return lowest && lowest.lr / 10;
};

/** Points that fast.ai leaves out at the end, where the loss explodes. */
const TAIL = 5;

/**
 * What the four methods suggest for the smoothed losses of a range test of `steps` steps. The first tenth of the steps and the last
 * five points are left out, and whatever follows a loss that is not a number. Source: fast.ai v2's `Learner.lr_find`.
 */
export function suggest(points: readonly LrPoint[], steps: number): Suggestions {
  const middle = points.slice(Math.floor(steps / 10), Math.max(0, points.length - TAIL));
  const broken = middle.findIndex(({ loss }) => Number.isNaN(loss));
  const usable = broken < 0 ? middle : middle.slice(0, broken);
  return { valley: valley(usable), slide: slide(usable), steep: steep(usable), minimum: minimum(usable) };
}
