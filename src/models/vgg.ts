import { ConfigError } from '../core/errors.ts';
import { Random } from '../core/random.ts';
import type { Tensor } from '../core/tensor.ts';
import * as nn from '../nn/index.ts';

/** What a network is built from; enough to build it again, so it goes into model files. */
export interface ModelOptions {
  classes: number;
  /** Input channels: 3, or a 1-channel stem. */
  channels: 1 | 3;
  /** Input side in pixels. */
  size: number;
  /** Multiplies every channel count, rounded to a multiple of 8, at least 8. */
  width: number;
  head: 'vgg' | 'fastai';
  /** Side of the map that the `vgg` head sees. */
  pool: number;
  /** Dropout of the head; its own default where undefined. */
  dropout?: number;
  seed: number;
}

/** What somebody who builds a network has to say; `defaultOptions` are the rest. */
export type ModelSettings = Pick<ModelOptions, 'classes' | 'size'> & Partial<ModelOptions>;

export const defaultOptions = { channels: 3, width: 1, head: 'vgg', pool: 1, seed: 1 } as const;

/** Convolutions by output channels, 'M' for a 2×2 max pool: torchvision's configurations A, B, D and E. */
export const PLANS = {
  vgg11_bn: [64, 'M', 128, 'M', 256, 256, 'M', 512, 512, 'M', 512, 512, 'M'],
  vgg13_bn: [64, 64, 'M', 128, 128, 'M', 256, 256, 'M', 512, 512, 'M', 512, 512, 'M'],
  vgg16_bn: [64, 64, 'M', 128, 128, 'M', 256, 256, 256, 'M', 512, 512, 512, 'M', 512, 512, 512, 'M'],
  vgg19_bn: [64, 64, 'M', 128, 128, 'M', 256, 256, 256, 256, 'M', 512, 512, 512, 512, 'M', 512, 512, 512, 512, 'M'],
} as const;

export type VggName = keyof typeof PLANS;
export const VGG_NAMES = Object.keys(PLANS) as VggName[];

/** Smallest input side: five pools halve it five times. */
const MIN_SIZE = 32;

export const scaled = (channels: number, width: number): number => Math.max(8, Math.round((channels * width) / 8) * 8);

/**
 * VGG with batch normalisation: 3×3 convolutions with bias, batch norm and ReLU, halved five times, then a head. Weights are
 * drawn as torchvision draws them, and its state_dict names are kept. Source: Simonyan and Zisserman 2015; torchvision's `vgg`.
 */
export class Vgg extends nn.Module {
  readonly features: nn.Sequential;
  readonly avgpool: nn.Module;
  readonly classifier: nn.Sequential;

  constructor(name: VggName, options: ModelOptions) {
    super();
    const { channels, width, size, head, pool } = options;
    if (size < MIN_SIZE)
      throw new ConfigError(`--size ${size}: ${name} halves the image five times and needs at least ${MIN_SIZE}.`);
    const random = new Random(options.seed, 1);
    const layers: nn.Module[] = [];
    let inChannels: number = channels;
    for (const entry of PLANS[name]) {
      if (entry === 'M') {
        layers.push(nn.maxPool2d({ kernel: 2 }));
        continue;
      }
      const outChannels = scaled(entry, width);
      // The batch norm applies the ReLU, whose place in the numbering stays taken.
      layers.push(
        new nn.Conv2d({ inChannels, outChannels, kernel: 3, padding: 1 }, random),
        new nn.BatchNorm(outChannels, { relu: true }),
        nn.identity(),
      );
      inChannels = outChannels;
    }
    this.features = new nn.Sequential(layers);
    this.avgpool = head === 'fastai' ? nn.concatPool2d() : nn.adaptiveAvgPool2d(pool);
    this.classifier =
      head === 'fastai' ? fastaiHead(inChannels, options, random) : vggHead(inChannels, options, random);
  }

  override children() {
    return [
      ['features', this.features],
      ['classifier', this.classifier],
    ] as const;
  }

  forward(x: Tensor): Tensor {
    return new nn.Sequential([this.features, this.avgpool, nn.flatten(), this.classifier]).forward(x);
  }
}

/** torchvision's classifier: 4096, 4096, classes, with ReLU and dropout between. */
function vggHead(
  channels: number,
  { classes, width, pool, dropout = 0.5 }: ModelOptions,
  random: Random,
): nn.Sequential {
  const hidden = scaled(4096, width);
  return new nn.Sequential([
    new nn.Linear(
      { inFeatures: channels * pool * pool, outFeatures: hidden, flattened: [pool, pool, channels] },
      random,
    ),
    nn.relu(),
    new nn.Dropout(dropout),
    new nn.Linear({ inFeatures: hidden, outFeatures: hidden }, random),
    nn.relu(),
    new nn.Dropout(dropout),
    new nn.Linear({ inFeatures: hidden, outFeatures: classes }, random),
  ]);
}

/**
 * fast.ai's `create_head` behind a concatenated pool: BN, dropout/2, 512, ReLU, BN, dropout, classes; linear layers without bias,
 * drawn from N(0, 2/fan in), BN's β from 0.001.
 */
function fastaiHead(channels: number, { classes, dropout = 0.5 }: ModelOptions, random: Random): nn.Sequential {
  const linear = (inFeatures: number, outFeatures: number) =>
    new nn.Linear({ inFeatures, outFeatures, bias: false, std: nn.kaimingStd(inFeatures) }, random);
  return new nn.Sequential([
    new nn.BatchNorm(2 * channels, { bias: 1e-3 }),
    new nn.Dropout(dropout / 2),
    linear(2 * channels, 512),
    nn.relu(),
    new nn.BatchNorm(512, { bias: 1e-3 }),
    new nn.Dropout(dropout),
    linear(512, classes),
  ]);
}

/** Bytes of the largest activation of one image: the first block's maps, at full size. */
export const vggActivationBytes = ({ size, width }: ModelOptions): number => 4 * size * size * scaled(64, width);

/** The last block's maps are at least 2×2, but the batch norms of the fastai head have one value an image. */
export const vggSmallestBatch = ({ head }: ModelOptions): number => (head === 'fastai' ? 2 : 1);
