import { wgslType } from './dtype.ts';
import { kernel } from './kernel.ts';
import { inParts } from './parts.ts';
import type { Tensor } from './tensor.ts';

const convertKernel = kernel('convert', 'convert');

/** y = x in y's own type, f32 or f16, of any size. */
export const convert = (x: Tensor, y: Tensor): void =>
  inParts({ x, y }, (operands, count) => {
    const width = count % 4 === 0 ? 4 : 1;
    const n = count / width;
    convertKernel({ XElem: wgslType(x.dtype, width), YElem: wgslType(y.dtype, width) }, operands, { n }, n);
  });
