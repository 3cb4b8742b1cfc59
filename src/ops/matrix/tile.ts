import { wgslType } from '../../core/dtype.ts';
import { kernel, MAX_GROUPS } from '../../core/kernel.ts';
import type { Tensor } from '../../core/tensor.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import type { Consts } from '../../gpu/shader.ts';
import { storeConsts } from './elements.ts';
import { type Tile, tileGrid } from './grid.ts';
import {
  type Batch,
  type ConvDgrad,
  type ConvForward,
  type ConvWgrad,
  convFlops,
  convParams,
  dgradExtents,
  dgradParams,
  dgradProduct,
  forwardExtents,
  forwardProduct,
  isPointwise,
  type Multiplication,
  type Phases,
  productFlops,
  wgradExtents,
  wgradProduct,
} from './problem.ts';
import { evenly, inSplits, maxSplits } from './splits.ts';
import {
  MAX_SPLITS,
  planTile,
  type SplitK,
  type TileSize,
  tileBytes,
  tileName,
  tileSizes,
  tileThreads,
} from './tileplan.ts';
import type { Variant } from './variant.ts';

const matmul = kernel('matmul_tile', 'main');
const convolution = kernel('conv2d_tile', 'main');
const weightGradient = kernel('conv2d_wgrad_tile', 'main');

/** The size, the type that operands, which are of one, wait in, and how many invocations share registers. */
const constsOf = (size: TileSize, { dtype, storage }: Tensor): Consts => {
  const { BM, BN, BK, QUADS_M, QUADS_N } = size;
  const { narrow } = storage.gpu.adapter;
  const subgroup = narrow > 0 && { LANES: narrow, SIZE: 'lib/subgroup_size_lanes.wgsl' };
  return { BM, BN, BK, QUADS_M, QUADS_N, THREADS: tileThreads(size), Stage: wgslType(dtype, 4), ...subgroup };
};

/** The type that an operand is read as. */
const elementOf = ({ dtype }: Tensor, vectors: boolean): string => wgslType(dtype, vectors ? 4 : 1);

/** What is the same for all problems on a GPU, and the ranks of the sizes for those seen so far. */
interface Known {
  fitting: ReadonlySet<TileSize>;
  ranks: Map<string, ReadonlyMap<TileSize, number>>;
}

const known = new WeakMap<Gpu, Known>();

function knownOf(gpu: Gpu): Known {
  const before = known.get(gpu);
  if (before) return before;
  const { adapter, limits } = gpu;
  // Two by two quads spill where 128 registers are all that there is.
  const quads = adapter.narrow > 0 ? 2 : 4;
  const threads = Math.min(limits.maxComputeInvocationsPerWorkgroup, limits.maxComputeWorkgroupSizeX);
  const fits = (size: TileSize): boolean =>
    tileBytes(size) <= limits.maxComputeWorkgroupStorageSize &&
    tileThreads(size) <= threads &&
    size.QUADS_M * size.QUADS_N <= quads;
  const made: Known = {
    fitting: new Set(tileSizes.filter(fits)),
    ranks: new Map(),
  };
  known.set(gpu, made);
  return made;
}

const planFor = (extents: Phases, size: TileSize, y: Tensor): SplitK => planTile(extents, size, maxSplits(y.size));

/** Sizes that cost more than this against the cheapest, by estimate, are not worth a measurement. */
const WORTH_MEASURING = 1.6;

/** 1 for the size of the least cost, more for others: the place of a variant. Software drivers pay most for barriers. */
function rankOf(extents: Phases, size: TileSize, y: Tensor): number {
  const { gpu } = y.storage;
  if (gpu.adapter.software) return Number.POSITIVE_INFINITY;
  const { fitting, ranks } = knownOf(gpu);
  const { M, N, K, phases = 1 } = extents;
  const key = `${M} ${N} ${K} ${phases} ${y.size}`;
  let ranked = ranks.get(key);
  if (!ranked) {
    const costs = [...fitting].map((one) => [one, planFor(extents, one, y).cost] as const);
    const least = Math.min(...costs.map(([, cost]) => cost));
    ranked = new Map(costs.map(([one, cost]) => [one, cost / least]));
    ranks.set(key, ranked);
  }
  const ratio = ranked.get(size) ?? Number.POSITIVE_INFINITY;
  return ratio <= WORTH_MEASURING ? ratio : Number.POSITIVE_INFINITY;
}

