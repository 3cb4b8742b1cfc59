import { ConfigError } from '../core/errors.ts';
import { Random } from '../core/random.ts';
import type { Tensor } from '../core/tensor.ts';
import * as nn from '../nn/index.ts';
import { fastaiHead } from './head.ts';
import { cut, Network } from './network.ts';
import { type ModelOptions, SMALLEST_SIZE, scaled } from './options.ts';

/** Blocks in each of the four stages, of two convolutions each. */
export const BLOCKS = { resnet18: [2, 2, 2, 2], resnet34: [3, 4, 6, 3] } as const;

export type ResnetName = keyof typeof BLOCKS;
export const RESNET_NAMES = Object.keys(BLOCKS) as ResnetName[];

/** Channels of the stages; each but the first halves the image. */
export const STAGES = [64, 128, 256, 512] as const;

const conv = (inChannels: number, outChannels: number, kernel: number, stride: number, random: Random) =>
  new nn.Conv2d({ inChannels, outChannels, kernel, stride, padding: kernel >> 1, bias: false }, random);

/**
 * y = relu(bn2(conv2(relu(bn1(conv1(x))))) + x), the 3×3 convolutions without bias. Where the block changes shape, x goes through a
 * 1×1 convolution with that stride and a batch norm (`downsample`).
 */
class BasicBlock extends nn.Module {
  private readonly layers: readonly [string, nn.Module][];
  private readonly main: nn.Sequential;
  private readonly bn2: nn.BatchNorm;
  private readonly downsample: nn.Sequential | null;

  constructor(inChannels: number, outChannels: number, stride: number, random: Random) {
    super();
    const conv1 = conv(inChannels, outChannels, 3, stride, random);
    const bn1 = new nn.BatchNorm(outChannels, { relu: true });
    const conv2 = conv(outChannels, outChannels, 3, 1, random);
    // Adds the input and applies ReLU in the same pass.
    this.bn2 = new nn.BatchNorm(outChannels, { relu: true });
    this.main = new nn.Sequential([conv1, bn1, conv2]);
    const changes = stride !== 1 || inChannels !== outChannels;
    this.downsample = changes
      ? new nn.Sequential([conv(inChannels, outChannels, 1, stride, random), new nn.BatchNorm(outChannels)])
      : null;
    this.layers = [
      ['conv1', conv1],
      ['bn1', bn1],
      ['conv2', conv2],
      ['bn2', this.bn2],
    ];
    if (this.downsample) this.layers = [...this.layers, ['downsample', this.downsample]];
  }

  override children() {
    return this.layers;
  }

  forward(x: Tensor): Tensor {
    return this.bn2.forward(this.main.forward(x), this.downsample?.forward(x) ?? x);
  }
}

/**
 * ResNet of basic blocks: a 7×7 convolution of stride 2, batch norm, ReLU, a 3×3 max pool of stride 2, four stages, then a head.
 * Weights are drawn as torchvision draws them, and its state_dict names are kept; the fast.ai head stands in the place of `fc`.
 * Source: He et al. 2016; torchvision's `resnet`.
 */
export class Resnet extends Network {
  private readonly body: readonly (readonly [string, nn.Module])[];
  private readonly pool: nn.Module;
  private readonly fc: nn.Module;

  constructor(name: ResnetName, options: ModelOptions) {
    super();
    const { channels, classes, width, size, head } = options;
    if (size < SMALLEST_SIZE)
      throw new ConfigError(`size ${size}: ${name} halves the image five times and needs at least ${SMALLEST_SIZE}.`);
    const random = new Random(options.seed, 1);
    const stem = scaled(STAGES[0], width);
    const body: [string, nn.Module][] = [
      ['conv1', conv(channels, stem, 7, 2, random)],
      ['bn1', new nn.BatchNorm(stem, { relu: true })],
      ['maxpool', nn.maxPool2d({ kernel: 3, stride: 2, padding: 1 })],
    ];
    let inChannels = stem;
    for (const [stage, count] of BLOCKS[name].entries()) {
      const outChannels = scaled(STAGES[stage]!, width);
      const blocks = Array.from({ length: count }, (_, i) => {
        const first = i === 0;
        return new BasicBlock(first ? inChannels : outChannels, outChannels, first && stage > 0 ? 2 : 1, random);
      });
      body.push([`layer${stage + 1}`, new nn.Sequential(blocks)]);
      inChannels = outChannels;
    }
    this.body = body;
    this.pool = head === 'fastai' ? nn.concatPool2d() : nn.adaptiveAvgPool2d(1);
    this.fc =
      head === 'fastai'
        ? fastaiHead(inChannels, options, random)
        : new nn.Linear({ inFeatures: inChannels, outFeatures: classes, bound: 1 / Math.sqrt(inChannels) }, random);
  }

  override children() {
    return [...this.body, ['fc', this.fc] as const];
  }

  /** fast.ai's `_resnet_split`: the stem with the first two stages, the last two, the head. */
  override layerGroups() {
    const third = this.body.findIndex(([name]) => name === 'layer3');
    return [this.body.slice(0, third), this.body.slice(third), [['fc', this.fc] as const]];
  }

  parts(): readonly (readonly nn.Module[])[] {
    const body = this.body.map(([, module]) => module);
    // The stem and the first stage have one resolution; each stage after it is another.
    const ends = STAGES.map((_, stage) => body.length - STAGES.length + stage + 1);
    return cut([...body, this.pool, nn.flatten(), this.fc], ends);
  }
}

/** Bytes of the largest activation of one image: the stem's maps, or the image itself where the network is narrow. */
export const resnetActivationBytes = ({ size, width, channels }: ModelOptions): number =>
  4 * Math.max(Math.ceil(size / 2) ** 2 * scaled(STAGES[0], width), size ** 2 * channels);

/** Up to 32 px the last stage's maps are 1×1, and the batch norms of the fastai head always have one value an image. */
export const resnetSmallestBatch = ({ head, size }: ModelOptions): number => (head === 'fastai' || size <= 32 ? 2 : 1);
