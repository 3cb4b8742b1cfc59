import { elementBytes } from './dtype.ts';
import { Storage } from './storage.ts';
import type { Tensor } from './tensor.ts';

/**
 * Copies the values of a tensor into one of as many of the same type, on their GPU. Not what pads them to whole vectors: in an arena
 * that stays 0, for whoever looks at all of it. To count the write is the caller's.
 */
export function copyValues({ storage, size, dtype }: Tensor, to: Tensor): void {
  const { gpu, pool, offsetBytes } = storage;
  const from = { pool, offsetBytes, sizeBytes: Math.ceil((elementBytes(dtype) * size) / 4) * 4 };
  if (pool === to.storage.pool) {
    // Between slots of one arena: WebGPU copies nothing within a buffer.
    const between = Storage.acquire(from.sizeBytes, gpu);
    gpu.stream.copy(from, between);
    gpu.stream.copy({ ...from, pool: between.pool, offsetBytes: between.offsetBytes }, to.storage);
    between.release();
  } else gpu.stream.copy(from, to.storage);
}
