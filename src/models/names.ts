import type { ModelOptions, ModelSettings } from './options.ts';

type Head = ModelOptions['head'];

/** The architectures, with the heads that go with each, its own first. Kept apart from them, so that `--help` loads no engine. */
const heads: Readonly<Record<string, readonly Head[]>> = {
  vgg11_bn: ['vgg', 'fastai'],
  vgg13_bn: ['vgg', 'fastai'],
  vgg16_bn: ['vgg', 'fastai'],
  vgg19_bn: ['vgg', 'fastai'],
  resnet18: ['linear', 'fastai'],
  resnet34: ['linear', 'fastai'],
  fer_vgg: ['vgg'],
};

/** The architectures that `createModel` knows. */
export const MODEL_NAMES: readonly string[] = Object.keys(heads);

/** The heads that go with an architecture, its own first; none where there is no such architecture. */
export const headsOf = (name: string): readonly Head[] => (Object.hasOwn(heads, name) ? heads[name]! : []);

/** All options of a network: its settings, and what they leave out or have undefined. */
export const completed = (
  name: string,
  { channels = 3, width = 1, head = headsOf(name)[0]!, pool = 1, seed = 1, ...rest }: ModelSettings,
): ModelOptions => ({ channels, width, head, pool, seed, ...rest });

/** Whether the architecture averages its maps to `pool`×`pool`, as torchvision's VGG does. */
export const hasPool = (name: string): boolean => name.startsWith('vgg');

const RESNET_BODY = ['conv1', 'bn1', 'relu', 'maxpool', 'layer1', 'layer2', 'layer3', 'layer4'];

/** torchvision's names of the modules that fast.ai numbers in its body (`0.N`); none where fast.ai has no such architecture. */
export const fastaiBody = (name: string): readonly string[] =>
  hasPool(name) ? ['features'] : name.startsWith('resnet') ? RESNET_BODY : [];
