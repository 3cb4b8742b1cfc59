// Families of variants to choose from: quick and slow ones, right and wrong ones.
import * as assert from 'uvu/assert';
import { Tensor } from '../src/core/tensor.ts';
import type { Gpu } from '../src/gpu/gpu.ts';
import { lanesMultiply } from '../src/ops/matrix/lanes.ts';
import { products } from '../src/ops/matrix/multiply.ts';
import { plainMultiply } from '../src/ops/matrix/plain.ts';
import { planOf } from '../src/ops/matrix/plan.ts';
import { type PrepareOptions, prepare } from '../src/ops/matrix/prepare.ts';
import type { Multiplication } from '../src/ops/matrix/problem.ts';
import { fillWithNoise } from '../src/ops/matrix/trial.ts';
import { compute, type Family, type Variant } from '../src/ops/matrix/variant.ts';
import { onDevice } from './gpu.ts';

export const slow: Variant<Multiplication> = {
  ...lanesMultiply,
  name: 'slow',
  reference: false,
  rank: () => 1,
  run(problem) {
    for (let i = 0; i < 100; i++) lanesMultiply.run(problem);
  },
};
export const fast: Variant<Multiplication> = { ...lanesMultiply, name: 'fast', reference: false };
export const does = (name: string, rank: number, run: Variant<Multiplication>['run']): Variant<Multiplication> => ({
  ...lanesMultiply,
  name,
  reference: false,
  rank: () => rank,
  run,
});
export const nothing = does('nothing', 5, () => {});
/** Right but for four elements. */
export const cleared = does('cleared', 6, (problem) => {
  lanesMultiply.run(problem);
  const { pool, offsetBytes } = problem.c.storage;
  problem.c.storage.gpu.stream.clear({ pool, offsetBytes, sizeBytes: 16 });
});
/** Right but for the last of the 64 products in each sum. */
export const short = does('short', 7, (problem) => {
  const { M, N, K } = problem.product;
  const [a, b] = [Tensor.empty([M, K]), Tensor.empty([K, N])];
  const { stream } = a.storage.gpu;
  const copy = (from: Tensor, to: Tensor, bytes: number) => {
    const range = ({ storage: { pool, offsetBytes } }: Tensor) => ({ pool, offsetBytes, sizeBytes: bytes });
    stream.copy(range(from), range(to));
  };
  copy(problem.a, a, 4 * M * K);
  stream.clear(b.storage);
  copy(problem.b, b, 4 * (K - 1) * N);
  lanesMultiply.run({ ...problem, a, b });
  a.free('the test');
  b.free('the test');
});
export const notANumber = does('nan', 8, ({ c }) => {
  const nan = Tensor.full(c.shape, Number.NaN);
  c.storage.gpu.stream.copy(nan.storage, c.storage);
  nan.free('the test');
});

/** A device that takes itself for hardware. */
export const onHardware = (fn: (other: Gpu) => Promise<void>): Promise<void> =>
  onDevice({}, async (other) => {
    Object.defineProperty(other, 'adapter', { value: { ...other.adapter, kind: 'hardware', software: false } });
    await fn(other);
  });

let families = 0;

/** A family of its own, so that nothing that one test finds out is known to the next. */
export const familyOf = (...variants: Variant<Multiplication>[]): Family<Multiplication> => ({
  ...products,
  name: `product ${families++}`,
  variants: [...variants, plainMultiply],
});

export const SAME = { strideH: 1, strideW: 1, padH: 1, padW: 1 };
export const EXTENT = 64;

export function multiplyBy(family: Family<Multiplication>, extent = EXTENT): Tensor {
  const [a, b, c] = [1, 2, 3].map((seed) => {
    const tensor = Tensor.empty([extent, extent]);
    fillWithNoise(tensor, seed);
    return tensor;
  }) as [Tensor, Tensor, Tensor];
  const product = { M: extent, N: extent, K: extent, transposeA: false, transposeB: false };
  compute(family, { a, b, bias: null, c, product });
  return c;
}

export const nameOf = ({ name }: Family<Multiplication>, extent = EXTENT) => `${name} ${extent}×${extent}×${extent}`;

/** Prepares for one product and says what computes it then; the plan has said so before. */
export async function chosen(on: Gpu, family: Family<Multiplication>, options?: PrepareOptions) {
  const report = await prepare(on, () => multiplyBy(family), options);
  const settled = planOf(on).used().get(nameOf(family));
  multiplyBy(family);
  const variant = planOf(on).used().get(nameOf(family));
  if (settled !== undefined) assert.is(settled, variant, 'the plan after preparation');
  return { variant, timed: report.timed, warnings: report.warnings };
}
