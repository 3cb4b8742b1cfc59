import { kernel, MAX_GROUPS } from '../../core/kernel.ts';
import type { Tensor } from '../../core/tensor.ts';
import { operandTypes, resultTypes, storing } from './elements.ts';
import { tileCount, tileGrid } from './grid.ts';
import {
  allF32,
  type Batch,
  type ConvDgrad,
  type ConvForward,
  type ConvShape,
  type ConvWgrad,
  convFlops,
  convParams,
  dgradParams,
  dgradProduct,
  forwardProduct,
  isPointwise,
  isSmallAndRagged,
  type Multiplication,
  productFlops,
} from './problem.ts';
import { isSmall, smallDgrad, smallForward } from './small.ts';
import { inSplits } from './splits.ts';
import { TEAM_OF_8, teamFor, teamKind } from './team.ts';
import type { Variant } from './variant.ts';

const matmul = storing(kernel('matmul', 'main'), kernel('matmul', 'ragged'));
const convolution = storing(kernel('conv2d', 'main'), kernel('conv2d', 'ragged'));
const weightGradient = storing(kernel('conv2d_wgrad', 'main'), kernel('conv2d_wgrad', 'ragged'));

/** Register tiles without workgroup memory, shared by the lanes of a team: what software adapters take. */
const lanes = { name: 'lanes', rank: () => 10, reference: true };

/** The convolution kernels know one stride for both directions. */
const square = ({ shape: { strideH, strideW } }: { shape: ConvShape }): boolean => strideH === strideW;

/**
 * Rows of a low tile. Where x is read one value at a time, as in a network's first layer, higher ones would save less time than their
 * kernels take longer to compile. Where a line is read for all taps of a kernel's row, higher ones gain nothing by it (forward and
 * dgrad), or have too many accumulators (wgrad: three tiles a lane).
 */
const LOW_ROWS = 16;

/**
 * Whether each four pixels that a lane takes of `t` lie in one line, and their three taps of a kernel's row on six pixels of
 * another: these are then loaded once for all taps (WINDOW).
 */
const readsLines = (t: Tensor, { S, strideW, padW }: ConvShape): boolean =>
  teamKind(t.storage.gpu.adapter) === TEAM_OF_8 && S === 3 && strideW === 1 && padW < S && t.shape[2]! % 4 === 0;

export const lanesMultiply: Variant<Multiplication> = {
  ...lanes,
  fits: () => true,
  rank: ({ product }, { software }) => (software && isSmallAndRagged(product) ? Number.POSITIVE_INFINITY : 10),
  run({ a, b, bias, c, product }) {
    const { M, N, K, transposeA, transposeB } = product;
    if (bias === null && [M, N, K].every((extent) => extent % 4 === 0) && allF32(a, b, c)) {
      // A batch of one: the pipeline that Winograd's products have as well.
      lanesMultiplyBatch(a, b, c, { ...product, count: 1 });
      return;
    }
    const team = teamFor(c, M);
    const VEC_A = (transposeA ? M : K) % 4 === 0;
    const VEC_B = (transposeB ? K : N) % 4 === 0;
    const consts = {
      ...team.consts,
      TRANSPOSE_A: transposeA,
      TRANSPOSE_B: transposeB,
      VEC_A,
      VEC_B,
      RAGGED_K: K % 4 !== 0,
      ...operandTypes('A', a, VEC_A),
      ...operandTypes('B', b, VEC_B),
      ...resultTypes('C', c),
    };
    const params = { m: M, n: N, k: K, hasBias: bias ? 1 : 0, accumulate: 0 };
    matmul(N)(
      consts,
      { a, b, bias: bias ?? a.storage, c },
      params,
      tileGrid(product, team.tile, 1),
      productFlops(product),
    );
  },
};

/** A batch as these kernels take it: `accumulate` with `transposeA`, and not with `transposeC`. */
interface LanesBatch extends Batch {
  /** c lies in memory as [N,M]. */
  transposeC?: boolean;
}

/** c = op(a)·op(b) for each product of a batch. */
export function lanesMultiplyBatch(a: Tensor, b: Tensor, c: Tensor, batch: LanesBatch): void {
  const { M, N, K, transposeA, transposeB, transposeC = false, accumulate = false, count } = batch;
  const team = teamFor(c, M);
  const consts = {
    ...{ ...team.consts, TRANSPOSE_A: transposeA, TRANSPOSE_B: transposeB },
    ...{ BATCHED: true, TRANSPOSE_C: transposeC },
  };
  const params = { m: M, n: N, k: K, hasBias: 0, accumulate: Number(accumulate) };
  matmul(N)(consts, { a, b, bias: a, c }, params, tileGrid(batch, team.tile, count), count * productFlops(batch));
}

/**
 * A product of matrices has no taps to keep count of, which makes it the faster kernel for a pointwise convolution (1.3 times on
 * SwiftShader) where the channels, its columns, fill its tiles.
 */
