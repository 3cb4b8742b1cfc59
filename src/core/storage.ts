import { currentGpu, type Gpu } from '../gpu/gpu.ts';
import type { PoolBuffer } from '../gpu/pool.ts';
import type { BufferRange } from '../gpu/stream.ts';
import { UsageError } from './errors.ts';
import { effect } from './trace.ts';

/**
 * The memory of one or more tensors (views share it): a buffer of the pool, which gets it back when the last holder lets go, or a
 * part of other memory, which it holds until then.
 */
export class Storage implements BufferRange {
  readonly gpu: Gpu;
  readonly pool: PoolBuffer;
  readonly offsetBytes: number;
  readonly sizeBytes: number;
  /** Counts the writes: two equal counts are the same content. */
  version = 0;
  private holders = 1;
  private readonly whole: Storage | null;

  private constructor(gpu: Gpu, pool: PoolBuffer, offsetBytes: number, sizeBytes: number, whole: Storage | null) {
    this.gpu = gpu;
    this.pool = pool;
    this.offsetBytes = offsetBytes;
    // Whole vec4s, so that kernels which read four values at once can bind any tensor.
    this.sizeBytes = Math.ceil(sizeBytes / 16) * 16;
    this.whole = whole?.hold() ?? null;
  }

  /** A buffer of the pool, its content garbage. */
  static acquire(sizeBytes: number, gpu: Gpu = currentGpu()): Storage {
    return new Storage(gpu, gpu.pool.acquire(sizeBytes), 0, sizeBytes, null);
  }

  /** A part of this memory, which starts `offsetBytes` after it does. */
  part(offsetBytes: number, sizeBytes: number): Storage {
    return new Storage(this.gpu, this.pool, this.offsetBytes + offsetBytes, sizeBytes, this);
  }

  get alive(): boolean {
    return this.holders > 0;
  }

  /** True when one tensor holds it, and the pool gets it back from that one. */
  get sole(): boolean {
    return !this.whole && this.holders === 1;
  }

  /** Counts a write, in each replay of the step as well. */
  written(): void {
    effect(() => {
      this.version++;
    });
  }

  hold(): this {
    if (!this.alive) throw new UsageError('this memory was given back already.');
    this.holders++;
    return this;
  }

  release(): void {
    if (--this.holders > 0) return;
    if (this.whole) this.whole.release();
    else this.gpu.pool.release(this.pool);
  }

  /** `release` of memory whose size nobody will ask for again: it is not kept for others. */
  discard(): void {
    const { gpu, pool } = this;
    if (this.whole || this.holders > 1) {
      this.release();
      return;
    }
    this.holders = 0;
    // Recorded commands that use it must not be replayed from now on.
    pool.state = 'destroyed';
    gpu.stream.afterwards(() => gpu.pool.discard(pool));
  }
}
