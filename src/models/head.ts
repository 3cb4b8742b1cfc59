import type { Random } from '../core/random.ts';
import * as nn from '../nn/index.ts';
import { type ModelOptions, scaled } from './options.ts';

/** torchvision's classifier of VGG: 4096, 4096, classes, with ReLU and dropout between. */
export function vggHead(
  channels: number,
  { classes, width, pool, dropout = 0.5 }: ModelOptions,
  random: Random,
): nn.Sequential {
  const hidden = scaled(4096, width);
  const std = 0.01;
  return new nn.Sequential([
    new nn.Linear(
      { inFeatures: channels * pool * pool, outFeatures: hidden, std, flattened: [pool, pool, channels] },
      random,
    ),
    nn.relu(),
    new nn.Dropout(dropout),
    new nn.Linear({ inFeatures: hidden, outFeatures: hidden, std }, random),
    nn.relu(),
    new nn.Dropout(dropout),
    new nn.Linear({ inFeatures: hidden, outFeatures: classes, std }, random),
  ]);
}

/**
 * fast.ai's `create_head` behind a concatenated pool: BN, dropout/2, 512, ReLU, BN, dropout, classes; linear layers without bias,
 * drawn from N(0, 2/fan in), BN's β from 0.001.
 */
export function fastaiHead(channels: number, { classes, dropout = 0.5 }: ModelOptions, random: Random): nn.Sequential {
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
