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
  type Extents,
  forwardExtents,
  type Multiplication,
  productFlops,
  wgradExtents,
} from './problem.ts';
import { evenly, inSplits, maxSplits, type Splits } from './splits.ts';
import type { Variant } from './variant.ts';

const matmul = kernel('matmul_tensor', 'main');
const convolution = kernel('conv2d_tensor', 'main');
const weightGradient = kernel('conv2d_wgrad_tensor', 'main');

/** How a workgroup makes its tile: `shaders/lib/tensor.wgsl`. */
interface TileSize {
  /** Subgroups down and across; each makes 32 by 16·`columns` results. */
  subgroupsM: number;
  subgroupsN: number;
  columns: 2 | 4;
  /** Work done in a given time, against the other sizes, when all of its results are wanted. */
  speed: number;
}

/** The larger a tile, the more products come of each load; the smaller, the more workgroups there are and the less is cut off. */
const SIZES: readonly TileSize[] = [
  { subgroupsM: 4, subgroupsN: 2, columns: 4, speed: 1 },
  { subgroupsM: 4, subgroupsN: 1, columns: 4, speed: 0.85 },
  { subgroupsM: 2, subgroupsN: 2, columns: 2, speed: 0.7 },
];

/** Terms of the reduction that a workgroup stages at once. */
const TILE_K = 32;
const LANES = 32;

const sidesOf = ({ subgroupsM, subgroupsN, columns }: TileSize): Tile => [32 * subgroupsM, 16 * columns * subgroupsN];

const nameOf = (size: TileSize): string => `tensor ${sidesOf(size).join('×')}×${TILE_K}`;

/** An upper bound of the workgroup memory that a tile takes: both operands with the longer of their paddings, and the sums. */
function memoryBytes(size: TileSize): number {
  const staged = (extent: number): number => 2 * Math.max(extent * (TILE_K + 8), TILE_K * (extent + 8));
  const sums = 4 * size.subgroupsM * size.subgroupsN * 16 * 20;
  const [rows, columns] = sidesOf(size);
  return staged(rows) + staged(columns) + sums;
}

let emulated = false;

/**
 * From now on tensor cores are emulated in plain WGSL, on any adapter with f16, until this is called with false; for tests. All
 * but the products themselves is then as it is on tensor cores.
 */
export function emulateTensorCores(on: boolean): void {
  emulated = on;
}

/** True where an adapter multiplies f16 matrices of 16×16 by 16×16 and sums in f32, in subgroups of 32. */
export function hasTensorCores({ features, subgroupSizes: { min, max }, subgroupMatrixConfigs }: Adapter): boolean {
  const needed = ['shader-f16', 'subgroups', 'chromium-experimental-subgroup-matrix'];
  if (!needed.every((feature) => features.has(feature))) return false;
  const sized = features.has('subgroup-size-control') ? min <= LANES && LANES <= max : min === LANES && max === LANES;
  return (
    sized &&
    subgroupMatrixConfigs.some(
      ({ componentType, resultComponentType, M, N, K }) =>
        componentType === 'f16' && resultComponentType === 'f32' && M === 16 && N === 16 && K === 16,
    )
  );
}

/** True where a tile can compute from `operands` into `result`. */
function fits(size: TileSize, operands: readonly Tensor[], result: Tensor, adapter: Adapter): boolean {
  const { limits } = result.storage.gpu;
  return (
    (emulated ? adapter.features.has('shader-f16') : hasTensorCores(adapter)) &&
    operands.every(({ dtype }) => dtype === 'f16') &&
    memoryBytes(size) <= limits.maxComputeWorkgroupStorageSize &&
    LANES * size.subgroupsM * size.subgroupsN <= limits.maxComputeInvocationsPerWorkgroup
  );
}

/** Workgroups that keep an adapter with tensor cores busy: two on each of the largest ones' 132 multiprocessors. */
const BUSY = 264;
/** Steps of the reduction that one part of a split sums at least. */
const MIN_STEPS = 8;

