import { ConfigError } from '../core/errors.ts';
import { Random } from '../core/random.ts';
import * as nn from '../nn/index.ts';
import { fastaiHead, vggHead } from './head.ts';
import { cut, Network } from './network.ts';
import { type ModelOptions, SMALLEST_SIZE, scaled } from './options.ts';

/** Convolutions by output channels, 'M' for a 2×2 max pool: torchvision's configurations A, B, D and E. */
export const CONFIGURATIONS = {
  vgg11_bn: [64, 'M', 128, 'M', 256, 256, 'M', 512, 512, 'M', 512, 512, 'M'],
  vgg13_bn: [64, 64, 'M', 128, 128, 'M', 256, 256, 'M', 512, 512, 'M', 512, 512, 'M'],
  vgg16_bn: [64, 64, 'M', 128, 128, 'M', 256, 256, 256, 'M', 512, 512, 512, 'M', 512, 512, 512, 'M'],
  vgg19_bn: [64, 64, 'M', 128, 128, 'M', 256, 256, 256, 256, 'M', 512, 512, 512, 512, 'M', 512, 512, 512, 512, 'M'],
} as const;

export type VggName = keyof typeof CONFIGURATIONS;
export const VGG_NAMES = Object.keys(CONFIGURATIONS) as VggName[];

/** Where the second layer group begins: behind seven convolutions of vgg16_bn. */
const GROUP_CUT = 22;

/**
 * VGG with batch normalisation: 3×3 convolutions with bias, batch norm and ReLU, halved five times, then a head. Weights are
 * drawn as torchvision draws them, and its state_dict names are kept. Source: Simonyan and Zisserman 2015; torchvision's `vgg`.
 */
export class Vgg extends Network {
  readonly features: nn.Sequential;
  readonly avgpool: nn.Module;
  readonly classifier: nn.Sequential;
  /** Where the pools are in `features`: each takes the last maps of a resolution. */
  private readonly pools: readonly number[];

  constructor(name: VggName, options: ModelOptions) {
    super();
    const { channels, width, size, head, pool } = options;
    if (size < SMALLEST_SIZE)
      throw new ConfigError(`size ${size}: ${name} halves the image five times and needs at least ${SMALLEST_SIZE}.`);
    const random = new Random(options.seed, 1);
    const layers: nn.Module[] = [];
    const pools: number[] = [];
    let inChannels: number = channels;
    for (const entry of CONFIGURATIONS[name]) {
      if (entry === 'M') {
        pools.push(layers.length);
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
    this.pools = pools;
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

  /** fast.ai's `_vgg_split`: all VGGs are cut at the same number of layers. */
  override layerGroups() {
    const features = this.features.children().map(([name, layer]) => [`features.${name}`, layer] as const);
    return [features.slice(0, GROUP_CUT), features.slice(GROUP_CUT), [['classifier', this.classifier] as const]];
  }

  parts(): readonly (readonly nn.Module[])[] {
    return cut([...this.features.layers, this.avgpool, nn.flatten(), this.classifier], this.pools);
  }
}

/** Bytes of the largest activation of one image: the first block's maps, at full size. */
export const vggActivationBytes = ({ size, width }: ModelOptions): number => 4 * size * size * scaled(64, width);

/** The last block's maps are at least 2×2, but the batch norms of the fastai head have one value an image. */
export const vggSmallestBatch = ({ head }: ModelOptions): number => (head === 'fastai' ? 2 : 1);
