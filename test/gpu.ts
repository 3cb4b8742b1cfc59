/**
 * The device that the whole suite shares, opened when the first test file that needs it is loaded: uvu loads all files into
 * one process before it runs any, so the line that names the adapter is the first of the output.
 *
 * DAWNGRAD_ADAPTER chooses the adapter, DAWNGRAD_TEST_FLAGS Dawn's flags. Without it they are the validated ones, and in `npm run
 * test:full` the checked ones: SwiftShader takes twice as long to compile a kernel with checks of its indices.
 */
import { test } from 'uvu';
import { type Gpu, useGpu } from '../src/gpu/gpu.ts';
import { openGpu } from '../src/gpu/node.ts';
import { gradcheck, type OperationCase } from './cases/case.ts';

const full = process.env.DAWNGRAD_TEST === 'full';
const asked = process.env.DAWNGRAD_TEST_FLAGS || (full ? 'checked' : 'validated');
const flags = (['checked', 'validated', 'fast'] as const).find((known) => known === asked);
if (!flags) throw new Error(`DAWNGRAD_TEST_FLAGS: expected checked, validated or fast, got '${asked}'.`);

export const gpu: Gpu = await openGpu({ flags });
process.stdout.write(`${gpu.adapter.why} (${flags} flags)\n`);

/** Fills new memory with NaN: a device makes it zeros, and what a kernel leaves out would often look right. */
function spoilNewMemory({ pool, device }: Gpu): void {
  const acquire = pool.acquire.bind(pool);
  pool.acquire = (sizeBytes) => {
    const before = pool.stats.created;
    const lent = acquire(sizeBytes);
    if (pool.stats.created > before) device.queue.writeBuffer(lent.buffer, 0, new Uint8Array(lent.sizeBytes).fill(255));
    return lent;
  };
}
spoilNewMemory(gpu);

/** A run that takes longer fails; uvu itself would wait for ever. */
const LIMIT_MS = 60_000;

/** Rejects when `work` is not done after `limitMs`. */
export async function within<T>(limitMs: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${limitMs / 1000} s`)), limitMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A test on the shared device: it must end in time, and leave no error behind on the device. */
export function gpuTest(name: string, run: () => Promise<unknown> | unknown, limitMs = LIMIT_MS): void {
  test(name, async () => {
    useGpu(gpu);
    await within(limitMs, Promise.resolve(run()));
    await within(limitMs, gpu.stream.finish());
    gpu.check();
  });
}

let said = false;

/** `gpuTest` where the adapter can compute in f16; elsewhere it is skipped, and a line says so. */
export function halfTest(name: string, run: () => Promise<unknown> | unknown, limitMs?: number): void {
  if (gpu.adapter.features.has('shader-f16')) {
    gpuTest(name, run, limitMs);
    return;
  }
  if (!said) process.stdout.write(`skipped: what needs f16, for ${gpu.adapter.name} has no shader-f16\n`);
  said = true;
  test.skip(name);
}

/** Runs `fn` on a device of its own, `options` as for `openGpu` but with the suite's flags, and then goes back to the shared one. */
export async function onDevice<T>(
  options: Parameters<typeof openGpu>[0],
  fn: (other: Gpu) => Promise<T> | T,
): Promise<T> {
  const other = await openGpu({ flags, ...options });
  try {
    const result = await fn(other);
    await other.stream.finish();
    other.check();
    return result;
  } finally {
    other.close();
    useGpu(gpu);
  }
}

/** Lets `device` bind no more than so many bytes, as far as the engine knows. */
export function limitBindings({ device }: Gpu, maxStorageBufferBindingSize: number): void {
  const value = { maxStorageBufferBindingSize, maxBufferSize: device.limits.maxBufferSize };
  Object.defineProperty(device, 'limits', { value });
}

/** The message of the error that `run` throws; an error when it throws none. */
export async function messageOf(run: () => unknown): Promise<string> {
  try {
    await run();
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error('nothing was thrown');
}

/** A test of value and gradients for each case. */
export function gradcheckAll(cases: readonly OperationCase[]): void {
  for (const { what, make, half } of cases) {
    (half ? halfTest : gpuTest)(what, () => gradcheck({ ...make(), what }));
  }
}
