import { ConfigError } from '../core/errors.ts';
import { FerVgg, ferActivationBytes } from './fervgg.ts';
import { completed, headsOf, MODEL_NAMES } from './names.ts';
import type { Network } from './network.ts';
import type { ModelOptions, ModelSettings } from './options.ts';
import { RESNET_NAMES, Resnet, resnetActivationBytes, resnetSmallestBatch } from './resnet.ts';
import { ferPython, resnetPython, vggPython } from './torch.ts';
import { VGG_NAMES, Vgg, vggActivationBytes, vggSmallestBatch } from './vgg.ts';

export { FerVgg } from './fervgg.ts';
export { fastaiBody, headsOf, MODEL_NAMES } from './names.ts';
export { Network } from './network.ts';
export { type ModelOptions, type ModelSettings, scaled } from './options.ts';
export { Resnet } from './resnet.ts';
export { Vgg } from './vgg.ts';

interface Architecture {
  build(options: ModelOptions): Network;
  /** Bytes of the largest activation of one image. */
  activationBytes(options: ModelOptions): number;
  /** Python that makes the same network in PyTorch and calls it `network`. */
  python(options: ModelOptions): string;
  /** Images that a training batch needs: 2 where a batch norm sees one value of a channel in each. */
  smallestBatch(options: ModelOptions): number;
}

const vggs = VGG_NAMES.map((name): [string, Architecture] => [
  name,
  {
    build: (options) => new Vgg(name, options),
    activationBytes: vggActivationBytes,
    python: (options) => vggPython(name, options),
    smallestBatch: vggSmallestBatch,
  },
]);

const resnets = RESNET_NAMES.map((name): [string, Architecture] => [
  name,
  {
    build: (options) => new Resnet(name, options),
    activationBytes: resnetActivationBytes,
    python: (options) => resnetPython(name, options),
    smallestBatch: resnetSmallestBatch,
  },
]);

const ferVgg: Architecture = {
  build: (options) => new FerVgg(options),
  activationBytes: ferActivationBytes,
  python: ferPython,
  smallestBatch: () => 1,
};

const architectures: Readonly<Record<string, Architecture>> = Object.fromEntries([
  ...vggs,
  ...resnets,
  ['fer_vgg', ferVgg],
]);

function architecture(name: string): Architecture {
  const found = Object.hasOwn(architectures, name) && architectures[name];
  if (!found) throw new ConfigError(`unknown architecture '${name}'; there are ${MODEL_NAMES.join(', ')}.`);
  return found;
}

/**
 * Builds a network by name with fresh weights; what `settings` leave out is 3 channels, width 1, the architecture's own head, pool 1
 * and seed 1. Throws ConfigError for an unknown name, a head of another architecture, sizes that do not fit or are no whole numbers,
 * channels other than 1 or 3, and a width that is no number above 0.
 */
export function createModel(name: string, settings: ModelSettings): Network {
  const { build } = architecture(name);
  const heads = headsOf(name);
  const options = completed(name, settings);
  for (const what of ['classes', 'size', 'pool'] as const) {
    const value = options[what];
    if (!(Number.isInteger(value) && value >= 1))
      throw new ConfigError(`${what} ${value}: it is a whole number from 1 on.`);
  }
  const { channels, width } = options;
  if (channels !== 1 && channels !== 3) throw new ConfigError(`channels ${channels}: there are 1 or 3.`);
  if (!(width > 0 && Number.isFinite(width))) throw new ConfigError(`width ${width}: it is a number above 0.`);
  if (!heads.includes(options.head))
    throw new ConfigError(`head ${options.head} is no head of ${name}; there are ${heads.join(', ')}.`);
  return build(options);
}

/** Bytes of the largest activation that one image makes in the network. */
export const activationBytes = (name: string, options: ModelOptions): number =>
  architecture(name).activationBytes(options);

/** Python that builds the matching network in PyTorch, loads `file` (a run's model.safetensors) into it and calls it `network`. */
export const pythonFor = (name: string, options: ModelOptions, file = 'model.safetensors'): string =>
  `from safetensors.torch import load_file\n${architecture(name).python(options)}
network.load_state_dict(load_file(${JSON.stringify(file)}))
network.eval()
`;

/** The smallest batch that the network can be trained on. */
export const smallestBatch = (name: string, options: ModelOptions): number => architecture(name).smallestBatch(options);