const sidesOf = ({ BM, BN }: TileSize): Tile => [BM, BN];

function runProduct(size: TileSize, { a, b, bias, c, product }: Multiplication): void {
  const { M, N, K, transposeA, transposeB } = product;
  const VEC_A = (transposeA ? M : K) % 4 === 0;
  const VEC_B = (transposeB ? K : N) % 4 === 0;
  const consts = {
    ...constsOf(size, a),
    ...{ TRANSPOSE_A: transposeA, TRANSPOSE_B: transposeB, VEC_A, VEC_B },
    ...{ AElem: elementOf(a, VEC_A), BElem: elementOf(b, VEC_B) },
  };
  const plan = planFor(product, size, c);
  const { splits, stepsPerSplit } = evenly(Math.ceil(K / size.BK), plan.splits);
  inSplits(c, bias, splits, (out, add) => {
    const params = { m: M, n: N, k: K, stepsPerSplit, hasBias: add ? 1 : 0 };
    matmul(
      { ...consts, ...storeConsts(out, N % 4 === 0) },
      { a, b, bias: add ?? a.storage, out },
      params,
      tileGrid(product, sidesOf(size), splits),
      productFlops(product),
    );
  });
}

/** True where some tile can be made on an adapter. */
export const makesTiles = (gpu: Gpu): boolean => knownOf(gpu).fitting.size > 0;

/** c = op(a)·op(b) for each product of a batch, or c + op(a)·op(b); in the tiles that cost least. */
export function tileMultiplyBatch(a: Tensor, b: Tensor, c: Tensor, batch: Batch): void {
  const { M, N, K, transposeA, transposeB, count, accumulate = false } = batch;
  const extents = { M, N, K, phases: count };
  const costOf = (one: TileSize): number => planTile(extents, one, 1).cost;
  const size = [...knownOf(c.storage.gpu).fitting].reduce((best, one) => (costOf(one) < costOf(best) ? one : best));
  const consts = {
    ...constsOf(size, a),
    ...{ TRANSPOSE_A: transposeA, TRANSPOSE_B: transposeB, BATCHED: true, ACCUMULATE: accumulate },
  };
  const params = { m: M, n: N, k: K, stepsPerSplit: Math.ceil(K / size.BK), hasBias: 0 };
  const grid = tileGrid(batch, sidesOf(size), count);
  matmul(
    { ...consts, ...storeConsts(c, true) },
    { a, b, bias: a.storage, out: c },
    params,
    grid,
    count * productFlops(batch),
  );
}

/** How the reduction dimension of a convolution is read: `shaders/conv2d_tile.wgsl`. */
function reading(x: Tensor, { BK }: TileSize): Consts {
  const channels = x.shape[3]!;
  const RAGGED = channels % 4 !== 0;
  return { RAGGED, CHANNELS: RAGGED || channels < BK ? channels : 0, XElem: elementOf(x, !RAGGED) };
}

function runForward(size: TileSize, { x, w, bias, y, shape }: ConvForward): void {
  const { C, K, strideH, strideW, padH, padW } = shape;
  const VEC_W = C % 4 === 0;
  const consts = { ...constsOf(size, x), ...reading(x, size), VEC_W, WElem: elementOf(w, VEC_W) };
  const extents = forwardExtents(shape);
  const { splits } = planFor(extents, size, y);
  inSplits(y, bias, splits, (out, add) => {
    const params = { ...convParams(shape), strideH, strideW, padH, padW, splits, hasBias: add ? 1 : 0 };
    convolution(
      { ...consts, ...storeConsts(out, K % 4 === 0) },
      { x, w, bias: add ?? w.storage, out },
      params,
      tileGrid(extents, sidesOf(size), splits),
      convFlops(shape),
    );
  });
}

