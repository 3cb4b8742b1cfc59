import { type Command, command } from './command.ts';
import * as manuals from './manuals.ts';

/** Every command of the program, in the order in which `--help` lists them. */
export const commands: readonly Command[] = [
  command(manuals.train, async (given) => (await import('./train.ts')).train(given)),
  command(manuals.info, async (given) =>
    (await import('./info.ts')).info({ adapter: given.adapter, json: given.json ?? false }),
  ),
];
