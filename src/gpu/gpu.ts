import { GpuError } from '../core/errors.ts';
import { PipelineCache } from './pipeline.ts';
import { BufferPool } from './pool.ts';
import type { ShaderSource } from './shader.ts';
import { CommandStream } from './stream.ts';

/** What the engine needs to know of the adapter behind a device. */
export interface AdapterFacts {
  kind: 'hardware' | 'lavapipe' | 'swiftshader' | 'null';
  name: string;
  driver: string;
  /** True where the "GPU" is the CPU. */
  software: boolean;
  /** Adapter, driver and Dawn in one string: the key of what was tuned or promised for them. */
  fingerprint: string;
  /** One line: what was chosen and why. */
  why: string;
}

/** A device with its pool, pipelines and command stream. */
export class Gpu {
  readonly pool: BufferPool;
  readonly pipelines: PipelineCache;
  readonly stream: CommandStream;
  readonly device: GPUDevice;
  readonly adapter: AdapterFacts;

  constructor(device: GPUDevice, adapter: AdapterFacts, source: ShaderSource) {
    this.device = device;
    this.adapter = adapter;
    this.pool = new BufferPool(device);
    this.pipelines = new PipelineCache(device, source, adapter.name);
    this.stream = new CommandStream(device);
  }

  get limits(): GPUSupportedLimits {
    return this.device.limits;
  }

  /** Frees the memory of tensors that are gone. */
  async trim(): Promise<void> {
    await this.stream.finish();
    this.stream.forget();
    this.pool.trim();
  }

  close(): void {
    this.device.destroy();
    if (current === this) current = null;
  }
}

let current: Gpu | null = null;

/** Makes `gpu` the one that tensors are created on. */
export function useGpu(gpu: Gpu): Gpu {
  current = gpu;
  return gpu;
}

/** The GPU that tensors are created on. Throws GpuError before `openGpu`. */
export function currentGpu(): Gpu {
  if (!current) throw new GpuError('no GPU is open: call `await openGpu()` first.');
  return current;
}
