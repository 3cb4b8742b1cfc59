import { wgslType } from '../core/dtype.ts';
import { ShapeError } from '../core/errors.ts';
import { kernel } from '../core/kernel.ts';
import { expectPositive, type Pair, pair, showShape, windowOutput } from '../core/shape.ts';
import { record } from '../core/tape.ts';
import { Tensor } from '../core/tensor.ts';
import { floats } from './cast.ts';

const maxForward = kernel('pool2d', 'maxForward');
const maxInside = kernel('pool2d', 'maxInside');
const maxBackward = kernel('pool2d', 'maxBackward');
const maxTilesBackward = kernel('pool2d', 'maxTilesBackward');
const averageForward = kernel('pool2d', 'averageForward');
const averageBackward = kernel('pool2d', 'averageBackward');

export interface PoolOptions {
  /** Window side. */
  kernel: Pair;
  /** By default the window side: windows do not overlap. */
  stride?: Pair;
  padding?: Pair;
}

export interface AveragePoolOptions extends PoolOptions {
  /** Divide by the whole window also where it hangs over the edge, as PyTorch does by default. */
  countIncludePad?: boolean;
}

interface Pooling {
  consts: Record<string, number | boolean | string>;
  params: { n: number; h: number; w: number; c: number; p: number; q: number; span: number; strips: number };
  shape: number[];
  /** No window hangs over the edge. */
  inside: boolean;
  /** And they lie side by side and leave nothing over. */
  tiles: boolean;
  /** Elements of the largest window. */
  area: number;
}

function images(op: string, x: Tensor): [number, number, number, number] {
  if (x.shape.length !== 4) throw new ShapeError(`${op}: x is ${showShape(x.shape)}; images are [N,H,W,C].`);
  return x.shape as unknown as [number, number, number, number];
}

/** Kernels take four channels at once where their number allows it. */
const elementsOf = ({ dtype }: Tensor, c: number) => {
  const width = c % 4 === 0 ? 4 : 1;
  const types = { Elem: wgslType(dtype, width), Vec: wgslType('f32', width), Index: wgslType('u32', width) };
  return { types, columns: c / width };
};

/** Invocations for a tensor of the pooling: one an element of its kernels. */
const invocations = (tensor: Tensor, { params }: Pooling): number => (tensor.size / tensor.shape[3]!) * params.c;

/** Windows of a row that one invocation walks over: on hardware there are more invocations, for a GPU is wide. */
const HARDWARE_SPAN = 4;

function strips(x: Tensor, q: number): { span: number; strips: number } {
  const span = x.storage.gpu.adapter.software ? q : Math.min(q, HARDWARE_SPAN);
  return { span, strips: Math.ceil(q / span) };
}

function windows(op: string, x: Tensor, { kernel: side, stride = side, padding = 0 }: PoolOptions): Pooling {
  const [n, h, w, c] = images(op, x);
  const [[K, L], [STRIDE_H, STRIDE_W], [PAD_H, PAD_W]] = [pair(side), pair(stride), pair(padding)];
  expectPositive(op, 'kernel and stride', [K, L, STRIDE_H, STRIDE_W]);
  expectPositive(op, 'padding', [PAD_H, PAD_W], 0);
  if (2 * PAD_H > K || 2 * PAD_W > L) {
    throw new ShapeError(
      `${op}: padding ${PAD_H}×${PAD_W} is more than half the window ${K}×${L}, which would leave windows empty.`,
    );
  }
  const p = windowOutput(op, h, K, STRIDE_H, PAD_H);
  const q = windowOutput(op, w, L, STRIDE_W, PAD_W);
  const { types, columns } = elementsOf(x, c);
  const consts = { ...types, K, L, STRIDE_H, STRIDE_W, PAD_H, PAD_W };
  const inside = PAD_H === 0 && PAD_W === 0;
  const tiles = inside && STRIDE_H === K && STRIDE_W === L && p * K === h && q * L === w;
  const params = { n, h, w, c: columns, p, q, ...strips(x, q) };
  return { consts, params, shape: [n, p, q, c], inside, tiles, area: K * L };
}

