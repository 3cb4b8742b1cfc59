// `train` in this process, and what it says.
import type { TrainOptions } from '../src/cli/options.ts';
import { train } from '../src/cli/train.ts';
import { within } from './gpu.ts';

/** Runs `train` and returns what it said, in lines on a terminal, too; `heard` gets each part of it at once. `terminal` has it draw a bar. */
export async function said(
  given: Partial<TrainOptions>,
  heard: (text: string) => void = () => {},
  terminal = false,
): Promise<string> {
  const { error } = console;
  const { write, isTTY } = process.stderr;
  const { TERM } = process.env;
  let shown = '';
  const hear = (text: string): boolean => {
    shown += text;
    heard(text);
    return true;
  };
  console.error = (line: string) => hear(`${line}\n`);
  process.stderr.write = (text: string | Uint8Array) => hear(String(text));
  process.env.TERM = terminal ? 'xterm' : 'dumb';
  if (terminal) process.stderr.isTTY = true;
  try {
    await within(60_000, train(given));
  } finally {
    console.error = error;
    Object.assign(process.stderr, { write, isTTY });
    if (TERM === undefined) delete process.env.TERM;
    else process.env.TERM = TERM;
  }
  return shown;
}

/** Options of the smallest network, 8 channels in each layer, in batches of 7, with the usual kernels: fewest to compile. */
export const smallest = { arch: 'vgg11_bn', width: 0.01, size: 32, batch: 7, tune: false } as const;
