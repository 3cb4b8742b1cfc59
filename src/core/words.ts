/** `a`, `a or b`, `a, b or c`. */
export const listOf = (names: readonly string[], last = 'or'): string =>
  names.length < 2 ? names.join('') : `${names.slice(0, -1).join(', ')} ${last} ${names.at(-1)}`;

/** `2,100` */
export const thousands = (n: number): string => n.toLocaleString('en');

/** `1 image`, `2,100 images`. */
export const counted = (n: number, noun: string, nouns = `${noun}s`): string =>
  `${thousands(n)} ${n === 1 ? noun : nouns}`;

/** `12.5 %` for a share of .125. */
export const inPercent = (share: number, digits = 1): string => `${(100 * share).toFixed(digits)} %`;
