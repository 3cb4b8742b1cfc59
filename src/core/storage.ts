import { currentGpu, type Gpu } from '../gpu/gpu.ts';
import type { PoolBuffer } from '../gpu/pool.ts';
import type { BufferRange } from '../gpu/stream.ts';
import { GpuError } from './errors.ts';

/**
 * The memory of one or more tensors (views share it). It goes back to the pool when the last holder lets go; slots of an arena
 * are never given back one by one.
 */
export class Storage implements BufferRange {
  readonly gpu: Gpu;
  readonly pool: PoolBuffer;
  readonly offsetBytes: number;
  readonly sizeBytes: number;
  private holders = 1;
  private readonly pooled: boolean;

  private constructor(gpu: Gpu, pool: PoolBuffer, offsetBytes: number, sizeBytes: number, pooled: boolean) {
    this.gpu = gpu;
    this.pool = pool;
    this.offsetBytes = offsetBytes;
    // Whole vec4s, so that kernels which read four values at once can bind any tensor.
    this.sizeBytes = Math.ceil(sizeBytes / 16) * 16;
    this.pooled = pooled;
  }

  /** A buffer of the pool, its content garbage. */
  static acquire(sizeBytes: number): Storage {
    const gpu = currentGpu();
    return new Storage(gpu, gpu.pool.acquire(sizeBytes), 0, sizeBytes, true);
  }

  /** A range of a buffer that somebody else owns. */
  static within(gpu: Gpu, pool: PoolBuffer, offsetBytes: number, sizeBytes: number): Storage {
    return new Storage(gpu, pool, offsetBytes, sizeBytes, false);
  }

  get alive(): boolean {
    return this.holders > 0;
  }

  /** True when one tensor holds it, and the pool gets it back from that one. */
  get sole(): boolean {
    return this.pooled && this.holders === 1;
  }

  hold(): this {
    if (!this.alive) throw new GpuError('this memory was given back already.');
    this.holders++;
    return this;
  }

  release(): void {
    if (--this.holders === 0 && this.pooled) this.gpu.pool.release(this.pool);
  }

  /** `release` of memory whose size nobody will ask for again: it is not kept for others. */
  discard(): void {
    const { gpu, pool } = this;
    if (--this.holders > 0 || !this.pooled) return;
    // Recorded commands that use it must not be replayed from now on.
    pool.state = 'destroyed';
    gpu.stream.afterwards(() => gpu.pool.discard(pool));
  }
}
