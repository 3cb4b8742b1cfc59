import type { Tensor } from '../../core/tensor.ts';
import { lanesMultiply } from './lanes.ts';
import { outerMultiply } from './outer.ts';
import { plainMultiply } from './plain.ts';
import { type Multiplication, type Product, productKey } from './problem.ts';
import { tensorMultiplies } from './tensor.ts';
import { tileProducts } from './tile.ts';
import { compute, type Family } from './variant.ts';

export const products: Family<Multiplication> = {
  name: 'matmul',
  variants: [...tensorMultiplies, ...tileProducts, outerMultiply, lanesMultiply, plainMultiply],
  key: ({ product, a }) => productKey(product, a.dtype),
  result: ({ c }) => c,
  on: ({ a, b, bias, c, product }, like) => ({ a: like(a), b: like(b), bias: bias && like(bias), c: like(c), product }),
};

/** c = op(a)·op(b) (+ bias), written to `c`, which is returned. No tape. */
export function multiply(a: Tensor, b: Tensor, bias: Tensor | null, c: Tensor, product: Product): Tensor {
  compute(products, { a, b, bias, c, product });
  return c;
}
