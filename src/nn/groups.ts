import { ConfigError } from '../core/errors.ts';
import type { Tensor } from '../core/tensor.ts';
import { BatchNorm } from './layers.ts';
import type { Module, NamedModule } from './module.ts';

/** A trained tensor, with what freezing and weight decay want to know of it. */
export interface LayerParameter {
  /** As files know it: `features.0.weight`. */
  name: string;
  tensor: Tensor;
  /** Weight or bias of a normalisation. */
  norm: boolean;
  bias: boolean;
}

/**
 * The trained tensors of a network in its layer groups, from the input to the head: of a VGG the first 22 layers, the other ones,
 * the classifier; of a ResNet up to `layer2`, `layer3` and `layer4`, the head; one group of a network that has none. In all, those
 * of `module.parameters()`, in that order. Throws ConfigError where the module's own groups leave one out.
 */
export function layerGroups(module: Module): LayerParameter[][] {
  const groups = module.layerGroups().map((group) => group.flatMap((layer) => [...parametersOf(layer)]));
  const grouped = new Set(groups.flat().map(({ tensor }) => tensor));
  for (const [name, tensor] of module.parameters()) {
    if (!grouped.has(tensor))
      throw new ConfigError(
        `${module.constructor.name}: layerGroups() leaves out '${name}', which would not be trained. Name its layer in one of the groups.`,
      );
  }
  return groups;
}

/** Names of all tensors of the last layer group, running statistics included. */
export function headNames(module: Module): Set<string> {
  const head = module.layerGroups().at(-1)!;
  return new Set(head.flatMap(([name, layer]) => [...layer.state(name === '' ? '' : `${name}.`).keys()]));
}

function* parametersOf([name, module]: NamedModule): Generator<LayerParameter> {
  const prefix = name === '' ? '' : `${name}.`;
  for (const [key, { kind, tensor }] of Object.entries(module.own())) {
    if (kind !== 'parameter') continue;
    yield { name: prefix + key, tensor, norm: module instanceof BatchNorm, bias: key === 'bias' };
  }
  for (const [key, child] of module.children()) yield* parametersOf([prefix + key, child]);
}
