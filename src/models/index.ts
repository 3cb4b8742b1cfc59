import { ConfigError } from '../core/errors.ts';
import type { Module } from '../nn/index.ts';
import { type ModelOptions, VGG_NAMES, Vgg, type VggName } from './vgg.ts';

export { type ModelOptions, scaled, Vgg } from './vgg.ts';

const builders: Readonly<Record<string, (options: ModelOptions) => Module>> = Object.fromEntries(
  VGG_NAMES.map((name: VggName) => [name, (options: ModelOptions) => new Vgg(name, options)]),
);

/** The architectures that `createModel` knows. */
export const MODEL_NAMES: readonly string[] = Object.keys(builders);

/** Builds a network by name with fresh weights. Throws ConfigError for an unknown name or sizes that do not fit. */
export function createModel(name: string, options: ModelOptions): Module {
  const build = builders[name];
  if (!build) throw new ConfigError(`unknown architecture '${name}'; there are ${MODEL_NAMES.join(', ')}.`);
  return build(options);
}
