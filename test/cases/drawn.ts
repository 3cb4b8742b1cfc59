import * as ops from '../../src/ops/index.ts';
import type { Draws } from '../draws.ts';
import { batchNormCasesOf } from './batchnorm.ts';
import { binaryCasesOf } from './binary.ts';
import type { OperationCase } from './case.ts';
import { convCasesOf } from './conv2d.ts';
import { linearCasesOf, matmulCasesOf } from './matmul.ts';
import { poolCasesOf } from './pool2d.ts';
import { reduceCasesOf } from './reduce.ts';
import { reshapeCasesOf } from './reshape.ts';
import { crossEntropyCasesOf, softmaxCasesOf } from './softmax.ts';
import { unaryCasesOf } from './unary.ts';
import { upsampleCasesOf } from './upsample.ts';

/** The most that an oracle's product or convolution multiplies: it is done some thirty times for each case. */
const MULTIPLICATIONS = 200_000;

function convolution(draws: Draws): OperationCase {
  for (;;) {
    const x = draws.images(draws.one([3, 6, 12, 20]), 40, 6000);
    const [N, H, W, C] = x;
    const K = draws.extent(draws.one([8, 40, 72]));
    const square = draws.one([1, 2, 3, 3, 3, 3, 4, 5, 7]);
    const [R, S] = draws.chance(80) ? [square, square] : [draws.whole(1, 5), draws.whole(1, 5)];
    const stride = draws.chance(60)
      ? 1
      : draws.chance(70)
        ? draws.whole(2, 3)
        : ([draws.whole(1, 3), draws.whole(1, 3)] as const);
    const padding = draws.chance(70) ? draws.one([0, R >> 1]) : ([draws.whole(0, R), draws.whole(0, S)] as const);
    const [padH, padW] = typeof padding === 'number' ? [padding, padding] : padding;
    if (H + 2 * padH < R || W + 2 * padW < S || N * H * W * C * K * R * S > MULTIPLICATIONS) continue;
    const bias = draws.chance(40);
    const what = `[${x}] with [${[K, R, S, C]}]${bias ? ' and bias' : ''}, stride ${stride}, padding ${padding}`;
    return convCasesOf([{ what, x, w: [K, R, S], bias, stride, padding }])[0]!;
  }
}

function products(draws: Draws): OperationCase {
  for (;;) {
    const [M, N, K] = [draws.extent(140), draws.extent(140), draws.extent(280)];
    if (M * N * K > MULTIPLICATIONS) continue;
    return draws.one(draws.chance(50) ? matmulCasesOf([[M, N, K]]) : linearCasesOf(ops.linear, [[M, N, K]]));
  }
}

function pools(draws: Draws): OperationCase {
  const x = draws.images(14, 12, 1500);
  const [, H, W] = x;
  const kernel = [draws.whole(1, Math.min(H, 5)), draws.whole(1, Math.min(W, 5))] as const;
  const stride = [draws.whole(1, 4), draws.whole(1, 4)] as const;
  const padding = [draws.whole(0, kernel[0] >> 1), draws.whole(0, kernel[1] >> 1)] as const;
  const usual = { x, kernel: draws.whole(1, Math.min(H, W, 3)) };
  const size = [draws.whole(1, 7), draws.whole(1, 7)] as const;
  return draws.one(poolCasesOf([draws.one([{ x, kernel, stride, padding }, usual])], [{ x, size }]));
}

/** Few enough values that none need be near the kink of ReLU. */
const normed = (draws: Draws): number[] => {
  const c = draws.extent(140);
  return [draws.whole(2, Math.max(2, Math.floor(1200 / c))), ...(draws.chance(50) ? [draws.whole(1, 3)] : []), c];
};

const batchNorms = (draws: Draws): OperationCase =>
  draws.one(batchNormCasesOf(ops.batchNorm, [{ shape: normed(draws) }], [{ shape: normed(draws) }]));

function binaries(draws: Draws): OperationCase {
  const full = draws.shape(draws.whole(1, 5), 12, 1200);
  const stretched = () => full.slice(draws.whole(0, full.length - 1)).map((extent) => (draws.chance(30) ? 1 : extent));
  const [a, b] = draws.chance(50) ? [full, stretched()] : [stretched(), full];
  return draws.one(binaryCasesOf([[a, b]]));
}

function reductions(draws: Draws): OperationCase {
  const shape = draws.shape(draws.whole(1, 4), 80, 3000);
  const axes = draws.order(shape.length).slice(0, draws.whole(1, shape.length));
  return draws.one(reduceCasesOf([{ shape, axes, keepDims: draws.chance(50) }]));
}

function moves(draws: Draws): OperationCase {
  const rank = draws.whole(1, 5);
  const shape = draws.shape(rank, 12, 1200);
  const starts = shape.map((extent) => draws.whole(0, extent - 1));
  const sizes = shape.map((extent, i) => draws.whole(1, extent - starts[i]!));
  const around = () => shape.map(() => draws.whole(0, 3));
  const axis = draws.whole(0, rank - 1);
  const parts = Array.from({ length: draws.whole(1, 5) }, () => shape.with(axis, draws.extent(9)));
  const cases = reshapeCasesOf({
    reshapes: [],
    flattened: [],
    permutations: [[shape, draws.order(rank)]],
    expansions: [[shape.map((extent) => (draws.chance(40) ? 1 : extent)), shape]],
    slices: [[shape, starts, sizes]],
    pads: [[shape, around(), around(), draws.one([0, 0.5])]],
    joins: [[parts, axis]],
  });
  return draws.one(cases);
}

const softmaxes = (draws: Draws): OperationCase => {
  const shape = draws.shape(draws.whole(2, 3), 140, 1500);
  // Of a sum over more rows the oracle's own difference quotients are not exact enough.
  const rows: [number, number] = [draws.extent(40), draws.extent(12)];
  return draws.one([...softmaxCasesOf([shape]), ...crossEntropyCasesOf([rows])]);
};

const upsamplings = (draws: Draws): OperationCase =>
  upsampleCasesOf([{ x: draws.images(7, 12, 600), factor: [draws.whole(1, 4), draws.whole(1, 4)] }])[0]!;

const elementwise = (draws: Draws): OperationCase =>
  draws.one(unaryCasesOf([draws.shape(draws.whole(1, 3), 40, 1500)]));

/** What cases are drawn of, with shapes that nobody chose. */
export const FAMILIES: Readonly<Record<string, (draws: Draws) => OperationCase>> = {
  convolution,
  products,
  pools,
  batchNorms,
  binaries,
  reductions,
  moves,
  softmaxes,
  upsamplings,
  elementwise,
};
