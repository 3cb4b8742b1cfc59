import type { Gpu } from '../gpu/gpu.ts';
import type { PoolBuffer } from '../gpu/pool.ts';
import { Storage } from './storage.ts';

/** Slots start at multiples of this: what a binding's offset must be a multiple of, and a line of the group table. */
export const BLOCK_BYTES = 256;

/** One buffer of an arena. */
export interface ArenaChunk {
  readonly pool: PoolBuffer;
  readonly sizeBytes: number;
  /** Indices of the slots in this chunk, in order, with where they start. */
  readonly slots: readonly { readonly index: number; readonly offsetBytes: number; readonly sizeBytes: number }[];
}

export const paddedBytes = (sizeBytes: number): number => Math.ceil(sizeBytes / BLOCK_BYTES) * BLOCK_BYTES;

/** Where the slots of an arena go: its chunks. */
export type ArenaLayout = readonly (readonly ArenaChunk['slots'][number][])[];

/** Chunks for slots of `sizesBytes` that the adapter can bind, each slot padded to a multiple of `alignBytes`. */
export function arenaLayout(gpu: Gpu, sizesBytes: readonly number[], alignBytes = BLOCK_BYTES): ArenaLayout {
  const limit = gpu.maxTensorBytes;
  const chunks: ArenaChunk['slots'][number][][] = [];
  let used = Number.POSITIVE_INFINITY;
  for (const [index, sizeBytes] of sizesBytes.entries()) {
    const padded = Math.ceil(sizeBytes / alignBytes) * alignBytes;
    if (used + padded > limit) {
      chunks.push([]);
      used = 0;
    }
    chunks.at(-1)!.push({ index, offsetBytes: used, sizeBytes });
    used += padded;
  }
  return chunks;
}

/** The same slots at half the offsets, for f16 copies of f32 slots. Those must be aligned to twice a block. */
export const halvedLayout = (layout: ArenaLayout): ArenaLayout =>
  layout.map((slots) =>
    slots.map(({ index, offsetBytes, sizeBytes }) => ({
      index,
      offsetBytes: offsetBytes / 2,
      sizeBytes: sizeBytes / 2,
    })),
  );

const collected = new FinalizationRegistry<readonly Storage[]>((parts) => {
  for (const part of parts) part.release();
});

/**
 * Memory for many tensors that one kernel walks over: parameters, gradients, or one kind of optimizer state. Slots are padded to
 * 256 bytes and zeroed; a chunk never exceeds what the adapter can bind at once, unless a single slot does. It is given back when
 * the arena and all tensors in it have been collected.
 */
export class Arena {
  readonly chunks: readonly ArenaChunk[];
  /** By slot. */
  private readonly parts: Storage[] = [];

  constructor(gpu: Gpu, layout: ArenaLayout) {
    this.chunks = layout.map((slots) => {
      const last = slots.at(-1)!;
      const sizeBytes = last.offsetBytes + paddedBytes(last.sizeBytes);
      const memory = Storage.acquire(sizeBytes, gpu);
      gpu.stream.clear(memory);
      for (const { index, offsetBytes, sizeBytes: size } of slots) this.parts[index] = memory.part(offsetBytes, size);
      // From here on it is the slots that hold it.
      memory.release();
      return { pool: memory.pool, sizeBytes, slots };
    });
    collected.register(this, this.parts);
  }

  /** The memory of slot `index`, for a tensor that holds it from now on. */
  slot(index: number): Storage {
    return this.parts[index]!.hold();
  }
}