const isProduct = (y: Tensor, shape: ConvShape): boolean =>
  isPointwise(shape) && y.shape[3]! >= 4 * teamKind(y.storage.gpu.adapter).lanes;

export const lanesForward: Variant<ConvForward> = {
  ...lanes,
  fits: square,
  run(problem) {
    const { x, w, bias, y, shape } = problem;
    if (isProduct(y, shape)) return lanesMultiply.run(forwardProduct(problem));
    if (isSmall(y, shape.C, shape)) return smallForward(problem);
    const { N, C, K, S, P, Q, strideH: stride, padH, padW } = shape;
    const vectors = C % 4 === 0;
    const team = teamFor(y, vectors ? K : Math.min(K, LOW_ROWS));
    const RUNS = Math.ceil((S * C) / 4) < S * Math.ceil(C / 4);
    const consts = {
      ...team.consts,
      VEC_X: vectors,
      VEC_W: vectors,
      RUNS,
      FOUR: RUNS || C > 3,
      WINDOW: vectors && K <= LOW_ROWS && readsLines(y, shape),
      ...operandTypes('X', x, vectors),
      ...operandTypes('W', w, vectors),
      ...resultTypes('Y', y),
    };
    const params = { ...convParams(shape), stride, padH, padW, hasBias: bias ? 1 : 0 };
    convolution(K)(
      consts,
      { x, w, bias: bias ?? w.storage, y },
      params,
      tileGrid({ M: K, N: N * P * Q }, team.tile, 1),
      convFlops(shape),
    );
  },
};

export const lanesDgrad: Variant<ConvDgrad> = {
  ...lanes,
  // The phases are a side of the grid.
  fits: (problem) => square(problem) && problem.shape.strideH ** 2 <= MAX_GROUPS,
  run(problem) {
    const { dy, w, dx, shape } = problem;
    if (isProduct(dx, shape)) return lanesMultiply.run(dgradProduct(problem));
    if (shape.strideH === 1 && isSmall(dx, shape.K, shape)) return smallDgrad(problem);
    const { N, H, W, C, K, strideH: stride, padH, padW } = shape;
    const team = teamFor(dx, C);
    const [VEC_X, VEC_W] = [K % 4 === 0, C % 4 === 0];
    const WINDOW = VEC_X && C <= LOW_ROWS && readsLines(dx, shape);
    const consts = {
      ...{ ...team.consts, DGRAD: true, STRIDE: stride, RAGGED: !VEC_X, VEC_X, VEC_W, WINDOW },
      ...{ ...operandTypes('X', dy, VEC_X), ...operandTypes('W', w, VEC_W), ...resultTypes('Y', dx) },
    };
    const params = { ...dgradParams(shape), stride, padH, padW, hasBias: 0 };
    const pixels = N * Math.ceil(H / stride) * Math.ceil(W / stride);
    convolution(C)(
      consts,
      { x: dy, w, bias: w.storage, y: dx },
      params,
      tileGrid({ M: C, N: pixels }, team.tile, stride * stride),
      convFlops(shape),
    );
  },
};

/** Pixels that one part of a split weight gradient sums at least. */
const MIN_PIXELS = 256;
/** Tiles that keep an adapter busy. */
const BUSY = { software: 16, hardware: 1024 };

/** Few weights sum over many pixels: then the pixels are split and the parts summed in fixed order. */
export const lanesWgrad: Variant<ConvWgrad> = {
  ...lanes,
  fits: square,
  run({ x, dy, dw, shape }) {
    const { N, C, K, R, S, P, Q, strideH: stride, padH, padW } = shape;
    const [VEC_X, VEC_DY] = [C % 4 === 0, K % 4 === 0];
    const WINDOW = VEC_X && readsLines(dy, shape);
    const team = teamFor(dw, VEC_X && !WINDOW ? K : Math.min(K, LOW_ROWS));
    const results = { M: K, N: R * C * (WINDOW ? 1 : S) };
    const pixels = N * P * Q;
    const { software } = dw.storage.gpu.adapter;
    const wanted = Math.ceil((software ? BUSY.software : BUSY.hardware) / tileCount(results, team.tile));
    const splits = Math.max(1, Math.min(wanted, Math.ceil(pixels / MIN_PIXELS)));
    const params = { ...convParams(shape), stride, padH, padW };
    const grid = tileGrid(results, team.tile, splits);
    const consts = { ...team.consts, VEC_X, VEC_DY, WINDOW };
    const types = { ...operandTypes('X', x, VEC_X), ...operandTypes('Dy', dy, VEC_DY) };
    inSplits(dw, null, splits, (into) => {
      const all = { ...consts, ...types, ...resultTypes('Dw', into) };
      weightGradient(C)(all, { x, dy, dw: into }, params, grid, convFlops(shape));
    });
  },
};
