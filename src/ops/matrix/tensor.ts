import { kernel, type Operand } from '../../core/kernel.ts';
import type { Tensor } from '../../core/tensor.ts';
import type { Adapter } from '../../gpu/gpu.ts';
import type { Consts } from '../../gpu/shader.ts';
import { storeConsts } from './elements.ts';
import { type Tile, tileCount, tileGrid } from './grid.ts';
import {
  type ConvDgrad,
  type ConvForward,
  type ConvShape,
  type ConvWgrad,
  convFlops,
  convParams,
  dgradExtents,
  type Extents,
  forwardExtents,
  type Multiplication,
  type Phases,
  productFlops,
  wgradExtents,
} from './problem.ts';
import { evenly, inSplits, maxSplits, type Splits } from './splits.ts';
import type { Variant } from './variant.ts';

const matmul = kernel('matmul_tensor', 'main');
const convolution = kernel('conv2d_tensor', 'main');
const weightGradient = kernel('conv2d_wgrad_tensor', 'main');

/** A product that a subgroup does in hardware, M×K by K×N, of f16 with sums in f32. It takes M·N/8 lanes. */
export type Matrices = Readonly<Record<'M' | 'N' | 'K', number>>;

/** NVIDIA's and AMD's, then Intel's by their two widths of subgroup, and lavapipe's. */
export const MATRICES: readonly [Matrices, ...Matrices[]] = [
  { M: 16, N: 16, K: 16 },
  { M: 8, N: 16, K: 16 },
  { M: 8, N: 8, K: 16 },
  { M: 8, N: 8, K: 8 },
];

const lanesOf = ({ M, N }: Matrices): number => (M * N) / 8;

/** How a workgroup makes its tile: `shaders/lib/tensor.wgsl`. */
interface TileSize {
  matrices: Matrices;
  /** Subgroups down and across; each makes 2 by `columns` matrices of results. */
  subgroupsM: number;
  subgroupsN: number;
  columns: 2 | 4;
  /** Products one after another along the reduction, of what is staged at once. */
  products: 1 | 2;
  /** Work done in a given time, against the other sizes, when all of its results are wanted. */
  speed: number;
}

type Arrangement = Omit<TileSize, 'matrices' | 'speed'>;

/**
 * By the size of matrices, from large to small: the larger a tile, the more products come of each load; the smaller, the more workgroups
 * there are and the less is cut off.
 *
 * A subgroup of Intel's has the 128 registers of one thread, of which a matrix of sums takes eight. With four columns, or with more
 * loaded ahead, they spill: by 8×8×16 a kernel stored 28 to 254 of them, by 8×16×16 111 to 170 with four columns, 5 or 8 with two and
 * four chunks of b (Mesa 26.2 for Arc A770 and Lunar Lake). What is left spills none, but up to 43 where rows are no multiple of
 * eight long.
 */
const ARRANGEMENTS: Readonly<Record<string, readonly Arrangement[]>> = {
  '16×16×16': [
    { subgroupsM: 4, subgroupsN: 2, columns: 4, products: 2 },
    { subgroupsM: 4, subgroupsN: 1, columns: 4, products: 2 },
    { subgroupsM: 2, subgroupsN: 2, columns: 2, products: 2 },
  ],
  '8×16×16': [
    { subgroupsM: 4, subgroupsN: 4, columns: 2, products: 2 },
    { subgroupsM: 4, subgroupsN: 2, columns: 2, products: 1 },
    { subgroupsM: 2, subgroupsN: 2, columns: 2, products: 1 },
  ],
  '8×8×16': [
    { subgroupsM: 4, subgroupsN: 4, columns: 2, products: 1 },
    { subgroupsM: 4, subgroupsN: 2, columns: 2, products: 1 },
    { subgroupsM: 2, subgroupsN: 4, columns: 2, products: 1 },
  ],
  '8×8×8': [
    { subgroupsM: 4, subgroupsN: 2, columns: 4, products: 2 },
    { subgroupsM: 4, subgroupsN: 1, columns: 4, products: 2 },
    { subgroupsM: 2, subgroupsN: 2, columns: 2, products: 2 },
  ],
};

const SPEEDS = [1, 0.85, 0.7];

const called = ({ M, N, K }: Matrices): string => `${M}×${N}×${K}`;

const SIZES: readonly TileSize[] = MATRICES.flatMap((matrices) =>
  ARRANGEMENTS[called(matrices)]!.map((arrangement, i) => ({ matrices, ...arrangement, speed: SPEEDS[i]! })),
);

