import { wgslType } from '../../core/dtype.ts';
import { kernel, MAX_GROUPS } from '../../core/kernel.ts';
import type { Tensor } from '../../core/tensor.ts';
import { type ConvDgrad, type ConvForward, type ConvShape, convFlops } from './problem.ts';
import { TEAM_OF_8, teamKind } from './team.ts';

const convolution = kernel('conv2d_small', 'main');

/**
 * Most pixels of a small map. Over 3×3 and 6×6 pixels the kernel is 1.1 to 1.9 times as fast as conv2d.wgsl, in processor time
 * (lavapipe, Mesa 25.0.7, AVX2); over 12×12 it gains nothing, and over larger maps it is slower.
 */
const MAX_MAP = 64;
/** Pixels of a tile, as `shaders/conv2d_small.wgsl` has it, and its channels. */
const TILE = { pixels: 40, channels: 32 };

const tilesDown = ([N, P, Q]: readonly number[]): number => Math.ceil((N! * P! * Q!) / TILE.pixels);

/** Whether `y` [N,P,Q,to], made from `from` channels, is small maps of channels that fill a tile. */
export function isSmall(y: Tensor, from: number, { R, S }: ConvShape): boolean {
  const [, P, Q, to] = y.shape as [number, number, number, number];
  if (teamKind(y.storage.gpu.adapter) !== TEAM_OF_8 || tilesDown(y.shape) > MAX_GROUPS) return false;
  return P * Q <= MAX_MAP && R * S > 1 && from % 4 === 0 && to % 4 === 0 && to >= TILE.channels;
}

/** y from x, over a small map. */
export function smallForward({ x, w, bias, y, shape }: ConvForward): void {
  const { strideH: stride, padH, padW } = shape;
  convolve(x, w, bias, y, shape, { stride, padH, padW }, false);
}

/** dx from dy, of stride 1, over a small map: what was padding is cut off. */
export function smallDgrad({ dy, w, dx, shape }: ConvDgrad): void {
  const [padH, padW] = [(shape.R - 1 - shape.padH) >>> 0, (shape.S - 1 - shape.padW) >>> 0];
  convolve(dy, w, null, dx, shape, { stride: 1, padH, padW }, true);
}

function convolve(
  x: Tensor,
  w: Tensor,
  bias: Tensor | null,
  y: Tensor,
  shape: ConvShape,
  place: { stride: number; padH: number; padW: number },
  DGRAD: boolean,
): void {
  const [batch, inH, inW, inC] = x.shape as [number, number, number, number];
  const [, outH, outW, outC] = y.shape as [number, number, number, number];
  const [XElem, WElem, YElem] = [x, w, y].map(({ dtype }) => wgslType(dtype, 4)) as [string, string, string];
  convolution(
    { ROWS: TEAM_OF_8.lanes, DGRAD, XElem, WElem, YElem },
    { x, w, bias: bias ?? w.storage, y },
    { batch, inH, inW, inC, outH, outW, outC, r: shape.R, s: shape.S, ...place, hasBias: bias ? 1 : 0 },
    [tilesDown(y.shape), Math.ceil(outC / TILE.channels), 1],
    convFlops(shape),
  );
}
