import { ConfigError } from '../core/errors.ts';
import { validWishes } from '../gpu/adapters.ts';
import type { Adapter, Gpu } from '../gpu/gpu.ts';
import { openGpu } from '../gpu/node.ts';
import { printAhead, stderrPosition } from '../gpu/stderr.ts';

/**
 * Opens the adapter that a command computes on, and prints the line that says which one and why, before anything that drivers print.
 * Throws what `openGpu` throws, and ConfigError for Dawn's null backend, which compiles but computes nothing.
 */
export async function openAdapter(adapter: string | undefined): Promise<Gpu> {
  const printed: string[] = [];
  const start = stderrPosition();
  try {
    const gpu = await openGpu({ adapter, onPrint: (text) => printed.push(text) });
    refuseNull(gpu.adapter, gpu);
    printAhead(`${gpu.adapter.why}\n`, start);
    return gpu;
  } finally {
    process.stderr.write(printed.join(''));
  }
}

/** Closes Dawn's null backend and throws ConfigError: it compiles but computes nothing. */
export function refuseNull({ kind }: Pick<Adapter, 'kind'>, opened: { close(): void }): void {
  if (kind !== 'null') return;
  opened.close();
  throw new ConfigError(
    `adapter: "null" compiles kernels but computes nothing: it is for tests. Valid: ${validWishes}.`,
  );
}
