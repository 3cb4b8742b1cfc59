import { ConfigError } from '../core/errors.ts';
import type { Random } from '../core/random.ts';
import { type Pair, pair } from '../core/shape.ts';
import { latestSerial } from '../core/step.ts';
import { release } from '../core/tape.ts';
import { Tensor } from '../core/tensor.ts';
import * as ops from '../ops/index.ts';
import { constant, kaimingStd, normal, uniform } from './init.ts';
import { Module, type StateEntry } from './module.ts';

/**
 * Modules one after another, named '0', '1', … in files. What lies between two of them is freed once no backward function reads it: a
 * layer that remembers its input or result has to `keep` it.
 */
export class Sequential extends Module {
  readonly layers: readonly Module[];

  constructor(layers: readonly Module[]) {
    super();
    this.layers = layers;
  }

  override children(): (readonly [string, Module])[] {
    return this.layers.map((layer, i) => [String(i), layer] as const);
  }

  forward(x: Tensor): Tensor {
    let y = x;
    const made = latestSerial();
    for (const layer of this.layers) {
      const before = y;
      y = layer.forward(before);
      // Nobody but the tape needs what lies between two layers.
      if (before !== x && before !== y && before.serial > made)
        release(before, 'Sequential, which keeps nothing between its layers');
    }
    return y;
  }
}

const biases = (count: number, bound: number | undefined, random: Random): Tensor =>
  bound === undefined ? constant([count], 0) : uniform([count], bound, random);

export interface Conv2dOptions {
  inChannels: number;
  outChannels: number;
  kernel: Pair;
  stride?: Pair;
  padding?: Pair;
  bias?: boolean;
  /** Draws weights and biases evenly from [−bound, bound] instead; PyTorch's own default is 1/√(R·S·C). */
  bound?: number;
}

/** 2-d convolution; weights drawn as torchvision's models do: N(0, 2/(K·R·S)), biases 0. */
export class Conv2d extends Module {
  readonly weight: Tensor;
  readonly bias: Tensor | null;
  private readonly options: Conv2dOptions;

  constructor(options: Conv2dOptions, random: Random) {
    super();
    this.options = options;
    const [r, s] = pair(options.kernel);
    const { inChannels: c, outChannels: k, bias = true, bound } = options;
    const shape = [k, r, s, c];
    this.weight = bound === undefined ? normal(shape, kaimingStd(k * r * s), random) : uniform(shape, bound, random);
    this.bias = bias ? biases(k, bound, random) : null;
  }

  override own(): Record<string, StateEntry> {
    const [k, r, s, c] = this.weight.shape as [number, number, number, number];
    const weight: StateEntry = {
      tensor: this.weight,
      kind: 'parameter',
      channelsLast: [k, r, s, c],
      fileShape: [k, c, r, s],
    };
    return this.bias ? { weight, bias: { tensor: this.bias, kind: 'parameter', fileShape: [k] } } : { weight };
  }

  forward(x: Tensor): Tensor {
    return ops.conv2d(x, this.weight, this.bias, this.options);
  }
}

export interface LinearOptions {
  inFeatures: number;
  outFeatures: number;
  bias?: boolean;
  /** Draws weights from N(0, std²) and has biases of 0 instead; torchvision's VGG takes 0.01. */
  std?: number;
  /** Draws weights and biases evenly from [−bound, bound], unless there is a `std`. Default: 1/√inFeatures, as PyTorch. */
  bound?: number;
  /** Set when the input is a flattened [H, W, C] image: files order the columns (c, h, w). */
  flattened?: readonly [height: number, width: number, channels: number] | undefined;
}

/** y = x·wᵀ + b. */
export class Linear extends Module {
  readonly weight: Tensor;
  readonly bias: Tensor | null;
  private readonly flattened: LinearOptions['flattened'];

  constructor(options: LinearOptions, random: Random) {
    super();
    const { inFeatures, outFeatures, bias = true, std, bound = 1 / Math.sqrt(inFeatures), flattened } = options;
    const shape = [outFeatures, inFeatures];
    this.weight = std === undefined ? uniform(shape, bound, random) : normal(shape, std, random);
    this.bias = bias ? biases(outFeatures, std === undefined ? bound : undefined, random) : null;
    this.flattened = flattened;
  }

