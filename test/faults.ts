import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

type Call = (...args: unknown[]) => unknown;

/** Which call of a function of `node:fs` fails, counting from 1; 0 for all of them. */
export type Faults = Partial<Record<keyof typeof fs, number>>;

/** Runs `act` on a disk that fails: `which` call of each function throws EIO, or the error of another `code`. */
export async function onFailingDisk<T>(which: Faults, act: () => T | Promise<T>, code = 'EIO'): Promise<T> {
  const functions = fs as unknown as Record<string, Call>;
  const real = { ...functions };
  for (const [name, nth] of Object.entries(which)) {
    let calls = 0;
    functions[name] = (...args) => {
      calls++;
      if (nth !== 0 && calls !== nth) return real[name]!(...args);
      // As in Linux: what close fails to do is flushing; the descriptor is gone.
      if (name === 'closeSync') real[name]!(...args);
      throw Object.assign(new Error(`${code}: injected, ${name}`), { code, syscall: name });
    };
  }
  syncBuiltinESMExports();
  try {
    return await act();
  } finally {
    for (const name of Object.keys(which)) functions[name] = real[name]!;
    syncBuiltinESMExports();
  }
}
