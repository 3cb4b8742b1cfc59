import type { BufferRange } from '../gpu/stream.ts';
import { elementBytes } from './dtype.ts';
import type { Tensor } from './tensor.ts';

/** Elements whose bytes are a multiple of what a binding's offset has to be, in f16 and in f32. */
const ALIGNED = 128;

/**
 * Calls `run` with `count` elements at a time of `tensors`, which have one size: with the tensors themselves, or with as many
 * parts as the adapter needs to bind them. Writes to parts are not counted.
 */
export function inParts<K extends string>(
  tensors: Readonly<Record<K, Tensor>>,
  run: (operands: Readonly<Record<K, Tensor | BufferRange>>, count: number) => void,
): void {
  const entries = Object.entries<Tensor>(tensors);
  const { size, storage } = entries[0]![1];
  const most = Math.floor(storage.gpu.limits.maxStorageBufferBindingSize / (4 * ALIGNED)) * ALIGNED;
  if (size <= most) {
    run(tensors, size);
    return;
  }
  for (let first = 0; first < size; first += most) {
    const count = Math.min(most, size - first);
    const parts = entries.map(([name, tensor]) => [name, partOf(tensor, first, count)] as const);
    run(Object.fromEntries(parts) as Record<K, BufferRange>, count);
  }
}

function partOf({ storage: { pool, offsetBytes }, dtype }: Tensor, first: number, count: number): BufferRange {
  const bytes = elementBytes(dtype);
  return { pool, offsetBytes: offsetBytes + bytes * first, sizeBytes: Math.ceil((bytes * count) / 16) * 16 };
}