function adaptive(op: string, x: Tensor, output: Pair): Pooling {
  const [n, h, w, c] = images(op, x);
  const [p, q] = pair(output);
  expectPositive(op, 'the output size', [p, q]);
  const { types, columns } = elementsOf(x, c);
  const params = { n, h, w, c: columns, p, q, ...strips(x, q) };
  const consts = { ...types, ADAPTIVE: true };
  return { consts, params, shape: [n, p, q, c], inside: false, tiles: false, area: h * w };
}

const BYTES = { WINNERS: 'lib/winners_bytes.wgsl', Winners: 'u32' };
const WORDS = { WINNERS: 'lib/winners_words.wgsl' };

function maxPool(x: Tensor, pooling: Pooling): Tensor {
  const { params, shape, inside, tiles, area } = pooling;
  const y = Tensor.empty(shape, x.dtype);
  const packed = shape[3]! % 4 === 0 && area <= 256;
  const winner = Tensor.empty([packed ? y.size / 4 : y.size], 'u32');
  const consts = { ...pooling.consts, ...(packed ? BYTES : { ...WORDS, Winners: pooling.consts.Index! }) };
  const walkers = params.n * params.p * params.strips * params.c;
  const [forward, threads] = inside ? [maxInside, walkers] : [maxForward, invocations(y, pooling)];
  forward(consts, { x, y, argmax: winner }, params, threads);
  const backward = (dy: Tensor) => {
    const dx = x.emptyLike();
    if (tiles) maxTilesBackward(consts, { dy, winner, dx }, params, walkers);
    else maxBackward(consts, { dy, winner, dx }, params, invocations(x, pooling));
    return [dx];
  };
  return record(y, [x], backward, [winner], []);
}

function averagePool(x: Tensor, pooling: Pooling): Tensor {
  const { params, shape } = pooling;
  const consts = { ...pooling.consts, ...WORDS, Winners: pooling.consts.Index! };
  const y = Tensor.empty(shape, x.dtype);
  averageForward(consts, { x, y }, params, invocations(y, pooling));
  const backward = (dy: Tensor) => {
    const dx = x.emptyLike();
    averageBackward(consts, { dy, dx }, params, invocations(x, pooling));
    return [dx];
  };
  return record(y, [x], backward, [], []);
}

/**
 * Largest value of each window.
 *
 * x [N,H,W,C] → y [N,P,Q,C], P = ⌊(H + 2·padding − kernel)/stride⌋ + 1. Saves where the maxima were, a byte each for
 * windows of up to 256 elements; of equal ones the first gets the gradient, as in PyTorch.
 */
export const maxPool2d = (input: Tensor, options: PoolOptions): Tensor => {
  const x = floats(input);
  return maxPool(x, windows('maxPool2d', x, options));
};

/** Mean of each window; shapes as `maxPool2d`. Saves nothing. */
export const avgPool2d = (input: Tensor, { countIncludePad = true, ...options }: AveragePoolOptions): Tensor => {
  const x = floats(input);
  const pooling = windows('avgPool2d', x, options);
  return averagePool(x, { ...pooling, consts: { ...pooling.consts, COUNT_PADDING: countIncludePad } });
};

/** Where each window is one pixel, pooling changes nothing. */
const changes = ({ params: { h, w, p, q } }: Pooling): boolean => h !== p || w !== q;

/**
 * Mean over windows that divide any input evenly into `output` rows and columns: rows ⌊p·H/P⌋ up to ⌈(p+1)·H/P⌉. Returns x itself
 * where that is its size.
 */
export function adaptiveAvgPool2d(input: Tensor, output: Pair): Tensor {
  const x = floats(input);
  const pooling = adaptive('adaptiveAvgPool2d', x, output);
  return changes(pooling) ? averagePool(x, pooling) : x;
}

/** Maximum over the windows of `adaptiveAvgPool2d`. */
export function adaptiveMaxPool2d(input: Tensor, output: Pair): Tensor {
  const x = floats(input);
  const pooling = adaptive('adaptiveMaxPool2d', x, output);
  return changes(pooling) ? maxPool(x, pooling) : x;
}
