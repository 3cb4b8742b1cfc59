import { type GpuError, LossError, MemoryError, UsageError } from '../core/errors.ts';
import type { AdapterKind } from './adapters.ts';
import type { DawnFlags, SubgroupMatrixConfig } from './dawn.ts';
import { debug } from './debug.ts';
import { PipelineCache } from './pipeline.ts';
import { BufferPool, byteSize, type Checked } from './pool.ts';
import type { ShaderSource } from './shader.ts';
import { CommandStream } from './stream.ts';

/** What the engine needs to know of the adapter behind a device. */
export interface Adapter {
  readonly kind: AdapterKind;
  readonly name: string;
  readonly driver: string;
  /** True where the "GPU" is the CPU. */
  readonly software: boolean;
  /** Granted features, such as `subgroups` and `shader-f16`. */
  readonly features: ReadonlySet<string>;
  /** Invocations in a subgroup; 0 where unknown. */
  readonly subgroupSizes: { readonly min: number; readonly max: number };
  /** Invocations of a subgroup that a kernel with many registers asks for; 0 where it is for the driver to say. */
  readonly narrow: number;
  /** Matrix products that a subgroup does in hardware. */
  readonly subgroupMatrixConfigs: readonly SubgroupMatrixConfig[];
  /** Adapter, driver and Dawn in one string: the key of what was tuned or promised for them. */
  readonly fingerprint: string;
  /** Which of Dawn's checks and guards are on: as much a part of a kernel's speed. */
  readonly flags: DawnFlags;
  /** One line: what was chosen and why. */
  readonly why: string;
}

/** How often `trim` waits for a moment in which nothing is recorded. */
const TRIM_ROUNDS = 10;

/** A device with its pool, pipelines and command stream. */
export class Gpu {
  readonly pool: BufferPool;
  readonly pipelines: PipelineCache;
  readonly stream: CommandStream;
  readonly device: GPUDevice;
  readonly adapter: Adapter;

  /** True once `close` was called. */
  closed = false;
  /** True when memory has run out since the last `trim`. */
  short = false;

  /** Errors that no call could report; `fail` adds one, `check` throws the first. */
  private failure: GpuError | null = null;
  private loss: LossError | null = null;
  private readonly onClose: () => void;

  constructor(device: GPUDevice, adapter: Adapter, source: ShaderSource, onClose: () => void = () => device.destroy()) {
    this.onClose = onClose;
    this.device = device;
    this.adapter = adapter;
    const checked: Checked = (make) => this.checked(make);
    this.pool = new BufferPool(device, checked);
    this.pipelines = new PipelineCache(device, source, adapter.name);
    this.stream = new CommandStream(device, !adapter.software, checked);
  }

  get limits(): GPUSupportedLimits {
    return this.device.limits;
  }

  /** Bytes of the largest tensor that a kernel can be given. */
  get maxTensorBytes(): number {
    const { maxStorageBufferBindingSize, maxBufferSize } = this.limits;
    return Math.min(maxStorageBufferBindingSize, maxBufferSize);
  }

  /** Frees the memory of tensors that are gone; none where there is always more to be done. */
  async trim(): Promise<void> {
    // A step that began meanwhile may compile still, and has given back what it will use.
    for (let round = 0; round < TRIM_ROUNDS; round++) {
      await this.stream.finish();
      if (!this.stream.idle) continue;
      this.stream.forget();
      this.pool.trim();
      this.short = false;
      return;
    }
  }

  fail(error: GpuError): void {
    if (error instanceof MemoryError) this.short = true;
    if (error instanceof LossError) this.loss ??= error;
    else this.failure ??= error;
  }

  /** Throws what went wrong on the device since the last call, such as memory that ran out, and from its loss on that each time. */
  check(): void {
    const failure = this.failure ?? this.loss;
    this.failure = null;
    if (failure) throw failure;
  }

  /** What `make` makes. Throws what goes wrong on the device meanwhile, and that alone. */
  private checked<T>(make: () => T): T {
    const before = this.failure;
    this.failure = null;
    try {
      const made = make();
      if (this.failure) throw this.failure;
      return made;
    } finally {
      this.failure = before;
    }
  }

  /** One line: memory, and what was made so far. */
  private memory(): string {
    const { liveBytes, allocatedBytes, peakBytes, created } = this.pool.stats;
    const { dispatches, submits } = this.stream.stats;
    const held = `${byteSize(liveBytes)} in use, ${byteSize(allocatedBytes)} allocated, ${byteSize(peakBytes)} at most`;
    return `memory: ${held}; ${created} buffers and ${this.pipelines.size} pipelines made, ${dispatches} dispatches in ${submits} submits`;
  }

  /** Frees the device and all that is on it: tensors, networks and optimizers that were made on it are of no use any more. */
  close(): void {
    debug(1, () => this.memory());
    this.closed = true;
    this.onClose();
    if (current === this) current = null;
  }
}

let current: Gpu | null = null;

/** Makes `gpu` the one that tensors are created on. Operations take tensors of this one alone. */
export function useGpu(gpu: Gpu): Gpu {
  if (gpu.closed)
    throw new UsageError(`useGpu: ${gpu.adapter.name} was closed; open it anew with \`await openGpu()\`.`);
  current = gpu;
  return gpu;
}

/** The GPU that tensors are created on. Throws UsageError before `openGpu`. */
export function currentGpu(): Gpu {
  if (!current) throw new UsageError('no GPU is open: call `await openGpu()` first.');
  return current;
}
