import { ShapeError } from '../core/errors.ts';
import { Random } from '../core/random.ts';
import { showShape } from '../core/shape.ts';
import type { Tensor } from '../core/tensor.ts';
import * as nn from '../nn/index.ts';
import * as ops from '../ops/index.ts';
import { scaled } from './options.ts';

/** What a colouriser is built from; goes into its file. */
export interface ColorizerOptions {
  /** Side of the images that it sees: a multiple of 4. */
  size: number;
  /** Multiplies the 32, 64 and 128 channels. */
  width: number;
  seed: number;
}

const CHANNELS = [32, 64, 128] as const;

/** Bytes of the largest tensor that one image makes: what the last block sees, the widened maps beside those handed across. */
export const colorizerActivationBytes = ({ size, width }: ColorizerOptions): number =>
  4 * size * size * (scaled(CHANNELS[0], width) + scaled(CHANNELS[1], width));

const block = (inChannels: number, outChannels: number, stride: number, random: Random): nn.Sequential =>
  new nn.Sequential([
    new nn.Conv2d({ inChannels, outChannels, kernel: 3, stride, padding: 1, bias: false }, random),
    new nn.BatchNorm(outChannels, { relu: true }),
  ]);

/**
 * Gray to colour: from lightness x [N,S,S,1], (L − 50)/50, to (a, b)/110 of CIELAB [N,S,S,2]. A small U-Net: three levels of 3×3
 * convolutions with batch norm and ReLU, halved by stride and doubled by nearest upsampling, each level's maps handed across.
 * Source: Ronneberger et al. 2015 for the shape; Zhang et al. 2016 for predicting ab from L.
 */
export class Colorizer extends nn.Module {
  private readonly named: Record<'enter' | 'down1' | 'down2' | 'middle' | 'up1' | 'up2', nn.Sequential>;
  private readonly leave: nn.Conv2d;

  constructor({ size, width, seed }: ColorizerOptions) {
    super();
    if (size % 4 !== 0)
      throw new ShapeError(`Colorizer: size is ${size}; it is halved twice and must be a multiple of 4.`);
    const random = new Random(seed, 2);
    const [a, b, c] = CHANNELS.map((channels) => scaled(channels, width)) as [number, number, number];
    this.named = {
      enter: block(1, a, 1, random),
      down1: block(a, b, 2, random),
      down2: block(b, c, 2, random),
      middle: block(c, c, 1, random),
      up1: block(c + b, b, 1, random),
      up2: block(b + a, a, 1, random),
    };
    this.leave = new nn.Conv2d({ inChannels: a, outChannels: 2, kernel: 1, bound: 1 / Math.sqrt(a) }, random);
  }

  override children() {
    return [...Object.entries(this.named), ['leave', this.leave] as const];
  }

  forward(x: Tensor): Tensor {
    if (x.shape.length !== 4 || x.shape[3] !== 1)
      throw new ShapeError(`Colorizer: x is ${showShape(x.shape)}; it takes lightness, [N,S,S,1].`);
    const { enter, down1, down2, middle, up1, up2 } = this.named;
    const full = enter.forward(x);
    const half = down1.forward(full);
    const quarter = middle.forward(down2.forward(half));
    const wider = up1.forward(ops.concat([ops.upsampleNearest2d(quarter, 2), half], 3));
    const widest = up2.forward(ops.concat([ops.upsampleNearest2d(wider, 2), full], 3));
    return ops.tanh(this.leave.forward(widest));
  }
}
