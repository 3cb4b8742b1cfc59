import { nn, ops, type Random, type Tensor, train } from 'dawngrad';

/** y = x + relu(norm(conv(x))), x and y [N, H, W, channels]. */
export class Residual extends nn.Module {
  readonly conv: nn.Conv2d;
  readonly norm: nn.BatchNorm;

  constructor(channels: number, random: Random) {
    super();
    this.conv = new nn.Conv2d({ inChannels: channels, outChannels: channels, kernel: 3, padding: 1 }, random);
    this.norm = new nn.BatchNorm(channels);
  }

  override children() {
    return [
      ['conv', this.conv],
      ['norm', this.norm],
    ] as const;
  }

  forward(x: Tensor): Tensor {
    return ops.add(x, ops.relu(this.norm.forward(this.conv.forward(x))));
  }
}

export const save = async (path: string, network: nn.Module): Promise<void> =>
  train.writeSafetensors(path, await train.stateTensors(network));
export const load = (path: string, network: nn.Module): void =>
  train.loadTensors(network, train.readSafetensors(path).tensors, path);
