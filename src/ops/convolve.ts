import { kernel } from '../core/kernel.ts';
import { Tensor } from '../core/tensor.ts';
import { plainDgrad, plainForward, plainWgrad } from './plain.ts';
import { elementOf, storing, sumSplits, teamFor, tileCount, tileGrid } from './team.ts';

const convolution = storing(kernel('conv2d', 'main'), kernel('conv2d', 'ragged'));
const weightGradient = storing(kernel('conv2d_wgrad', 'main'), kernel('conv2d_wgrad', 'ragged'));

/** Extents of a convolution: x [N,H,W,C], w [K,R,S,C], y [N,P,Q,K]. */
export interface ConvShape {
  N: number;
  H: number;
  W: number;
  C: number;
  K: number;
  R: number;
  S: number;
  P: number;
  Q: number;
  strideH: number;
  strideW: number;
  padH: number;
  padW: number;
}

/** The fast kernels know one stride for both directions. */
const square = ({ strideH, strideW }: ConvShape): boolean => strideH === strideW;

/** Multiplications and additions of each of the three kernels, padding counted. */
const flopsOf = ({ N, P, Q, K, R, S, C }: ConvShape): number => 2 * N * P * Q * K * R * S * C;

/** y = x ⋆ w (+ bias). No tape. */
export function convForward(x: Tensor, w: Tensor, bias: Tensor | null, y: Tensor, shape: ConvShape): void {
  if (!square(shape)) {
    plainForward(x, w, bias, y, shape);
    return;
  }
  const { N, H, W, C, K, R, S, P, Q, strideH: stride, padH, padW } = shape;
  const team = teamFor(y, K);
  const vectors = C % 4 === 0;
  const consts = {
    TEAM: team.include,
    ROWS: team.rows,
    VEC_X: vectors,
    VEC_W: vectors,
    XElem: elementOf(vectors),
    WElem: elementOf(vectors),
  };
  const params = {
    ...{ batch: N, inH: H, inW: W, inC: C, outH: P, outW: Q, outC: K, r: R, s: S, stride, padH, padW, up: 1 },
    ...{ tapsPerSplit: R * S, hasBias: bias ? 1 : 0 },
  };
  convolution(K)(consts, { x, w, bias: bias ?? w, y }, params, tileGrid(team, K, N * P * Q, 1), flopsOf(shape));
}

/** dx from dy and w. No tape. */
export function convDgrad(dy: Tensor, w: Tensor, dx: Tensor, shape: ConvShape): void {
  if (!square(shape)) {
    plainDgrad(dy, w, dx, shape);
    return;
  }
  const { N, H, W, C, K, R, S, P, Q, strideH: stride, padH, padW } = shape;
  const team = teamFor(dx, C);
  const [VEC_X, VEC_W] = [K % 4 === 0, C % 4 === 0];
  const consts = {
    ...{ TEAM: team.include, ROWS: team.rows, DGRAD: true, UPSAMPLE: stride > 1, RAGGED: !VEC_X, VEC_X, VEC_W },
    ...{ XElem: elementOf(VEC_X), WElem: elementOf(VEC_W) },
  };
  const params = {
    ...{ batch: N, inH: P, inW: Q, inC: K, outH: H, outW: W, outC: C, r: R, s: S, stride: 1 },
    // Padding beyond the kernel makes these negative, which wraps and is meant to.
    ...{ padH: (R - 1 - padH) >>> 0, padW: (S - 1 - padW) >>> 0, up: stride, tapsPerSplit: R * S, hasBias: 0 },
  };
  convolution(C)(consts, { x: dy, w, bias: w, y: dx }, params, tileGrid(team, C, N * H * W, 1), flopsOf(shape));
}

/** Pixels that one part of a split weight gradient sums at least. */
const MIN_PIXELS = 256;
/** Tiles that keep an adapter busy. */
const BUSY = { software: 16, hardware: 1024 };

/** dw from x and dy. Few weights sum over many pixels: then the pixels are split and the parts summed in fixed order. No tape. */
export function convWgrad(x: Tensor, dy: Tensor, dw: Tensor, shape: ConvShape): void {
  if (!square(shape)) {
    plainWgrad(x, dy, dw, shape);
    return;
  }
  const { N, H, W, C, K, R, S, P, Q, strideH: stride, padH, padW } = shape;
  const team = teamFor(dw, K);
  const [VEC_X, VEC_DY] = [C % 4 === 0, K % 4 === 0];
  const consts = {
    TEAM: team.include,
    ROWS: team.rows,
    VEC_X,
    VEC_DY,
    XElem: elementOf(VEC_X),
    DyElem: elementOf(VEC_DY),
  };
  const pixels = N * P * Q;
  const { software } = dw.storage.gpu.adapter;
  const wanted = Math.ceil((software ? BUSY.software : BUSY.hardware) / tileCount(team, K, R * S * C));
  const most = Math.max(1, Math.min(wanted, Math.ceil(pixels / MIN_PIXELS)));
  const perSplit = most > 1 ? 4 * Math.ceil(pixels / (4 * most)) : pixels;
  const splits = Math.ceil(pixels / perSplit);
  const params = {
    batch: N,
    inH: H,
    inW: W,
    inC: C,
    outH: P,
    outW: Q,
    outC: K,
    r: R,
    s: S,
    stride,
    padH,
    padW,
    perSplit,
  };
  const part = splits > 1 ? Tensor.empty([splits, dw.size]) : dw;
  weightGradient(C)(consts, { x, dy, dw: part }, params, tileGrid(team, K, R * S * C, splits), flopsOf(shape));
  if (splits > 1) {
    sumSplits(part, dw, splits);
    part.free('conv2d');
  }
}
