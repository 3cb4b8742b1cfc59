import type { Rates, Schedule } from './schedule.ts';

/** Learning rates of `count` layer groups, from the input to the head: a tenth for all but the head. fast.ai's `slice(stop)`. */
export const headRates = (stop: number, count: number): number[] =>
  Array.from({ length: count }, (_, i) => (i === count - 1 ? stop : stop / 10));

/**
 * Learning rates of `count` layer groups from `start` to `stop`, each the same multiple of the one before:
 * start·(stop/start)^(i/(count−1)). fast.ai's `slice(start, stop)`.
 */
export function evenRates(start: number, stop: number, count: number): number[] {
  if (count === 1) return [stop];
  const factor = (stop / start) ** (1 / (count - 1));
  return Array.from({ length: count }, (_, i) => start * factor ** i);
}

/**
 * Gives each layer group a schedule of its own: `make` is called with each of `rates`. `lr` is then that of the last group, the head;
 * `layerLrs` has all of them. Source: discriminative fine-tuning, Howard and Ruder 2018.
 */
export function perLayer(rates: readonly number[], make: (lr: number) => Schedule): Schedule {
  const schedules = rates.map(make);
  return (step, steps) => {
    const all = schedules.map((schedule) => schedule(step, steps));
    return { ...(all.at(-1) as Rates), layerLrs: all.map(({ lr }) => lr) };
  };
}
