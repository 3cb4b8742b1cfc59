import { wgslType } from './dtype.ts';
import { kernel } from './kernel.ts';
import type { Tensor } from './tensor.ts';

const convertKernel = kernel('convert', 'convert');

/** y = x in y's own type, f32 or f16. */
export function convert(x: Tensor, y: Tensor): void {
  // Any tensor's memory is whole vectors long.
  const n = Math.ceil(x.size / 4);
  convertKernel({ XElem: wgslType(x.dtype, 4), YElem: wgslType(y.dtype, 4) }, { x, y }, { n }, n);
}
