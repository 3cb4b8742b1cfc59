import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { GpuError } from '../core/errors.ts';
import { type AdapterFacts, type OpenOptions, openDevice } from './dawn.ts';
import { debug } from './debug.ts';
import { Gpu, useGpu } from './gpu.ts';
import { byteSize } from './pool.ts';

/** `shaders/` lies beside `src/`, and beside `dist/` in the package. */
const shaderFolder = fileURLToPath(new URL('../../shaders/', import.meta.url));

/** Reads shader text from the package's own `shaders/`. */
export function readShader(path: string): string {
  try {
    return readFileSync(shaderFolder + path, 'utf8');
  } catch {
    throw new GpuError(`there is no shader ${path} in ${shaderFolder}.`);
  }
}

/**
 * Opens a GPU, or a software one where there is none, and makes it the one that tensors are created on. `adapter` is `auto`
 * (default, or the environment's DAWNGRAD_ADAPTER), `hardware`, `software`, `lavapipe`, `swiftshader` or part of a name. `flags` is
 * `fast`; `validated`, with which Dawn validates every call; or `checked` for whoever writes kernels: then no kernel reads or writes
 * out of bounds either.
 */
export async function openGpu(options: OpenOptions = {}): Promise<Gpu> {
  const opened = await openDevice(options);
  debug(1, () => `device: ${opened.why}\n${granted(opened)}`);
  const gpu = new Gpu(opened.device, opened, readShader, () => opened.close());
  opened.onError((error) => gpu.fail(error));
  return useGpu(gpu);
}

/** A line of what a device has, as far as it decides how kernels run. */
function granted({ driver, features, limits, subgroupSizes: { min, max } }: AdapterFacts): string {
  const sizes = [
    `${byteSize(limits.maxStorageBufferBindingSize)} a binding`,
    `${byteSize(limits.maxBufferSize)} a buffer`,
    `${limits.maxComputeWorkgroupStorageSize / 1024} KiB and ${limits.maxComputeInvocationsPerWorkgroup} invocations a workgroup`,
  ];
  return `device: ${driver}; ${sizes.join(', ')}; subgroups of ${min} to ${max}; ${[...features].join(', ') || 'no features'}`;
}
