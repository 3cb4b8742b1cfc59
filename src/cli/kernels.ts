import type { Gpu } from '../gpu/gpu.ts';
import { prepareKernels } from '../train/kernels.ts';

/** Kernels for what is over too soon to look for the fastest: those that training found, checked where it did not; says what is worth it. */
export async function prepareRemembered(gpu: Gpu, body: () => void): Promise<void> {
  const { lines } = await prepareKernels(gpu, body, 'remembered');
  for (const line of lines) console.error(line);
}
