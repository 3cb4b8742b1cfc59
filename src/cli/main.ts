import { GpuError, isUserError } from '../core/errors.ts';
import type { Command } from './command.ts';
import { complaint } from './printable.ts';
import { readCommandLine } from './usage.ts';
import { dawngradVersion } from './version.ts';

/**
 * Runs a command line, the program's name and Node's not included.
 *
 * Whatever fails is told in one line on stderr, and ends the process: with 2 for what the user can mend, with 1 for the
 * rest. `DEBUG=1` shows where it was thrown.
 */
export async function main(argv: readonly string[], commands: readonly Command[]): Promise<void> {
  process.stdout.on('error', onLostOutput);
  // A log on a full disk, a terminal that is gone, a reader that has heard enough: the command goes on unheard.
  process.stderr.on('error', () => {});
  process.on('uncaughtException', fail);
  try {
    const call = readCommandLine(argv, commands, dawngradVersion);
    if (!call) return;
    call.command.check?.(call.given);
    await call.command.run(call.given);
  } catch (error) {
    fail(error);
  }
}

/** A reader such as `head` that has seen enough is no failure; anything else is one: what a command has to say goes there. */
function onLostOutput(error: NodeJS.ErrnoException): void {
  if (error.code === 'EPIPE') process.exit();
  throw Object.assign(error, { message: `standard output cannot be written (${error.message}).` });
}

function fail(error: unknown): void {
  const shown = debugging() && error instanceof Error ? error.stack : complaint(messageOf(error));
  const exitCode = isUserError(error) ? 2 : 1;
  process.exitCode = exitCode;
  // A device that is still open would keep the process alive; a pipe may still hold the line when exit is called.
  process.stderr.write(`${shown}\n`, () => process.exit(exitCode));
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return `unknown failure: ${error}`;
  // Errors of the system (ENOSPC, EIO) carry a code and say what happened; the rest are bugs, and their kind helps.
  const explained: boolean = error instanceof GpuError || 'code' in error || isUserError(error);
  return explained ? withFlags(error.message) : `${error.name}: ${error.message} (DEBUG=1 shows where)`;
}

/**
 * What the library calls `batch 15` is `--batch 15` here: parameters that a message may begin with, or that it says to give, each with a
 * value that it may have; `size chart.png:` is a path.
 */
export const withFlags = (message: string): string =>
  message
    .replace(
      /^(?:adapter:|(?:accumulate|batch|limit|size|store) \d+(?: is|:) |precision f16: |valid (?:PublicTest|both|all|[\d.]+ ?%): )/,
      '--$&',
    )
    .replace(/(?<=\. (?:Give|Use) )(?:(?:batch|channels|size|width) \d|arch \w|precision f)/, '--$&');

const debugging = (): boolean => !['', '0', undefined].includes(process.env.DEBUG);
