import { ConfigError } from './errors.ts';

/** Bounds of a number, inclusive; `above` and `below` are exclusive. */
export interface Bounds {
  from?: number;
  to?: number;
  above?: number;
  below?: number;
}

/** True for a finite number within bounds. */
export const isNumberIn = (
  value: unknown,
  { from = -Infinity, to = Infinity, above = -Infinity, below = Infinity }: Bounds,
): value is number =>
  typeof value === 'number' && Number.isFinite(value) && value >= from && value <= to && value > above && value < below;

/** True for a whole number within bounds. */
export const isWholeIn = (value: unknown, bounds: Bounds): value is number =>
  Number.isInteger(value) && isNumberIn(value, bounds);

/** `1 to 1024`, `0 to below 1`, `1 or more`, `above 0`: what a number may be. */
export function boundsInWords({ from, to, above, below }: Bounds): string {
  if (above !== undefined && below !== undefined) return `above ${above}, below ${below}`;
  const high = to ?? (below === undefined ? undefined : `below ${below}`);
  if (from !== undefined) return high === undefined ? `${from} or more` : `${from} to ${high}`;
  if (above !== undefined) return high === undefined ? `above ${above}` : `above ${above}, up to ${high}`;
  return high === undefined ? '' : `up to ${high}`;
}

type Numbers = Readonly<Record<string, number>>;

/** Throws ConfigError, in a message that `where` begins, for the first of some options that is no finite number within bounds. */
export const checkNumbers = (where: string, options: Numbers, bounds: Bounds): void =>
  check(where, options, bounds, 'a number', isNumberIn);

/** The same for whole numbers. */
export const checkWholes = (where: string, options: Numbers, bounds: Bounds): void =>
  check(where, options, bounds, 'a whole number', isWholeIn);

function check(where: string, options: Numbers, bounds: Bounds, noun: string, has: typeof isNumberIn): void {
  for (const [name, value] of Object.entries(options)) {
    if (!has(value, bounds))
      throw new ConfigError(`${where}: ${name} is ${value}; it is ${noun} (${boundsInWords(bounds)}).`);
  }
}
