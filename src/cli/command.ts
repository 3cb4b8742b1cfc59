import type { Preset } from './defaults.ts';
import type { Table, Values } from './option.ts';

/** What there is to say about a command without loading it. */
export interface Manual<T extends Table = Table> {
  readonly name: string;
  /** One sentence, lower case, no full stop. */
  readonly summary: string;
  readonly options: T;
  /** Defaults beside the table's, for `--help`. */
  readonly presets?: readonly Preset[];
  /** Command lines to show in `--help`, without the program's name. */
  readonly examples: readonly string[];
  /** Checks what was given, before anything is opened or written. Throws ConfigError. */
  check?(given: Partial<Values<T>>): void;
}

/** A command: its manual, and how it starts. */
export interface Command extends Manual {
  run(given: Record<string, unknown>): Promise<void>;
}

/**
 * A command as it stands in a list with others; `run` gets the options that were given, without defaults.
 *
 * `run` imports the command's file itself, so that `--help` loads nothing of the engine.
 */
export const command = <T extends Table>(
  manual: Manual<T>,
  run: (given: Partial<Values<T>>) => Promise<void>,
  // The one place where the types of different tables become one: the given values were read by the table itself.
): Command => ({ ...manual, run }) as unknown as Command;