function runDgrad(size: TileSize, { dy, w, dx, shape }: ConvDgrad): void {
  const { C, strideH, strideW, padH, padW } = shape;
  const VEC_W = C % 4 === 0;
  const consts = { ...constsOf(size, dy), ...reading(dy, size), DGRAD: true, VEC_W, WElem: elementOf(w, VEC_W) };
  const extents = dgradExtents(shape);
  const { splits } = planFor(extents, size, dx);
  inSplits(dx, null, splits, (out) => {
    const params = { ...dgradParams(shape), strideH, strideW, padH, padW, splits, hasBias: 0 };
    const grid = tileGrid(extents, sidesOf(size), splits * extents.phases);
    const all = { ...consts, ...storeConsts(out, VEC_W) };
    convolution(all, { x: dy, w, bias: w.storage, out }, params, grid, convFlops(shape));
  });
}

function runWgrad(size: TileSize, { x, dy, dw, shape }: ConvWgrad): void {
  const { C, K, strideH, strideW, padH, padW } = shape;
  const [VEC_X, VEC_DY] = [C % 4 === 0, K % 4 === 0];
  const consts = { ...constsOf(size, x), VEC_X, VEC_DY, XElem: elementOf(x, VEC_X), DyElem: elementOf(dy, VEC_DY) };
  const extents = wgradExtents(shape);
  const plan = planFor(extents, size, dw);
  const { splits, stepsPerSplit } = evenly(Math.ceil(extents.K / size.BK), plan.splits);
  inSplits(dw, null, splits, (out) => {
    const params = { ...convParams(shape), strideH, strideW, padH, padW, stepsPerSplit };
    const grid = tileGrid(extents, sidesOf(size), splits);
    weightGradient({ ...consts, ...storeConsts(out, VEC_X) }, { x, dy, out }, params, grid, convFlops(shape));
  });
}

/** A variant for each size of tile. */
const variantsOf = <P>(
  result: (problem: P) => Tensor,
  extents: (problem: P) => Phases,
  run: (size: TileSize, problem: P) => void,
): Variant<P>[] =>
  tileSizes.map((size) => ({
    name: tileName(size),
    fits: (problem) =>
      knownOf(result(problem).storage.gpu).fitting.has(size) &&
      (extents(problem).phases ?? 1) * MAX_SPLITS <= MAX_GROUPS,
    rank: (problem) => rankOf(extents(problem), size, result(problem)),
    run: (problem) => run(size, problem),
  }));

export const tileProducts: readonly Variant<Multiplication>[] = variantsOf(
  ({ c }) => c,
  ({ product }) => product,
  runProduct,
);

export const tileForwards: readonly Variant<ConvForward>[] = variantsOf(
  ({ y }) => y,
  ({ shape }) => forwardExtents(shape),
  (size, problem) =>
    isPointwise(problem.shape) ? runProduct(size, forwardProduct(problem)) : runForward(size, problem),
);

export const tileDgrads: readonly Variant<ConvDgrad>[] = variantsOf(
  ({ dx }) => dx,
  ({ shape }) => dgradExtents(shape),
  (size, problem) => (isPointwise(problem.shape) ? runProduct(size, dgradProduct(problem)) : runDgrad(size, problem)),
);

export const tileWgrads: readonly Variant<ConvWgrad>[] = variantsOf(
  ({ dw }) => dw,
  ({ shape }) => wgradExtents(shape),
  (size, problem) => (isPointwise(problem.shape) ? runProduct(size, wgradProduct(problem)) : runWgrad(size, problem)),
);
