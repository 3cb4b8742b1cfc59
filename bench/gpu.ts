import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type OpenedDevice, openDevice } from '../src/gpu/dawn.ts';
import { Gpu, useGpu } from '../src/gpu/gpu.ts';
import { readShader } from '../src/gpu/node.ts';
import type { ShaderSource } from '../src/gpu/shader.ts';

const prefix = 'bench/';
const folder = fileURLToPath(new URL('shaders/', import.meta.url));

/** The engine's shaders, and under `bench/` those that only a benchmark has a use for. */
const source: ShaderSource = (path) =>
  path.startsWith(prefix) ? readFileSync(folder + path.slice(prefix.length), 'utf8') : readShader(path);

/** Opens an adapter with the flags that training uses, and makes it the one that tensors are created on. */
export async function openForBench(adapter: string | undefined): Promise<{ gpu: Gpu; opened: OpenedDevice }> {
  const opened = await openDevice({ adapter, onPrint: (text) => process.stderr.write(text) });
  const gpu = new Gpu(opened.device, opened, source, () => opened.close());
  opened.onError((error) => gpu.fail(error));
  return { gpu: useGpu(gpu), opened };
}