const sidesOf = ({ matrices: { M, N }, subgroupsM, subgroupsN, columns }: TileSize): Tile => [
  2 * M * subgroupsM,
  N * columns * subgroupsN,
];

/** Terms of the reduction that a workgroup stages at once. */
const depthOf = ({ matrices: { K }, products }: TileSize): number => products * K;

function nameOf(size: TileSize): string {
  const { matrices } = size;
  const name = `tensor ${[...sidesOf(size), depthOf(size)].join('×')}`;
  return matrices === MATRICES[0] ? name : `${name} by ${called(matrices)}`;
}

/** An upper bound of the workgroup memory that a tile takes: both operands with the longer of their paddings, and the sums. */
function memoryBytes(size: TileSize): number {
  const { matrices, subgroupsM, subgroupsN } = size;
  const depth = depthOf(size);
  const staged = (extent: number): number => 2 * Math.max(extent * (depth + 8), depth * (extent + 8));
  const sums = 4 * subgroupsM * subgroupsN * matrices.M * (matrices.N + 4);
  const [rows, columns] = sidesOf(size);
  return staged(rows) + staged(columns) + sums;
}

let emulated: Matrices | null = null;

/**
 * From now on tensor cores for these of `MATRICES` are emulated in plain WGSL, on any adapter with f16, until this is called with
 * null; for tests. All but the products themselves is then as it is on tensor cores.
 */
export function emulateTensorCores(matrices: Matrices | null): void {
  emulated = matrices;
}

/** True where an adapter multiplies such f16 matrices and sums in f32, in subgroups of the size that they take. */
export function hasTensorCores(
  { features, subgroupSizes: { min, max }, subgroupMatrixConfigs }: Adapter,
  matrices: Matrices,
): boolean {
  const needed = ['shader-f16', 'subgroups', 'chromium-experimental-subgroup-matrix'];
  if (!needed.every((feature) => features.has(feature))) return false;
  const lanes = lanesOf(matrices);
  const sized = features.has('subgroup-size-control') ? min <= lanes && lanes <= max : min === lanes && max === lanes;
  return (
    sized &&
    subgroupMatrixConfigs.some(
      ({ componentType, resultComponentType, M, N, K }) =>
        componentType === 'f16' &&
        resultComponentType === 'f32' &&
        M === matrices.M &&
        N === matrices.N &&
        K === matrices.K,
    )
  );
}

/** True where a tile can compute from `operands` into `result`. */
function fits(size: TileSize, operands: readonly Tensor[], result: Tensor, adapter: Adapter): boolean {
  const { limits } = result.storage.gpu;
  const { matrices, subgroupsM, subgroupsN } = size;
  return (
    (emulated ? emulated === matrices && adapter.features.has('shader-f16') : hasTensorCores(adapter, matrices)) &&
    operands.every(({ dtype }) => dtype === 'f16') &&
    memoryBytes(size) <= limits.maxComputeWorkgroupStorageSize &&
    lanesOf(matrices) * subgroupsM * subgroupsN <= limits.maxComputeInvocationsPerWorkgroup
  );
}

/** Workgroups that keep an adapter with tensor cores busy: two on each of the largest ones' 132 multiprocessors. */
const BUSY = 264;
/** Steps of the reduction that one part of a split sums at least. */
const MIN_STEPS = 8;

/** In how many parts a reduction is summed: more than one where the tiles alone would leave the adapter idle. */
function splitsFor(size: TileSize, extents: Extents): Splits {
  const steps = Math.ceil(extents.K / depthOf(size));
  const most = Math.min(Math.floor(steps / MIN_STEPS), maxSplits(extents.M * extents.N));
  return evenly(steps, Math.max(1, Math.min(most, Math.floor(BUSY / tileCount(extents, sidesOf(size))))));
}

/** Below this a side or the reduction is so short that most of a tile's products are with zeros. */
const WORTHWHILE = 16;
/** The phases of a data gradient are dispatched one after another, and not split. */
const MAX_PHASES = 16;

/**
 * Between 0, the best, and 1: the other tiers, which multiply without tensor cores, come after it. On lavapipe, which has none but
 * knows their instructions (Mesa 26.2), a product takes 6 times as long as by `lanes`.
 */
