import { ShapeError } from '../core/errors.ts';
import { kernel } from '../core/kernel.ts';
import { expectPositive, type Pair, pair, showShape, windowOutput } from '../core/shape.ts';
import { record } from '../core/tape.ts';
import { Tensor } from '../core/tensor.ts';

const maxForward = kernel('pool2d', 'max_forward');
const maxBackward = kernel('pool2d', 'max_backward');
const averageForward = kernel('pool2d', 'average_forward');
const averageBackward = kernel('pool2d', 'average_backward');

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

interface Plan {
  consts: Record<string, number | boolean | string>;
  params: { n: number; h: number; w: number; c: number; p: number; q: number };
  shape: number[];
}

function images(op: string, x: Tensor): [number, number, number, number] {
  if (x.shape.length !== 4) throw new ShapeError(`${op}: x is ${showShape(x.shape)}; images are [N,H,W,C].`);
  return x.shape as unknown as [number, number, number, number];
}

/** Kernels take four channels at once where their number allows it. */
const elementsOf = (c: number) =>
  c % 4 === 0
    ? { types: { Elem: 'vec4f', Index: 'vec4u' }, columns: c / 4 }
    : { types: { Elem: 'f32', Index: 'u32' }, columns: c };

/** Invocations for a tensor of the plan: one an element of its kernels. */
const invocations = (tensor: Tensor, { params }: Plan): number => (tensor.size / tensor.shape[3]!) * params.c;

function windows(op: string, x: Tensor, { kernel: side, stride = side, padding = 0 }: PoolOptions): Plan {
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
  const { types, columns } = elementsOf(c);
  const consts = { ...types, K, L, STRIDE_H, STRIDE_W, PAD_H, PAD_W };
  return { consts, params: { n, h, w, c: columns, p, q }, shape: [n, p, q, c] };
}

function adaptive(op: string, x: Tensor, output: Pair): Plan {
  const [n, h, w, c] = images(op, x);
  const [p, q] = pair(output);
  expectPositive(op, 'the output size', [p, q]);
  const { types, columns } = elementsOf(c);
  return { consts: { ...types, ADAPTIVE: true }, params: { n, h, w, c: columns, p, q }, shape: [n, p, q, c] };
}

function maxPool(x: Tensor, plan: Plan): Tensor {
  const { consts, params, shape } = plan;
  const y = Tensor.empty(shape);
  const winner = Tensor.empty(shape, 'u32');
  maxForward(consts, { x, y, argmax: winner }, params, invocations(y, plan));
  const backward = (dy: Tensor) => {
    const dx = x.emptyLike();
    maxBackward(consts, { dy, winner, dx }, params, invocations(x, plan));
    return [dx];
  };
  return record(y, [x], backward, [winner]);
}

function averagePool(x: Tensor, plan: Plan): Tensor {
  const { consts, params, shape } = plan;
  const y = Tensor.empty(shape);
  averageForward(consts, { x, y }, params, invocations(y, plan));
  return record(y, [x], (dy) => {
    const dx = x.emptyLike();
    averageBackward(consts, { dy, dx }, params, invocations(x, plan));
    return [dx];
  });
}

/**
 * Largest value of each window.
 *
 * x [N,H,W,C] → y [N,P,Q,C], P = ⌊(H + 2·padding − kernel)/stride⌋ + 1. Saves where the maxima were; of equal ones the first gets
 * the gradient, as in PyTorch.
 */
export const maxPool2d = (x: Tensor, options: PoolOptions): Tensor => maxPool(x, windows('maxPool2d', x, options));

/** Mean of each window; shapes as `maxPool2d`. Saves nothing. */
export const avgPool2d = (x: Tensor, { countIncludePad = true, ...options }: AveragePoolOptions): Tensor => {
  const plan = windows('avgPool2d', x, options);
  return averagePool(x, { ...plan, consts: { ...plan.consts, COUNT_PADDING: countIncludePad } });
};

/** Mean over windows that divide any input evenly into `output` rows and columns: rows ⌊p·H/P⌋ up to ⌈(p+1)·H/P⌉. */
export const adaptiveAvgPool2d = (x: Tensor, output: Pair): Tensor =>
  averagePool(x, adaptive('adaptiveAvgPool2d', x, output));

/** Maximum over the windows of `adaptiveAvgPool2d`. */
export const adaptiveMaxPool2d = (x: Tensor, output: Pair): Tensor =>
  maxPool(x, adaptive('adaptiveMaxPool2d', x, output));
