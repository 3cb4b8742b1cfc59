import { createInterface } from 'node:readline';
import { type OpenedDevice, openDevice } from '../../src/gpu/dawn.ts';

/** Before the lines that the comparison reads: libraries print what they like. */
export const MARK = 'peer: ';

/** What a contestant is told on its command line. */
export interface Task {
  /** As for `--adapter`. */
  adapter: string;
  batch: number;
  width: number;
  /** Folder whose node_modules has the peers' packages; empty where none was named. */
  packages: string;
}

export function taskOf(argv: readonly string[]): Task {
  const [adapter, batch, width, packages] = argv.slice(2) as [string, string, string, string];
  return { adapter, batch: Number(batch), width: Number(width), packages };
}

/** The lines that a contestant sends: once it is ready, then the times of each round. */
export type Message = { ready: string } | { ms: number[]; loss: number };

const WARM_UP = 2;

/**
 * Does what the comparison asks: after some steps that compile everything, each line on the standard input is a number of steps to
 * time. `step` trains one step and resolves to its loss when nothing is running any more.
 */
export async function serve(version: string, step: () => Promise<number>): Promise<void> {
  const send = (message: Message) => console.log(MARK + JSON.stringify(message));
  for (let i = 0; i < WARM_UP; i++) await step();
  send({ ready: version });
  for await (const line of createInterface({ input: process.stdin })) {
    const ms: number[] = [];
    let loss = Number.NaN;
    for (let i = 0; i < Number(line); i++) {
      const started = performance.now();
      loss = await step();
      ms.push(performance.now() - started);
    }
    send({ ms, loss });
  }
  process.exit(0);
}

/**
 * Opens the adapter as training does, with the same Dawn and the same flags, and puts it where libraries for browsers look for it:
 * `navigator.gpu` and the interfaces' constants.
 */
export async function openAsBrowser(adapter: string): Promise<OpenedDevice> {
  const { globals } = await import('webgpu');
  const opened = await openDevice({ adapter });
  const { device, vendor, name, driver } = opened;
  const info = { vendor, architecture: '', device: name, description: driver };
  const { features, limits } = device;
  const only = { features, limits, info, isFallbackAdapter: false, requestDevice: async () => device };
  const gpu = { requestAdapter: async () => only, getPreferredCanvasFormat: () => 'bgra8unorm' };
  Object.assign(globalThis, globals, { self: globalThis });
  Object.defineProperty(globalThis, 'navigator', { value: { gpu, userAgent: 'node' }, configurable: true });
  return opened;
}
