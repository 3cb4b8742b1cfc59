import * as ops from '../../src/ops/index.ts';
import { uniform } from '../check.ts';
import * as ref from '../reference.ts';
import { winogradBounds } from '../winogradbounds.ts';
import { type OperationCase, operationCase } from './case.ts';

export interface ConvShape {
  what: string;
  /** [N,H,W,C]. */
  x: readonly [number, number, number, number];
  /** [K,R,S]. */
  w: readonly [number, number, number];
  bias?: boolean;
  stride?: ref.Pair;
  padding?: ref.Pair;
}

export const convShapes: readonly ConvShape[] = [
  { what: 'a single element', x: [1, 1, 1, 1], w: [1, 1, 1], bias: true },
  { what: '1×1 of one channel', x: [2, 5, 3, 1], w: [7, 1, 1] },
  { what: '1×1, stride 2', x: [2, 7, 6, 8], w: [4, 1, 1], stride: 2, bias: true },
  { what: '1×1 of 20 channels', x: [1, 4, 5, 20], w: [3, 1, 1] },
  { what: '3×3, 3 channels, VGG’s first', x: [2, 6, 7, 3], w: [8, 3, 3], padding: 1, bias: true },
  { what: '3×3, 7 channels, odd everything', x: [3, 5, 7, 7], w: [7, 3, 3], padding: 1, bias: true },
  { what: '3×3, 1 channel in and out', x: [1, 5, 5, 1], w: [1, 3, 3], padding: 1 },
  { what: '3×3 without padding', x: [2, 5, 6, 4], w: [5, 3, 3], bias: true },
  { what: '3×3 over its own size', x: [2, 3, 3, 4], w: [4, 3, 3] },
  { what: '3×3, lines of pixels in fours', x: [2, 6, 8, 12], w: [20, 3, 3], padding: 1, bias: true },
  { what: '3×3, lines of results in fours, 9 channels out', x: [1, 5, 10, 8], w: [9, 3, 3] },
  { what: '3×3, lines of data in fours, padding 2', x: [3, 4, 4, 24], w: [12, 3, 3], padding: 2 },
  { what: '3×3, lines in fours, 32 channels', x: [2, 3, 4, 32], w: [4, 3, 3], padding: 1 },
  { what: '3×3, lines in fours, padding 3', x: [2, 4, 4, 8], w: [4, 3, 3], padding: 3 },
  { what: '3×3, 31 channels', x: [1, 4, 3, 31], w: [4, 3, 3], padding: 1 },
  { what: '3×2, lines in fours', x: [1, 4, 9, 4], w: [4, 3, 2] },
  { what: '2×3, lines in fours', x: [1, 4, 12, 4], w: [36, 2, 3], padding: [0, 1], bias: true },
  { what: '3×3 around one pixel', x: [4, 1, 1, 8], w: [8, 3, 3], padding: 1 },
  { what: '3×3, stride 2, even sides', x: [2, 8, 6, 4], w: [4, 3, 3], stride: 2, padding: 1, bias: true },
  { what: '3×3, stride 2, odd sides', x: [2, 7, 9, 3], w: [5, 3, 3], stride: 2, padding: 1 },
  { what: '3×3, stride 3, rows left over', x: [1, 8, 10, 3], w: [4, 3, 3], stride: 3, bias: true },
  { what: '2×2, stride 3, columns skipped', x: [1, 8, 7, 4], w: [4, 2, 2], stride: 3 },
  { what: '1×1, stride 3, phases without taps', x: [2, 7, 8, 12], w: [20, 1, 1], stride: 3, padding: 1 },
  { what: '1×1, stride 2, three channels', x: [2, 6, 5, 3], w: [7, 1, 1], stride: 2 },
  { what: '4×4, stride 3, padding 2', x: [2, 11, 10, 8], w: [12, 4, 4], stride: 3, padding: 2, bias: true },
  { what: '3×3, stride 2, tiles of phases', x: [3, 17, 14, 36], w: [20, 3, 3], stride: 2, padding: 1 },
  { what: 'a stride beyond the image', x: [1, 3, 2, 8], w: [4, 2, 2], stride: 4 },
  { what: '1×1, stride 2, eights, phases without taps', x: [2, 7, 6, 8], w: [16, 1, 1], stride: 2 },
  { what: '3×3, stride 2, eights', x: [2, 8, 6, 16], w: [8, 3, 3], stride: 2, padding: 1 },
  { what: '5×5, stride 2', x: [1, 9, 8, 3], w: [4, 5, 5], stride: 2, padding: 2 },
  { what: '5×5, padding wider than the image', x: [1, 2, 2, 3], w: [3, 5, 5], padding: 4, bias: true },
  { what: '7×7, stride 2, ResNet’s first', x: [1, 13, 12, 3], w: [8, 7, 7], stride: 2, padding: 3 },
  { what: '7×7, stride 2, 1 channel', x: [2, 13, 12, 1], w: [8, 7, 7], stride: 2, padding: 3, bias: true },
  { what: '3×3, 6 channels, padding wider than the kernel’s half', x: [2, 5, 6, 6], w: [7, 3, 3], padding: 2 },
  { what: '1×3', x: [2, 4, 7, 4], w: [3, 1, 3], padding: [0, 1], bias: true },
  { what: '2×3, strides 1 and 2, padding 1 and 0', x: [2, 5, 7, 3], w: [4, 2, 3], stride: [1, 2], padding: [1, 0] },
  { what: 'more than a tile of pixels and channels', x: [2, 9, 9, 20], w: [72, 3, 3], padding: 1, bias: true },
  { what: '1×1, channels that fill tiles', x: [2, 4, 6, 36], w: [40, 1, 1] },
  { what: '1×1, channels that fill tiles, rows of padding', x: [1, 3, 5, 8], w: [32, 1, 1], padding: [1, 0] },
  { what: '1×1, channels that fill tiles, columns of padding', x: [1, 3, 5, 8], w: [32, 1, 1], padding: [0, 1] },
  { what: '1×1, more than 128 of each', x: [1, 12, 11, 8], w: [132, 1, 1], bias: true },
  { what: 'deep: 136 channels over 2×2', x: [5, 2, 2, 136], w: [24, 3, 3], padding: 1 },
  { what: 'small maps, several tiles of them', x: [9, 3, 3, 32], w: [36, 3, 3], padding: 1, bias: true },
  { what: 'small maps, 6 to 32 channels', x: [1, 4, 3, 6], w: [32, 3, 3], padding: 1 },
  { what: 'small maps, 8 to 34 channels', x: [1, 4, 3, 8], w: [34, 3, 3], padding: 1 },
  { what: 'small maps, stride 2', x: [3, 7, 6, 36], w: [40, 3, 3], stride: 2, padding: 1, bias: true },
  { what: 'small maps, padding wider than the kernel', x: [2, 2, 3, 32], w: [32, 3, 2], padding: [4, 3] },
  { what: 'an odd number of pixels, in several parts', x: [1, 47, 23, 5], w: [3, 3, 3], padding: 1, bias: true },
  { what: 'lines in fours, in several parts', x: [2, 24, 24, 8], w: [16, 3, 3], padding: 1 },
  { what: 'many pixels, few channels', x: [2, 24, 24, 3], w: [4, 3, 3], padding: 1, bias: true },
];

