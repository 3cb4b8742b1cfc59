import { elementBytes } from './dtype.ts';
import type { Tensor } from './tensor.ts';

/**
 * Copies the values of a tensor into one of as many of the same type, on the GPU. Not what pads its memory: in an arena that stays 0, for
 * whoever looks at all of it. To count the write is the caller's.
 */
export function copyValues({ storage, size, dtype }: Tensor, to: Tensor): void {
  const { gpu, pool, offsetBytes } = storage;
  const from = { pool, offsetBytes, sizeBytes: Math.ceil((elementBytes(dtype) * size) / 4) * 4 };
  if (pool === to.storage.pool) {
    // Between slots of one arena: WebGPU copies nothing within a buffer.
    const between = to.emptyLike();
    gpu.stream.copy(from, between.storage);
    gpu.stream.copy({ ...from, pool: between.storage.pool, offsetBytes: 0 }, to.storage);
    between.free('the copy that it was for');
  } else gpu.stream.copy(from, to.storage);
}