function rank(size: TileSize, extents: Phases, { software }: Adapter): number {
  const { M, N, K, phases = 1 } = extents;
  const worthwhile = Math.min(M, N, K) >= WORTHWHILE && phases <= MAX_PHASES;
  if ((software && !emulated) || !worthwhile) return Number.POSITIVE_INFINITY;
  const [rows, columns] = sidesOf(size);
  const tiles = tileCount(extents, [rows, columns]);
  const splits = phases > 1 ? 1 : splitsFor(size, extents).splits;
  const wanted = (M * N) / (tiles * rows * columns);
  const busy = Math.min(1, (tiles * splits) / BUSY);
  return 1 - wanted * busy * size.speed;
}

const eights = (...extents: readonly number[]): boolean => extents.every((extent) => extent % 8 === 0);

/** An operand as a kernel reads it: by eights as words, of two elements each. */
const read = (tensor: Tensor, vectors: boolean): Operand => (vectors ? { words: tensor } : tensor);

/** Constants that say how a tile is read, made and stored: with `vectors`, by eights, which every extent along memory must allow. */
function tileConsts(size: TileSize, vectors: boolean, out: Tensor): Consts {
  const { features } = out.storage.gpu.adapter;
  const { matrices, subgroupsM, subgroupsN, columns, products } = size;
  return {
    ...{ MATRIX_M: matrices.M, MATRIX_N: matrices.N, MATRIX_K: matrices.K },
    ...{ SUBGROUPS_M: subgroupsM, SUBGROUPS_N: subgroupsN, COLUMNS: columns, PRODUCTS: products },
    MMA: emulated ? 'lib/mma_emulated.wgsl' : 'lib/mma_subgroup.wgsl',
    SIZE:
      !emulated && features.has('subgroup-size-control')
        ? 'lib/subgroup_size_lanes.wgsl'
        : 'lib/subgroup_size_any.wgsl',
    LOAD: vectors ? 'lib/load_vectors.wgsl' : 'lib/load_scalars.wgsl',
    ...storeConsts(out, vectors),
  };
}

function multiplyBy(size: TileSize): Variant<Multiplication> {
  return {
    name: nameOf(size),
    unverified: true,
    fits: ({ a, b, c }, adapter) => fits(size, [a, b], c, adapter),
    rank: ({ product }, adapter) => rank(size, product, adapter),
    run({ a, b, bias, c, product }) {
      const { M, N, K, transposeA, transposeB } = product;
      const { splits, stepsPerSplit } = splitsFor(size, product);
      inSplits(c, bias, splits, (out, add) => {
        const vectors = eights(transposeA ? M : K, transposeB ? K : N, N);
        const consts = { ...tileConsts(size, vectors, out), A_BY_K: !transposeA, B_BY_K: transposeB };
        const params = { m: M, n: N, k: K, stepsPerSplit, hasBias: add ? 1 : 0 };
        const grid = tileGrid(product, sidesOf(size), splits);
        matmul(
          consts,
          { a: read(a, vectors), b: read(b, vectors), bias: add ?? a.storage, out },
          params,
          grid,
          productFlops(product),
        );
      });
    },
  };
}

function forwardBy(size: TileSize): Variant<ConvForward> {
  return {
    name: nameOf(size),
    unverified: true,
    fits: ({ x, w, y }, adapter) => fits(size, [x, w], y, adapter),
    rank: ({ shape }, adapter) => rank(size, forwardExtents(shape), adapter),
    run({ x, w, bias, y, shape }) {
      const { C, K, R, S, P, Q, strideH, strideW, padH, padW } = shape;
      const extents = forwardExtents(shape);
      const { splits, stepsPerSplit } = splitsFor(size, extents);
      inSplits(y, bias, splits, (out, add) => {
        const vectors = eights(C, K);
        const consts = tileConsts(size, vectors, out);
        const params = {
          ...convParams(shape),
          ...{ strideH, strideW },
          // Above and left of the image; it wraps and is meant to.
          ...{ top: -padH >>> 0, left: -padW >>> 0 },
          ...{ tapsR: R, tapsS: S, firstR: 0, firstS: 0, stepR: 1, stepS: 1 },
          ...{ fullH: P, fullW: Q, phaseH: 0, phaseW: 0, stepsPerSplit, hasBias: add ? 1 : 0 },
        };
        const grid = tileGrid(extents, sidesOf(size), splits);
        convolution(
          consts,
          { x: read(x, vectors), w: read(w, vectors), bias: add ?? w.storage, out },
          params,
          grid,
          convFlops(shape),
        );
      });
    },
  };
}

/** The rows (or columns) of dx with equal remainder `phase`, and the taps that reach them: `shaders/conv2d_tensor.wgsl`. */
interface Phase {
  phase: number;
  extent: number;
  first: number;
  taps: number;
  top: number;
}

