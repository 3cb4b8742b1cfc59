import { type Bounds, boundsInWords, isNumberIn, isWholeIn } from '../core/bounds.ts';
import { ConfigError } from '../core/errors.ts';
import { didYouMean } from '../core/nearest.ts';
import { listOf } from '../core/words.ts';

/** A kind of option value: how it is written on a command line, and which values there are. */
export interface Kind<T> {
  /** What stands for the value in `--help`; null for a switch, which takes none. */
  readonly placeholder: string | null;
  /** The valid values in words that follow "expected": `a whole number (1 to 512)`. */
  readonly expected: string;
  /** The valid values as `--help` shows them; empty where the option's own sentence says it. */
  readonly range: string;
  /** Names to suggest when a value is not valid. */
  readonly names: readonly string[];
  /** Reads what was typed; what it makes of nonsense is for `has` to refuse. */
  parse(text: string): unknown;
  has(value: unknown): value is T;
}

const decimal = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/** A finite number within bounds; `placeholder` gives its unit, or N or F. */
export function number(placeholder: string, bounds: Bounds, noun = 'a number'): Kind<number> {
  const words = boundsInWords(bounds);
  return {
    placeholder,
    expected: words ? `${noun} (${words})` : noun,
    range: words,
    names: [],
    parse: (text) => (decimal.test(text.trim()) ? Number(text) : Number.NaN),
    has: (value): value is number => isNumberIn(value, bounds),
  };
}

/** A whole number within bounds. */
export function whole(placeholder: string, bounds: Bounds): Kind<number> {
  const kind = number(placeholder, bounds, 'a whole number');
  return { ...kind, has: (value): value is number => isWholeIn(value, bounds) };
}

/** One of a fixed list of names or numbers. */
export function choice<const T extends string | number>(placeholder: string, values: readonly T[]): Kind<T> {
  const names = values.map(String);
  return {
    placeholder,
    expected: listOf(names),
    range: names.join(', '),
    // A number is no misspelling of another.
    names: names.filter((_, i) => typeof values[i] === 'string'),
    parse: (text) => values.find((value) => String(value) === text),
    has: (value): value is T => values.includes(value as T),
  };
}

/** Any text but the empty one: a path, or a name that only the adapter or the data can judge. */
export function text(placeholder: string): Kind<string> {
  return {
    placeholder,
    expected: 'a name or path',
    range: '',
    names: [],
    parse: (typed) => typed,
    has: (value): value is string => typeof value === 'string' && value !== '',
  };
}

/** One of a list of names, case aside, or text of another form, which `inWords` describes. */
export function form(placeholder: string, names: readonly string[], other: RegExp, inWords: string): Kind<string> {
  const lower = names.map((name) => name.toLowerCase());
  return {
    ...text(placeholder),
    expected: listOf([...names, inWords]),
    names,
    parse: (typed) => names[lower.indexOf(typed.toLowerCase())] ?? typed,
    has: (value): value is string => typeof value === 'string' && (names.includes(value) || other.test(value)),
  };
}

/** A switch: it is there or not. */
export const toggle: Kind<boolean> = {
  placeholder: null,
  expected: 'true or false',
  range: '',
  names: [],
  parse: (typed) => typed,
  has: (value): value is boolean => typeof value === 'boolean',
};

/** Reads what was typed for `flag`. Throws ConfigError: what was expected, what came, the nearest valid name. */
export function readValue<T>(flag: string, kind: Kind<T>, typed: string): T {
  const value = kind.parse(typed);
  if (kind.has(value)) return value;
  throw new ConfigError(`${flag}: expected ${kind.expected}, got '${typed}'.${didYouMean(typed, kind.names)}`);
}
