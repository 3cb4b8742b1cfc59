import { MemoryError, ShapeError } from '../core/errors.ts';
import { USAGE } from './usage.ts';

/** A storage buffer that the pool lends out. `id` is its rank of creation. */
export interface PoolBuffer {
  readonly id: number;
  readonly buffer: GPUBuffer;
  readonly sizeBytes: number;
  /** The number of its latest loan, counted from 1 over the whole pool. */
  loan: number;
  state: 'lent' | 'free' | 'destroyed';
}

export interface PoolStats {
  /** Bytes lent out now. */
  liveBytes: number;
  /** Bytes of all buffers that exist, lent out or waiting. */
  allocatedBytes: number;
  /** The most `allocatedBytes` has been since the last `resetPeak`. */
  peakBytes: number;
  /** Buffers created so far. */
  created: number;
}

/**
 * Rounds a size up to its class: multiples of 256 bytes up to 4 KiB, then eight steps to each power of two, of 1 MiB at most, so that
 * at most an eighth is wasted and buffers of nearly equal size can stand in for each other.
 */
export function sizeClass(sizeBytes: number): number {
  if (sizeBytes <= 4096) return Math.max(256, Math.ceil(sizeBytes / 256) * 256);
  const stepBytes = Math.min(2 ** (Math.floor(Math.log2(sizeBytes - 1)) - 3), 2 ** 20);
  return Math.ceil(sizeBytes / stepBytes) * stepBytes;
}

/** Runs `make`, and throws what goes wrong on the device meanwhile. */
export type Checked = <T>(make: () => T) => T;

/** Where nobody tells of what goes wrong. */
export const unchecked: Checked = (make) => make();

/**
 * Storage buffers for tensors, kept for reuse. A request takes the free buffer of its size class with the lowest id, so a
 * training step that asks in the same order gets the same buffers every time: bind groups can then be cached. Reuse needs no
 * fence, since the queue runs in order.
 */
export class BufferPool {
  private readonly free = new Map<number, PoolBuffer[]>();
  private nextId = 0;
  /** Loans so far: a buffer that is lent later has a higher number. */
  loans = 0;
  readonly stats: PoolStats = { liveBytes: 0, allocatedBytes: 0, peakBytes: 0, created: 0 };
  private readonly device: GPUDevice;
  private readonly maxBytes: number;
  private readonly checked: Checked;

  constructor(device: GPUDevice, checked: Checked = unchecked) {
    this.device = device;
    this.checked = checked;
    this.maxBytes = device.limits.maxBufferSize;
  }

  /**
   * Lends a buffer of at least `sizeBytes`; its content is whatever was there. Throws ShapeError above the adapter's limit,
   * MemoryError where there is no memory for it.
   */
  acquire(sizeBytes: number): PoolBuffer {
    const rounded = sizeClass(sizeBytes);
    // Whole vec4s, as they are bound.
    const least = Math.ceil(sizeBytes / 16) * 16;
    const size = rounded > this.maxBytes && least <= this.maxBytes ? least : rounded;
    const buffer = this.free.get(size)?.shift() ?? this.createOrSpare(size);
    this.stats.liveBytes += buffer.sizeBytes;
    buffer.loan = ++this.loans;
    buffer.state = 'lent';
    return buffer;
  }

  /** Takes a buffer back. Commands already recorded may still use it. */
  release(buffer: PoolBuffer): void {
    this.stats.liveBytes -= buffer.sizeBytes;
    buffer.state = 'free';
    const waiting = this.free.get(buffer.sizeBytes);
    if (!waiting) {
      this.free.set(buffer.sizeBytes, [buffer]);
      return;
    }
    let at = waiting.length;
    while (at > 0 && waiting[at - 1]!.id > buffer.id) at--;
    waiting.splice(at, 0, buffer);
  }

  /** Takes a buffer back that nobody will ask for again, and destroys it; the caller has submitted what used it. */
  discard({ buffer, sizeBytes }: PoolBuffer): void {
    buffer.destroy();
    this.stats.liveBytes -= sizeBytes;
    this.stats.allocatedBytes -= sizeBytes;
  }

  /** Destroys all buffers that nobody holds; the caller has submitted what used them. */
  trim(): void {
    for (const waiting of this.free.values()) {
      for (const entry of waiting) {
        entry.buffer.destroy();
        entry.state = 'destroyed';
        this.stats.allocatedBytes -= entry.sizeBytes;
      }
    }
    this.free.clear();
  }

  resetPeak(): void {
    this.stats.peakBytes = this.stats.allocatedBytes;
  }

  /**
   * A new buffer, or where there is no memory for it the smallest larger one that is free. Throws MemoryError where there is none: what
   * else is free is of use once the device has destroyed it, which takes until its commands have run.
   */
  private createOrSpare(sizeBytes: number): PoolBuffer {
    try {
      return this.create(sizeBytes);
    } catch (error) {
      if (!(error instanceof MemoryError)) throw error;
      const sizes = [...this.free].filter(([size, waiting]) => size > sizeBytes && waiting.length > 0);
      const spare = sizes.sort(([a], [b]) => a - b)[0]?.[1].shift();
      if (spare) return spare;
      const { allocatedBytes, liveBytes } = this.stats;
      const idle = allocatedBytes - liveBytes;
      if (idle < sizeBytes) throw error;
      throw new MemoryError(
        `${error.message} Or run the step again: ${byteSize(idle)} that lie idle are given back before.`,
      );
    }
  }

  private create(sizeBytes: number): PoolBuffer {
    if (sizeBytes > this.maxBytes) {
      throw new ShapeError(
        `a tensor of ${byteSize(sizeBytes)} does not fit this adapter, whose largest buffer is ${byteSize(this.maxBytes)}. Use a smaller batch, width or size.`,
      );
    }
    const id = this.nextId++;
    const usage = USAGE.STORAGE | USAGE.COPY_SRC | USAGE.COPY_DST;
    // A buffer that there was no memory for is an object all the same, and nothing keeps a Dawn that does not validate from using it.
    const buffer = this.checked(() => this.device.createBuffer({ label: `pool ${id}`, size: sizeBytes, usage }));
    this.stats.created++;
    this.stats.allocatedBytes += sizeBytes;
    this.stats.peakBytes = Math.max(this.stats.peakBytes, this.stats.allocatedBytes);
    return { id, buffer, sizeBytes, loan: 0, state: 'free' };
  }
}

/** A size in the largest unit that keeps it at 1 or more: `128 MiB`, `1.3 GiB`. */
export function byteSize(sizeBytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB'];
  const unit = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, sizeBytes)) / 10));
  return `${Number((sizeBytes / 1024 ** unit).toFixed(1))} ${units[unit]}`;
}