const multiplications = ({ x: [N, H, W, C], w: [K, R, S] }: ConvShape): number => N * H * W * C * K * R * S;

const inputsOf = ({ x, w: [K, R, S], bias = false }: ConvShape): ref.Values[] => [
  uniform(x, 51),
  uniform([K, R, S, x[3]], 52),
  ...(bias ? [uniform([K], 53)] : []),
];

/** Bounds of `winograd 2×2` and `winograd 4×4` where those fit: 3×3, stride 1, channels in fours. */
function boundsFor(shape: ConvShape, variant: string): ReturnType<typeof winogradBounds> | undefined {
  const out = /^winograd ([24])/.exec(variant)?.[1];
  const { x, w, stride = 1, padding = 0 } = shape;
  const fits = w[1] === 3 && w[2] === 3 && stride === 1 && x[3] % 4 === 0 && w[0] % 4 === 0;
  if (!out || !fits) return undefined;
  const [image, weight, bias] = inputsOf(shape);
  return winogradBounds(out === '2' ? 2 : 4, [image!, weight!, bias], padding);
}

function convCase(shape: ConvShape): OperationCase {
  const { what, stride = 1, padding = 0 } = shape;
  const options = { stride, padding };
  const operation = operationCase('conv2d', what, () => ({
    op: ([image, weight, b]) => ops.conv2d(image!, weight!, b ?? null, options),
    reference: ([image, weight, b]) => ref.conv2d(image!, weight!, b ?? null, options),
    inputs: inputsOf(shape),
    bound: 'sum',
    count: multiplications(shape) > 300_000 ? 6 : 24,
  }));
  return { ...operation, boundsFor: (variant: string) => boundsFor(shape, variant) };
}

export const convCasesOf = (shapes: readonly ConvShape[]): OperationCase[] => shapes.map(convCase);

export const convCases: readonly OperationCase[] = convCasesOf(convShapes);
