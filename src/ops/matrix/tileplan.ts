import { tileCount } from './grid.ts';
import type { Phases } from './problem.ts';

/** The tile that a workgroup of the `tile` tier makes: `shaders/lib/staged.wgsl`. */
export interface TileSize {
  /** Rows, columns, steps of the reduction that are staged at once. */
  BM: number;
  BN: number;
  BK: number;
  /** Quads of 4×4 results that an invocation holds, down and across. */
  QUADS_M: number;
  QUADS_N: number;
  /**
   * Share of the adapter's multiply-adds that the inner loop can use, by count of its instructions: reads of workgroup memory
   * per multiply-add are what limits small tiles.
   */
  efficiency: number;
}

/** What is left to choose from is few on purpose: each is a pipeline per problem that the tuner compiles and times. */
export const tileSizes: readonly TileSize[] = [
  { BM: 128, BN: 128, BK: 16, QUADS_M: 2, QUADS_N: 2, efficiency: 1 },
  // Steps of 8: with 16 its 192 blocks would not go round among its 128 invocations.
  { BM: 128, BN: 64, BK: 8, QUADS_M: 2, QUADS_N: 2, efficiency: 0.9 },
  { BM: 64, BN: 64, BK: 16, QUADS_M: 2, QUADS_N: 1, efficiency: 0.8 },
  // Few columns: convolutions of few output channels, a classifier.
  { BM: 64, BN: 32, BK: 16, QUADS_M: 1, QUADS_N: 1, efficiency: 0.5 },
  // Few rows: small batches, weight gradients of few output channels.
  { BM: 32, BN: 64, BK: 16, QUADS_M: 1, QUADS_N: 1, efficiency: 0.5 },
];

export const tileName = ({ BM, BN, BK }: TileSize): string => `tile ${BM}×${BN}×${BK}`;

export const tileThreads = ({ BM, BN, QUADS_M, QUADS_N }: TileSize): number => (BM * BN) / (16 * QUADS_M * QUADS_N);

/** Workgroup memory: both operands, skewed, and what is decoded of pixels, 16 bytes for a row or an invocation. */
export const tileBytes = (size: TileSize): number =>
  16 * ((size.BK / 4) * (size.BM + size.BN + 64 / size.BK) + tileThreads(size));

/**
 * The GPU that plans are made for, since WebGPU does not tell: large, for a plan that starves a large one costs a multiple, and
 * a plan with too many parts costs a small one a few percent.
 */
const CORES = 132;
/** Invocations of these kernels that a core holds at once, and the multiply-adds that it does meanwhile to move a float. */
const RESIDENT = 512;
const MACS_PER_FLOAT = 16;
/** Terms that a part of a split reduction sums at least: it must pay for its start and its end. */
const MIN_TERMS = 128;
/** Parts that are summed at most: the second stage walks through them one by one. */
export const MAX_SPLITS = 64;

export interface SplitK {
  splits: number;
  /** Estimate, in multiply-adds of one core. */
  cost: number;
}

/**
 * How many parts the reduction is best cut into, and what that costs: the core with most tiles decides, a core that holds few
 * invocations does not hide its latencies, and partial sums are written and read once more. `maxSplits` is what memory allows.
 */
export function planTile(extents: Phases, size: TileSize, maxSplits: number): SplitK {
  const { BM, BN, BK, efficiency } = size;
  const { M, N, K, phases = 1 } = extents;
  const tiles = tileCount(extents, [BM, BN]) * phases;
  const steps = Math.max(1, Math.ceil(K / BK));
  const threads = tileThreads(size);
  // Not beyond what fills the cores: finer parts would even out the last round of tiles, on a GPU of just this size.
  const filling = Math.ceil((CORES * RESIDENT) / (threads * tiles));
  const most = Math.max(1, Math.min(maxSplits, MAX_SPLITS, filling, Math.floor(K / MIN_TERMS)));
  let best: SplitK | undefined;
  for (let splits = 1; splits <= most; splits++) {
    const perCore = Math.ceil((tiles * splits) / CORES);
    const busy = Math.min(1, (perCore * threads + RESIDENT / 4) / (RESIDENT + RESIDENT / 4));
    const work = (perCore * Math.ceil(steps / splits) * BM * BN * BK) / (efficiency * busy);
    const results = M * N * phases;
    const cost = work + (splits > 1 ? (2 * splits * results * MACS_PER_FLOAT) / CORES : 0);
    if (!best || cost < best.cost) best = { splits, cost };
  }
  return best!;
}