/** In how many parts a reduction is summed: more than one where the tiles alone would leave the adapter idle. */
function splitsFor(size: TileSize, extents: Extents): Splits {
  const steps = Math.ceil(extents.K / TILE_K);
  const most = Math.min(Math.floor(steps / MIN_STEPS), maxSplits(extents.M * extents.N));
  return evenly(steps, Math.max(1, Math.min(most, Math.floor(BUSY / tileCount(extents, sidesOf(size))))));
}

/** Below this a side or the reduction is so short that most of a tile's products are with zeros. */
const WORTHWHILE = 16;

/** Between 0, the best, and 1: the other tiers, which multiply without tensor cores, come after it. */
function rank(size: TileSize, extents: Extents): number {
  const { M, N, K } = extents;
  if (Math.min(M, N, K) < WORTHWHILE) return Number.POSITIVE_INFINITY;
  const [rows, columns] = sidesOf(size);
  const tiles = tileCount(extents, [rows, columns]);
  const { splits } = splitsFor(size, extents);
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
  return {
    ...{ SUBGROUPS_M: size.subgroupsM, SUBGROUPS_N: size.subgroupsN, COLUMNS: size.columns },
    MMA: emulated ? 'lib/mma_emulated.wgsl' : 'lib/mma_subgroup.wgsl',
    SIZE:
      !emulated && features.has('subgroup-size-control') ? 'lib/subgroup_size_32.wgsl' : 'lib/subgroup_size_any.wgsl',
    LOAD: vectors ? 'lib/load_vectors.wgsl' : 'lib/load_scalars.wgsl',
    ...storeConsts(out, vectors),
  };
}

function multiplyBy(size: TileSize): Variant<Multiplication> {
  return {
    name: nameOf(size),
    unverified: true,
    fits: ({ a, b, c }, adapter) => fits(size, [a, b], c, adapter),
    rank: ({ product }) => rank(size, product),
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
    rank: ({ shape }) => rank(size, forwardExtents(shape)),
    run({ x, w, bias, y, shape }) {
      const { N, H, W, C, K, R, S, P, Q, strideH, strideW, padH, padW } = shape;
      const extents = forwardExtents(shape);
      const { splits, stepsPerSplit } = splitsFor(size, extents);
      inSplits(y, bias, splits, (out, add) => {
        const vectors = eights(C, K);
        const consts = tileConsts(size, vectors, out);
        const params = {
          ...{ batch: N, inH: H, inW: W, inC: C, r: R, s: S, outH: P, outW: Q, outC: K, strideH, strideW },
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
    rank: ({ shape }) => rank(size, { M: shape.N * shape.H * shape.W, N: shape.C, K: shape.R * shape.S * shape.K }),
    run({ dy, w, dx, shape }) {
      const { H, W, C, R, S, strideH, strideW } = shape;
      const phases = dgradPhases(shape);
      const flops = convFlops(shape) / phases.length;
      for (const [rows, columns] of phases) {
        const extents = phaseExtents(shape, rows, columns);
        // Each of several phases writes a part of dx: no one of them can be summed into all of it.
        const alone = phases.length === 1;
        const { splits, stepsPerSplit } = alone ? splitsFor(size, extents) : evenly(Math.ceil(extents.K / TILE_K), 1);
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
    rank: ({ shape }) => rank(size, wgradExtents(shape)),
    run({ x, dy, dw, shape }) {
      const { N, H, W, C, K, R, S, P, Q, strideH, strideW, padH, padW } = shape;
      const extents = wgradExtents(shape);
      const { splits, stepsPerSplit } = splitsFor(size, extents);
      inSplits(dw, null, splits, (out) => {
        const vectors = eights(C, K);
        const consts = { ...tileConsts(size, vectors, out), A_BY_K: false, B_BY_K: false };
        const params = {
          ...{ batch: N, inH: H, inW: W, inC: C, outH: P, outW: Q, outC: K, r: R, s: S },
          ...{ strideH, strideW, padH, padW, stepsPerSplit, hasBias: 0 },
        };
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

export const tensorMultiplies = SIZES.map(multiplyBy);
export const tensorForwards = SIZES.map(forwardBy);
export const tensorDgrads = SIZES.map(dgradBy);
export const tensorWgrads = SIZES.map(wgradBy);
