import { ConfigError } from '../core/errors.ts';
import { Random } from '../core/random.ts';
import * as nn from '../nn/index.ts';
import { cut, Network } from './network.ts';
import { type ModelOptions, SMALLEST_SIZE, scaled } from './options.ts';

/** Channels of the four blocks, each of two convolutions and a 2×2 max pool. */
export const FER_BLOCKS = [64, 128, 256, 512] as const;

/** Dropout where nothing else is asked for. */
export const FER_DROPOUT = 0.2;

/** Side of the maps that are flattened. */
export const ferSide = (size: number): number => FER_BLOCKS.reduce((side) => side >> 1, size);

/**
 * The VGG that Khaireddin and Chen trained on FER2013: four blocks of two 3×3 convolutions with bias, batch norm and ReLU and a 2×2
 * max pool, then 4096, 4096 and the classes with dropout (0.2) between. It was made for 40 px in gray. Weights and biases are drawn
 * evenly from ±1/√(fan in), PyTorch's own default, and their names are kept: `conv1a` … `conv4b`, `bn1a` …, `lin1` … `lin3`. Source:
 * Khaireddin and Chen 2021, arXiv 2105.03588.
 */
export class FerVgg extends Network {
  private readonly named: (readonly [string, nn.Module])[] = [];
  private readonly layers: nn.Sequential;
  /** Where the pools are in `layers`. */
  private readonly pools: number[] = [];

  constructor(options: ModelOptions) {
    super();
    const { channels, classes, size, width, dropout = FER_DROPOUT } = options;
    if (size < SMALLEST_SIZE)
      throw new ConfigError(`size ${size}: fer_vgg halves the image four times and needs at least ${SMALLEST_SIZE}.`);
    const random = new Random(options.seed, 1);
    const name = <T extends nn.Module>(key: string, module: T): T => {
      this.named.push([key, module]);
      return module;
    };
    const layers: nn.Module[] = [];
    let inChannels: number = channels;
    for (const [b, count] of FER_BLOCKS.entries()) {
      const outChannels = scaled(count, width);
      for (const letter of ['a', 'b']) {
        const bound = 1 / Math.sqrt(9 * inChannels);
        const conv = new nn.Conv2d({ inChannels, outChannels, kernel: 3, padding: 1, bound }, random);
        layers.push(
          name(`conv${b + 1}${letter}`, conv),
          name(`bn${b + 1}${letter}`, new nn.BatchNorm(outChannels, { relu: true })),
        );
        inChannels = outChannels;
      }
      this.pools.push(layers.length);
      layers.push(nn.maxPool2d({ kernel: 2 }));
    }
    const [side, hidden] = [ferSide(size), scaled(4096, width)];
    const linear = (inFeatures: number, outFeatures: number, flattened?: [number, number, number]) =>
      new nn.Linear({ inFeatures, outFeatures, flattened, bound: 1 / Math.sqrt(inFeatures) }, random);
    layers.push(
      nn.flatten(),
      name('lin1', linear(inChannels * side * side, hidden, [side, side, inChannels])),
      nn.relu(),
      new nn.Dropout(dropout),
      name('lin2', linear(hidden, hidden)),
      nn.relu(),
      new nn.Dropout(dropout),
      name('lin3', linear(hidden, classes)),
    );
    this.layers = new nn.Sequential(layers);
  }

  override children() {
    return this.named;
  }

  /** The convolutions with their norms, and the linear layers behind them. */
  override layerGroups() {
    const head = this.named.findIndex(([name]) => name === 'lin1');
    return [this.named.slice(0, head), this.named.slice(head)];
  }

  parts(): readonly (readonly nn.Module[])[] {
    return cut(this.layers.layers, this.pools);
  }
}

/** Bytes of the largest activation of one image: the first block's maps, at full size. */
export const ferActivationBytes = ({ size, width }: ModelOptions): number =>
  4 * size * size * scaled(FER_BLOCKS[0], width);
