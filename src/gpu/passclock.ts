import { MAP_READ_MODE, USAGE } from './usage.ts';

const BYTES_PER_STAMP = 8;

/** Times compute passes with the GPU's own clock (feature `timestamp-query`), up to `capacity` of them at once. */
export class PassClock {
  readonly capacity = 2048;
  private readonly stamps: GPUQuerySet;
  private readonly resolved: GPUBuffer;
  private readonly staging: GPUBuffer;

  constructor(device: GPUDevice) {
    const count = 2 * this.capacity;
    const size = count * BYTES_PER_STAMP;
    this.stamps = device.createQuerySet({ label: 'pass times', type: 'timestamp', count });
    const usage = USAGE.QUERY_RESOLVE | USAGE.COPY_SRC;
    this.resolved = device.createBuffer({ label: 'pass times', size, usage });
    this.staging = device.createBuffer({ label: 'pass times read', size, usage: USAGE.MAP_READ | USAGE.COPY_DST });
  }

  /** What the descriptor of pass number `index` takes. */
  writes(index: number): GPUComputePassTimestampWrites {
    return { querySet: this.stamps, beginningOfPassWriteIndex: 2 * index, endOfPassWriteIndex: 2 * index + 1 };
  }

  /** Encodes the transfer of the first `count` passes' times, behind those passes. */
  resolve(encoder: GPUCommandEncoder, count: number): void {
    encoder.resolveQuerySet(this.stamps, 0, 2 * count, this.resolved, 0);
    encoder.copyBufferToBuffer(this.resolved, 0, this.staging, 0, 2 * count * BYTES_PER_STAMP);
  }

  /** Milliseconds of the first `count` passes, once what `resolve` encoded is submitted. */
  async read(count: number): Promise<number[]> {
    const sizeBytes = 2 * count * BYTES_PER_STAMP;
    await this.staging.mapAsync(MAP_READ_MODE, 0, sizeBytes);
    const ns = new BigUint64Array(this.staging.getMappedRange(0, sizeBytes).slice(0));
    this.staging.unmap();
    return Array.from({ length: count }, (_, i) => {
      const end = ns[2 * i + 1]!;
      // A pass's first stamp is taken when the GPU comes by, which may be before the pass in front of it has ended.
      const start = i > 0 && ns[2 * i - 1]! > ns[2 * i]! ? ns[2 * i - 1]! : ns[2 * i]!;
      return end > start ? Number(end - start) / 1e6 : 0;
    });
  }
}
