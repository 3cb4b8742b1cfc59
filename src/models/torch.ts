import { FER_BLOCKS, FER_DROPOUT, ferSide } from './fervgg.ts';
import { type ModelOptions, scaled } from './options.ts';
import { BLOCKS, type ResnetName, STAGES } from './resnet.ts';
import { CONFIGURATIONS, type VggName } from './vgg.ts';

/** torchvision's own network where it has one, else the same layers under the same names. */
export function vggPython(name: VggName, options: ModelOptions): string {
  const { classes, channels, width, head, pool } = options;
  if (head === 'vgg' && pool === 7 && channels === 3 && width === 1) {
    return `from torchvision.models import ${name}\n\nnetwork = ${name}(num_classes=${classes})`;
  }
  const layers = CONFIGURATIONS[name].map((entry) => (entry === 'M' ? '"M"' : scaled(entry, width)));
  const stem = `network.features[0] = nn.Conv2d(1, ${layers[0]}, 3, padding=1)\n`;
  const { imports, define, pooled, classifier } = (head === 'fastai' ? fastaiHead : vggHead)(options);
  return `${imports}from torch import nn
from torchvision.models.vgg import VGG, make_layers
${define}
network = VGG(make_layers([${layers.join(', ')}], batch_norm=True))
${channels === 1 ? stem : ''}network.avgpool = ${pooled}
network.classifier = nn.Sequential(
${classifier.map((line) => `    ${line},\n`).join('')})`;
}

/** torchvision's own network at width 1, else the same layers under the same names. */
export function resnetPython(name: ResnetName, options: ModelOptions): string {
  const { classes, channels, width, head } = options;
  const [stem, last] = [scaled(STAGES[0], width), scaled(STAGES[3], width)];
  const { imports, define, pooled, classifier } = fastaiHead(options);
  const lines = [
    ...(width === 1
      ? [`network = ${name}(num_classes=${classes})`]
      : [`network = Scaled(BasicBlock, [${BLOCKS[name].join(', ')}])`]),
    ...(width === 1 && channels === 3 ? [] : [`network.conv1 = nn.Conv2d(${channels}, ${stem}, 7, 2, 3, bias=False)`]),
    ...(width === 1 ? [] : [`network.bn1 = nn.BatchNorm2d(${stem})`]),
    ...(head === 'fastai'
      ? [`network.avgpool = ${pooled}`, `network.fc = nn.Sequential(`, ...classifier.map((line) => `    ${line},`), ')']
      : []),
    ...(head === 'linear' && width !== 1 ? [`network.fc = nn.Linear(${last}, ${classes})`] : []),
  ];
  const planes = STAGES.map((count) => `${count}: ${scaled(count, width)}`).join(', ');
  const narrow = `from torchvision.models.resnet import BasicBlock, ResNet

class Scaled(ResNet):
    def _make_layer(self, block, planes, blocks, stride=1, dilate=False):
        planes = {${planes}}[planes]
        self.inplanes = planes if stride == 1 else self.inplanes
        return super()._make_layer(block, planes, blocks, stride, dilate)
`;
  return `${head === 'fastai' ? imports : ''}from torch import nn
${width === 1 ? `from torchvision.models import ${name}\n` : narrow}${head === 'fastai' ? define : ''}
${lines.join('\n')}`;
}

/** Khaireddin and Chen's network, which torchvision has not. */
export function ferPython({ classes, channels, size, width, dropout = FER_DROPOUT }: ModelOptions): string {
  const hidden = scaled(4096, width);
  const features = scaled(FER_BLOCKS[3], width) * ferSide(size) ** 2;
  return `from torch import nn
from torch.nn.functional import dropout, max_pool2d, relu

class FerVgg(nn.Module):
    def __init__(self):
        super().__init__()
        c = ${channels}
        for block, k in enumerate([${FER_BLOCKS.map((count) => scaled(count, width)).join(', ')}], 1):
            for letter in "ab":
                setattr(self, f"conv{block}{letter}", nn.Conv2d(c, k, 3, padding=1))
                setattr(self, f"bn{block}{letter}", nn.BatchNorm2d(k))
                c = k
        self.lin1, self.lin2, self.lin3 = nn.Linear(${features}, ${hidden}), nn.Linear(${hidden}, ${hidden}), nn.Linear(${hidden}, ${classes})

    def forward(self, x):
        for block in "1234":
            for letter in "ab":
                x = relu(getattr(self, f"bn{block}{letter}")(getattr(self, f"conv{block}{letter}")(x)))
            x = max_pool2d(x, 2)
        for layer in [self.lin1, self.lin2]:
            x = relu(dropout(layer(x.flatten(1)), ${dropout}, self.training))
        return self.lin3(x)

network = FerVgg()`;
}

interface PythonHead {
  imports: string;
  define: string;
  pooled: string;
  classifier: string[];
}

function vggHead({ classes, width, pool, dropout = 0.5 }: ModelOptions): PythonHead {
  const hidden = scaled(4096, width);
  const between = `nn.ReLU(), nn.Dropout(${dropout})`;
  return {
    imports: '',
    define: '',
    pooled: `nn.AdaptiveAvgPool2d(${pool})`,
    classifier: [
      `nn.Linear(${scaled(512, width) * pool * pool}, ${hidden}), ${between}, nn.Linear(${hidden}, ${hidden}), ${between}, nn.Linear(${hidden}, ${classes})`,
    ],
  };
}

function fastaiHead({ classes, width, dropout = 0.5 }: ModelOptions): PythonHead {
  const pooled = 2 * scaled(512, width);
  return {
    imports: 'import torch\n',
    define: `
class MaxAndMean(nn.Module):
    def forward(self, x):
        return torch.cat([x.amax((2, 3)), x.mean((2, 3))], 1)
`,
    pooled: 'MaxAndMean()',
    classifier: [
      `nn.BatchNorm1d(${pooled}), nn.Dropout(${dropout / 2}), nn.Linear(${pooled}, 512, bias=False), nn.ReLU()`,
      `nn.BatchNorm1d(512), nn.Dropout(${dropout}), nn.Linear(512, ${classes}, bias=False)`,
    ],
  };
}