export function phasesOf(extent: number, taps: number, stride: number, padding: number): Phase[] {
  return Array.from({ length: Math.min(stride, extent) }, (_, phase) => {
    const first = (phase + padding) % stride;
    return {
      phase,
      extent: Math.ceil((extent - phase) / stride),
      first,
      taps: Math.max(0, Math.ceil((taps - first) / stride)),
      top: Math.floor((phase + padding) / stride),
    };
  });
}

const phaseExtents = ({ N, C, K }: ConvShape, rows: Phase, columns: Phase): Extents => ({
  M: N * rows.extent * columns.extent,
  N: C,
  K: rows.taps * columns.taps * K,
});

const dgradPhases = ({ H, W, R, S, strideH, strideW, padH, padW }: ConvShape): [rows: Phase, columns: Phase][] =>
  phasesOf(H, R, strideH, padH).flatMap((rows) =>
    phasesOf(W, S, strideW, padW).map((columns): [Phase, Phase] => [rows, columns]),
  );

function dgradBy(size: TileSize): Variant<ConvDgrad> {
  return {
    name: nameOf(size),
    unverified: true,
    fits: ({ dy, w, dx }, adapter) => fits(size, [dy, w], dx, adapter),
    rank: ({ shape }, adapter) => rank(size, dgradExtents(shape), adapter),
    run({ dy, w, dx, shape }) {
      const { H, W, C, R, S, strideH, strideW } = shape;
      const phases = dgradPhases(shape);
      const flops = convFlops(shape) / phases.length;
      for (const [rows, columns] of phases) {
        const extents = phaseExtents(shape, rows, columns);
        // Each of several phases writes a part of dx: no one of them can be summed into all of it.
        const alone = phases.length === 1;
        const { splits, stepsPerSplit } = alone
          ? splitsFor(size, extents)
          : evenly(Math.ceil(extents.K / depthOf(size)), 1);
        inSplits(dx, null, splits, (out) => {
          const vectors = eights(shape.K, C);
          const consts = { ...tileConsts(size, vectors, out), DGRAD: true, B_BY_K: false };
          const params = {
            ...{ batch: shape.N, inH: shape.P, inW: shape.Q, inC: shape.K, r: rows.taps, s: columns.taps },
            ...{ outH: rows.extent, outW: columns.extent, outC: C, strideH: 1, strideW: 1 },
            ...{ top: rows.top, left: columns.top, tapsR: R, tapsS: S, firstR: rows.first, firstS: columns.first },
            ...{ stepR: strideH, stepS: strideW, fullH: H, fullW: W, phaseH: rows.phase, phaseW: columns.phase },
            ...{ stepsPerSplit, hasBias: 0 },
          };
          convolution(
            consts,
            { x: read(dy, vectors), w: read(w, vectors), bias: w.storage, out },
            params,
            tileGrid(extents, sidesOf(size), splits),
            flops,
          );
        });
      }
    },
  };
}

function wgradBy(size: TileSize): Variant<ConvWgrad> {
  return {
    name: nameOf(size),
    unverified: true,
    fits: ({ x, dy, dw }, adapter) => fits(size, [x, dy], dw, adapter),
    rank: ({ shape }, adapter) => rank(size, wgradExtents(shape), adapter),
    run({ x, dy, dw, shape }) {
      const { C, K, strideH, strideW, padH, padW } = shape;
      const extents = wgradExtents(shape);
      const { splits, stepsPerSplit } = splitsFor(size, extents);
      inSplits(dw, null, splits, (out) => {
        const vectors = eights(C, K);
        const consts = { ...tileConsts(size, vectors, out), A_BY_K: false, B_BY_K: false };
        const params = { ...convParams(shape), strideH, strideW, padH, padW, stepsPerSplit, hasBias: 0 };
        weightGradient(
          consts,
          { x: read(x, vectors), dy: read(dy, vectors), bias: x.storage, out },
          params,
          tileGrid(extents, sidesOf(size), splits),
          convFlops(shape),
        );
      });
    },
  };
}

/** What the variants by such products are called. */
export const tensorNames = (matrices: Matrices): string[] =>
  SIZES.filter((size) => size.matrices === matrices).map(nameOf);

export const tensorMultiplies = SIZES.map(multiplyBy);
export const tensorForwards = SIZES.map(forwardBy);
export const tensorDgrads = SIZES.map(dgradBy);
export const tensorWgrads = SIZES.map(wgradBy);
