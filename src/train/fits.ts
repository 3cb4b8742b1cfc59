import { ConfigError } from '../core/errors.ts';
import type { Gpu } from '../gpu/gpu.ts';
import { byteSize } from '../gpu/pool.ts';

/**
 * Refuses, before anything is made, a batch whose largest tensor is more than the adapter binds. `perImage` are the bytes of that tensor
 * for one image, `what` are the options that made it so large, and `mend` gets the images that would fit, with their fraction.
 */
export function checkTensorFits(
  gpu: Gpu,
  what: string,
  { perImage, batch }: { perImage: number; batch: number },
  mend: (images: number) => string,
): void {
  const limit = gpu.maxTensorBytes;
  if (perImage * batch <= limit) return;
  throw new ConfigError(
    `${what}: its largest tensor takes ${byteSize(perImage * batch)}, and ${gpu.adapter.name} binds at most ${byteSize(limit)}. ${mend(limit / perImage)}`,
  );
}
