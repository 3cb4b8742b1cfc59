import { ConfigError } from '../core/errors.ts';
import type { Module } from '../nn/index.ts';
import { vggPython } from './torch.ts';
import {
  defaultOptions,
  type ModelOptions,
  type ModelSettings,
  VGG_NAMES,
  Vgg,
  vggActivationBytes,
  vggSmallestBatch,
} from './vgg.ts';

export { type ModelOptions, type ModelSettings, scaled, Vgg } from './vgg.ts';

interface Architecture {
  build(options: ModelOptions): Module;
  /** Bytes of the largest activation of one image. */
  activationBytes(options: ModelOptions): number;
  /** Python that makes the same network in PyTorch and calls it `network`. */
  python(options: ModelOptions): string;
  /** Images that a training batch needs: 2 where a batch norm sees one value of a channel in each. */
  smallestBatch(options: ModelOptions): number;
}

const architectures: Readonly<Record<string, Architecture>> = Object.fromEntries(
  VGG_NAMES.map((name) => [
    name,
    {
      build: (options: ModelOptions) => new Vgg(name, options),
      activationBytes: vggActivationBytes,
      python: (options: ModelOptions) => vggPython(name, options),
      smallestBatch: vggSmallestBatch,
    },
  ]),
);

/** The architectures that `createModel` knows. */
export const MODEL_NAMES: readonly string[] = Object.keys(architectures);

function architecture(name: string): Architecture {
  const found = Object.hasOwn(architectures, name) && architectures[name];
  if (!found) throw new ConfigError(`unknown architecture '${name}'; there are ${MODEL_NAMES.join(', ')}.`);
  return found;
}

/** Builds a network by name with fresh weights. Throws ConfigError for an unknown name or sizes that do not fit. */
export const createModel = (name: string, settings: ModelSettings): Module =>
  architecture(name).build({ ...defaultOptions, ...settings });

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
