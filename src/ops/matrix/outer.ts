import { wgslType } from '../../core/dtype.ts';
import { kernel, MAX_GROUPS } from '../../core/kernel.ts';
import type { Adapter } from '../../gpu/gpu.ts';
import { isSmallAndRagged, type Multiplication, productFlops } from './problem.ts';
import type { Variant } from './variant.ts';

const multiply = kernel('matmul_outer', 'main');

/** What is kept of b for a longer reduction does not fit into registers. */
const MAX_K = 16;
/**
 * vec4s of b that an invocation keeps at most on a software adapter (FOURS·K). More are faster, but on drivers that run 8 lanes as
 * one vector (lavapipe) they take longer to compile; with a longer K than this the kernel is not worth it.
 */
const keptBy = ({ subgroupSizes }: Adapter): number => (subgroupSizes.max > 4 ? 8 : 32);
/** Rows that a workgroup walks down at most, and workgroups that keep an adapter busy. */
const ROWS = { software: 256, hardware: 64 };
const BUSY = { software: 16, hardware: 256 };
const HARDWARE_GROUP = 64;
/**
 * Values of c from which on lavapipe's workgroups of 8 walk down fewer rows, so that a row's next columns are written sooner, and keep
 * twice as much of b. On Mesa 26.2 (AVX-512) walks of 96 rows or more take up to twice as long as those of 48, whether a width is a
 * power of two or not. On Mesa 25.0.7 short walks alone lose 8 to 12 % and keeping more wins 20 to 30: both together win on either. A
 * smaller c does not make up for the compilation, which takes a tenth to a quarter of a second more on 25.0.7.
 */
const LARGE = 2 ** 23;
const LARGE_ROWS = 48;

/** Workgroups lie across in one dimension of the grid, each at least 16 columns wide. */
const MAX_COLUMNS = 16 * MAX_GROUPS;

const fits = ({ bias, product: { N, K, transposeB } }: Multiplication): boolean =>
  K <= MAX_K && N % 4 === 0 && N <= MAX_COLUMNS && !transposeB && bias === null;

/** A few outer products: the weight gradient of a Linear over a small batch. It runs at the rate at which c is written. */
export const outerMultiply: Variant<Multiplication> = {
  name: 'outer',
  fits,
  rank({ product }, adapter) {
    if (!adapter.software) return 1.2;
    // Each K is a kernel of its own: the images of a batch make one for all layers, the classes one for a single small product.
    const alone = product.K % 4 !== 0 && isSmallAndRagged(product);
    return product.K <= keptBy(adapter) && !alone ? 5 : Number.POSITIVE_INFINITY;
  },
  run({ a, b, c, product }) {
    const { M, N, K, transposeA } = product;
    const { adapter } = c.storage.gpu;
    const { software } = adapter;
    const kind = software ? 'software' : 'hardware';
    // Software drivers pay for each subgroup alike, and least for workgroups of one.
    const GROUP = software ? adapter.subgroupSizes.max || 8 : HARDWARE_GROUP;
    const large = adapter.kind === 'lavapipe' && GROUP === 8 && M * N >= LARGE;
    const kept = large ? 2 * keptBy(adapter) : keptBy(adapter);
    const most = software ? Math.max(1, Math.min(4, 2 ** Math.floor(Math.log2(kept / K)))) : 1;
    const FOURS = Math.min(most, 2 ** Math.ceil(Math.log2(Math.ceil(N / 4 / GROUP))));
    const wide = 4 * FOURS * GROUP;
    const across = Math.ceil(N / wide);
    const down = Math.ceil(BUSY[kind] / across);
    const longest = large ? LARGE_ROWS : ROWS[kind];
    const rows = Math.max(Math.min(longest, Math.ceil(M / down)), Math.ceil(M / MAX_GROUPS));
    const types = { AElem: a.dtype, BElem: wgslType(b.dtype, 4), CElem: wgslType(c.dtype, 4) };
    multiply(
      { K, FOURS, GROUP, EDGE: N % wide !== 0, TRANSPOSE_A: transposeA, ...types },
      { a, b, c },
      { m: M, n: N, rows },
      [across, Math.ceil(M / rows), 1],
      productFlops(product),
    );
  },
};
