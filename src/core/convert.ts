import type { BufferRange } from '../gpu/stream.ts';
import { elementBytes, wgslType } from './dtype.ts';
import { kernel } from './kernel.ts';
import type { Tensor } from './tensor.ts';

const convertKernel = kernel('convert', 'convert');

/** Values whose bytes are a multiple of what a binding's offset has to be, in f16 and in f32. */
const ALIGNED = 128;

/** y = x in y's own type, f32 or f16. Tensors larger than the adapter can bind are worked through in parts. */
export function convert(x: Tensor, y: Tensor): void {
  const width = x.size % 4 === 0 ? 4 : 1;
  const types = { XElem: wgslType(x.dtype, width), YElem: wgslType(y.dtype, width) };
  const most = Math.floor(x.storage.gpu.limits.maxStorageBufferBindingSize / (4 * ALIGNED)) * ALIGNED;
  for (let first = 0; first < x.size; first += most) {
    const count = Math.min(most, x.size - first);
    const part = (tensor: Tensor) => (count === tensor.size ? tensor : partOf(tensor, first, count));
    convertKernel(types, { x: part(x), y: part(y) }, { n: count / width }, count / width);
  }
}

function partOf({ storage: { pool, offsetBytes }, dtype }: Tensor, first: number, count: number): BufferRange {
  const bytes = elementBytes(dtype);
  return { pool, offsetBytes: offsetBytes + bytes * first, sizeBytes: Math.ceil((bytes * count) / 16) * 16 };
}
