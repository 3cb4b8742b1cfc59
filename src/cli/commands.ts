import { type Command, command } from './command.ts';
import * as manuals from './manuals.ts';
import { withDefaults } from './option.ts';
import {
  colorizeOptions,
  contactSheetOptions,
  evaluateOptions,
  experimentsOptions,
  predictOptions,
} from './options.ts';

/** Every command of the program, in the order in which `--help` lists them. */
export const commands: readonly Command[] = [
  command(manuals.train, async (given) => (await import('./train.ts')).train(given)),
  command(manuals.lrFind, async (given) => (await import('./lrfind.ts')).lrFind(given)),
  command(manuals.evaluate, async (given) =>
    (await import('./evaluate.ts')).evaluate(withDefaults(evaluateOptions, given)),
  ),
  command(manuals.predict, async (given) =>
    (await import('./predict.ts')).predict(withDefaults(predictOptions, given)),
  ),
  command(manuals.contactSheet, async (given) =>
    (await import('./contactsheet.ts')).contactSheet(withDefaults(contactSheetOptions, given)),
  ),
  command(manuals.colorize, async (given) =>
    (await import('./colorize.ts')).colorize(withDefaults(colorizeOptions, given)),
  ),
  command(manuals.experiments, async (given) =>
    (await import('./experiments.ts')).experiments(withDefaults(experimentsOptions, given)),
  ),
  command(manuals.info, async (given) =>
    (await import('./info.ts')).info({ adapter: given.adapter, json: given.json ?? false }),
  ),
];