  override own(): Record<string, StateEntry> {
    const [outFeatures, inFeatures] = this.weight.shape as [number, number];
    const weight: StateEntry = { tensor: this.weight, kind: 'parameter', fileShape: [outFeatures, inFeatures] };
    if (this.flattened) weight.channelsLast = [outFeatures, ...this.flattened];
    return this.bias
      ? { weight, bias: { tensor: this.bias, kind: 'parameter', fileShape: [outFeatures] } }
      : { weight };
  }

  forward(x: Tensor): Tensor {
    return ops.linear(x, this.weight, this.bias);
  }
}

export interface BatchNormLayerOptions {
  relu?: boolean;
  momentum?: number;
  eps?: number;
  /** What β starts from: 0, in fast.ai's heads 0.001. */
  bias?: number;
}

/** Batch normalisation over all dimensions but the last, with ReLU in the same pass if asked for. */
export class BatchNorm extends Module {
  readonly weight: Tensor;
  readonly bias: Tensor;
  readonly runningMean: Tensor;
  readonly runningVar: Tensor;
  private readonly options: BatchNormLayerOptions;

  constructor(channels: number, options: BatchNormLayerOptions = {}) {
    super();
    this.options = options;
    this.weight = constant([channels], 1);
    this.bias = constant([channels], options.bias ?? 0);
    this.runningMean = Tensor.full([channels], 0);
    this.runningVar = Tensor.full([channels], 1);
  }

  override own(): Record<string, StateEntry> {
    const fileShape = this.weight.shape;
    return {
      weight: { tensor: this.weight, kind: 'parameter', fileShape },
      bias: { tensor: this.bias, kind: 'parameter', fileShape },
      running_mean: { tensor: this.runningMean, kind: 'buffer', fileShape },
      running_var: { tensor: this.runningVar, kind: 'buffer', fileShape },
    };
  }

  /** A `residual` is added before ReLU. */
  forward(x: Tensor, residual?: Tensor): Tensor {
    const { training, options } = this;
    const all = { training, ...options, ...(residual && { residual }) };
    return ops.batchNorm(x, this.weight, this.bias, this.runningMean, this.runningVar, all);
  }
}

/** A function without parameters as a module: pooling, activation, flatten. */
export class Lambda extends Module {
  private readonly fn: (x: Tensor) => Tensor;
  readonly label: string;

  constructor(label: string, fn: (x: Tensor) => Tensor) {
    super();
    this.label = label;
    this.fn = fn;
  }

  forward(x: Tensor): Tensor {
    return this.fn(x);
  }
}

export const relu = (): Module => new Lambda('relu', ops.relu);
export const silu = (): Module => new Lambda('silu', ops.silu);
export const gelu = (): Module => new Lambda('gelu', ops.gelu);
export const tanh = (): Module => new Lambda('tanh', ops.tanh);
export const sigmoid = (): Module => new Lambda('sigmoid', ops.sigmoid);
export const flatten = (): Module => new Lambda('flatten', ops.flatten);
export const maxPool2d = (options: ops.PoolOptions): Module =>
  new Lambda('maxPool2d', (x) => ops.maxPool2d(x, options));
export const avgPool2d = (options: ops.AveragePoolOptions): Module =>
  new Lambda('avgPool2d', (x) => ops.avgPool2d(x, options));
export const adaptiveAvgPool2d = (side: Pair): Module =>
  new Lambda('adaptiveAvgPool2d', (x) => ops.adaptiveAvgPool2d(x, side));

/** Holds a place, so that what follows keeps the number that files know it by. */
export const identity = (): Module => new Lambda('identity', (x) => x);

/** Maximum and mean over the whole image, one after the other along the channels: fast.ai's `AdaptiveConcatPool2d(1)`. */
export const concatPool2d = (): Module =>
  new Lambda('concatPool2d', (x) => ops.concat([ops.adaptiveMaxPool2d(x, 1), ops.adaptiveAvgPool2d(x, 1)], 3));

export class Dropout extends Module {
  private readonly p: number;

  constructor(p: number) {
    super();
    if (!(p >= 0 && p < 1))
      throw new ConfigError(`Dropout: p is ${p}; it is a probability from 0 up to, not including, 1.`);
    this.p = p;
  }

  forward(x: Tensor): Tensor {
    return ops.dropout(x, this.p, { training: this.training });
  }
}
