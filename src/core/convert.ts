import { wgslType } from './dtype.ts';
import { kernel } from './kernel.ts';
import type { Tensor } from './tensor.ts';

const convertKernel = kernel('convert', 'convert');

/** y = x in y's own type, f32 or f16. */
export function convert(x: Tensor, y: Tensor): void {
  const width = x.size % 4 === 0 ? 4 : 1;
  const n = x.size / width;
  convertKernel({ XElem: wgslType(x.dtype, width), YElem: wgslType(y.dtype, width) }, { x, y }, { n }, n);
}
