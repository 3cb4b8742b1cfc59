import { DataError } from '../core/errors.ts';
import { showJson } from '../core/json.ts';
import { didYouMean } from '../core/nearest.ts';
import type { Kind } from './value.ts';

/** One entry of a table of options; the table's key, in kebab case, is the flag. */
export interface Option<T = unknown, I = unknown> {
  /** Heading under which `--help` lists it. */
  readonly group: string;
  readonly kind: Kind<T>;
  /** Value where nobody gives one and no preset has one: null for none; undefined where one must be given. */
  readonly initial: I | undefined;
  /** One sentence, lower case, no full stop. */
  readonly help: string;
  /** What `--help` shows as the default where the initial value, null, does not explain itself. */
  readonly otherwise?: string;
  /** Environment variable that is read where the option is not given. */
  readonly env?: string;
  /** May stand beside `--resume`: it does not change what the run computes. */
  readonly resumable?: true;
  /** Positional: one or more values that stand behind the options. */
  readonly operand?: true;
}

export type Table = Readonly<Record<string, Option>>;

/** The values that a table's options have once all are known. */
export type Values<T extends Table> = { -readonly [K in keyof T]: ValueOf<T[K]> };
type ValueOf<O> = O extends Option<infer T, infer I> ? (O extends { operand: true } ? T[] : T | I) : never;

type Extras = Pick<Option, 'otherwise' | 'env' | 'resumable'>;

/** An option with a default; the default null stands for "none" or "decided later", and `otherwise` says which. */
export const option = <T, I extends T | null>(
  group: string,
  kind: Kind<T>,
  initial: I,
  help: string,
  extras: Extras = {},
): Option<T, I> => ({ group, kind, initial, help, ...extras });

/** An option that must be given. */
export const required = <T>(group: string, kind: Kind<T>, help: string): Option<T, never> => ({
  group,
  kind,
  initial: undefined,
  help,
});

/** Values behind the options, one or more: `predict … IMAGE_OR_FOLDER…`; the kind's placeholder stands for all of them. */
export const operands = <T>(kind: Kind<T>, help: string): Option<T, never> & { operand: true } => ({
  ...required('Arguments', kind, help),
  operand: true,
});

/** A table's key as command lines and lists of experiments have it: `weightDecay` is `weight-decay`. */
export const longNameOf = (key: string): string => key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** The flag of a table's key: `weightDecay` is `--weight-decay`; a switch that starts on is turned off by `--no-…`. */
export function flagOf(key: string, { kind, initial, operand }: Option): string {
  if (operand) return kind.placeholder ?? key;
  const name = longNameOf(key);
  return kind.placeholder === null && initial === true ? `--no-${name}` : `--${name}`;
}

/** Values as words of a command line, from which they are read again; none for what is null, or a switch that stands as it starts. */
export function argumentsOf(table: Table, values: object): string[] {
  return Object.entries(values).flatMap(([key, value]) => {
    const entry = table[key]!;
    if (value === null || value === undefined) return [];
    if (entry.kind.placeholder === null) return value === entry.initial ? [] : [flagOf(key, entry)];
    return [flagOf(key, entry), String(value)];
  });
}

/** Everything that was given, and the table's defaults for the rest. */
export function withDefaults<T extends Table>(table: T, given: Partial<Values<T>>): Values<T> {
  const initial = Object.entries(table).map(([key, { initial }]) => [key, initial]);
  return { ...Object.fromEntries(initial), ...given };
}

/**
 * Reads options back from JSON, as run.json keeps them; one that is missing has the table's default.
 *
 * `where` is the file, to start an error's line with. Throws DataError for an option or value that the table does not have.
 */
export function readOptions<T extends Table>(table: T, json: object, where: string): Values<T> {
  for (const [key, value] of Object.entries(json)) {
    const entry = Object.hasOwn(table, key) ? table[key]! : undefined;
    if (!entry) throw new DataError(`${where}: unknown option '${key}'.${didYouMean(key, Object.keys(table))}`);
    if (value === null ? entry.initial !== null : !entry.kind.has(value)) {
      throw new DataError(`${where}: ${key}: expected ${entry.kind.expected}, got ${showJson(value)}.`);
    }
  }
  return withDefaults(table, json as Partial<Values<T>>);
}
