// Weights travel: a model file of ours in PyTorch, and PyTorch's in ours, give the same logits. PyTorch is Debian's
// (python3-torch, python3-torchvision); without it the tests are skipped.
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../src/core/random.ts';
import { step } from '../src/core/step.ts';
import { noGrad } from '../src/core/tape.ts';
import { Tensor } from '../src/core/tensor.ts';
import { createModel, type ModelOptions, pythonFor } from '../src/models/index.ts';
import { type Module, readState, writeState } from '../src/nn/index.ts';
import * as ops from '../src/ops/index.ts';
import { SGD } from '../src/optim/index.ts';
import { loadModel, saveModel } from '../src/train/modelfile.ts';
import { writeSafetensors } from '../src/train/safetensors.ts';
import { scratchFolder } from './files.ts';
import { gpu, gpuTest } from './gpu.ts';

const python = '/usr/bin/python3';
const script = fileURLToPath(new URL('python/torchvision_logits.py', import.meta.url));
const hasTorch = spawnSync(python, ['-c', 'import torch, torchvision']).status === 0;

const options: ModelOptions = { classes: 7, channels: 3, size: 48, width: 1 / 8, head: 'vgg', pool: 1, seed: 1 };
const classes = ['angry', 'disgust', 'fear', 'happy', 'sad', 'surprise', 'neutral'];
const images = 4;

interface Case {
  what: string;
  arch: string;
  options: ModelOptions;
}
const net = (what: string, change: Partial<ModelOptions>, arch = 'vgg16_bn'): Case => ({
  what,
  arch,
  options: { ...options, ...change },
});
const cases: Case[] = [
  net('vgg head', {}),
  net('vgg head, gray, width 1/4', { channels: 1, width: 1 / 4 }),
  net('vgg head, 7×7', { pool: 7 }),
  net('vgg head, 7×7, gray, 64 px', { pool: 7, channels: 1, size: 64 }),
  net('fastai head', { head: 'fastai' }),
  net('fastai head, gray, 19 layers', { head: 'fastai', channels: 1 }, 'vgg19_bn'),
];
const resnet = { head: 'linear' } as const;
cases.push(
  net('linear head', resnet, 'resnet18'),
  net('linear head, gray, width 1/4', { ...resnet, channels: 1, width: 1 / 4 }, 'resnet34'),
  net('fer_vgg, gray, 40 px', { channels: 1, size: 40 }, 'fer_vgg'),
  net('fastai head, odd side', { head: 'fastai', size: 45 }, 'resnet18'),
);
if (process.env.DAWNGRAD_TEST === 'full') {
  cases.push(net('torchvision’s own ResNet', { ...resnet, width: 1, size: 64 }, 'resnet34'));
  cases.push(net('vgg head, 7×7, 224 px', { pool: 7, size: 224 }));
  cases.push(net('torchvision’s own network', { width: 1, pool: 7, size: 64 }));
}

/** Normalised images, channels last. */
const pixels = ({ size, channels }: ModelOptions): Float32Array => {
  const random = new Random(5, 0);
  return Float32Array.from({ length: images * size * size * channels }, () => 4 * random.uniform() - 2);
};

const batchOf = (o: ModelOptions): Tensor => Tensor.from(pixels(o), [images, o.size, o.size, o.channels]);

const logitsOf = async (model: Module, o: ModelOptions): Promise<Float32Array> => {
  const x = batchOf(o);
  return (await step(() => noGrad(() => model.eval().forward(x)))).read();
};

/** Three steps, then running statistics of no pattern, and classifiers large enough that logits are near 1, not 0.01. */
async function train(model: Module, arch: string, o: ModelOptions): Promise<void> {
  const optimizer = new SGD(model.parameters().values());
  const labels = Tensor.from(Uint32Array.from({ length: images }, (_, i) => i % o.classes));
  const x = batchOf(o);
  for (let i = 0; i < 3; i++) {
    await step(() => {
      ops.crossEntropy(model.train().forward(x), labels).backward();
      optimizer.step({ lr: 1e-4, momentum: 0.9 });
    });
  }
  const random = new Random(6, 0);
  const state = await readState(model);
  for (const [name, { data, shape }] of state) {
    const drawn = arch.startsWith('vgg') ? 0.01 : 1 / Math.sqrt(3 * (shape[1] ?? 1));
    const scale = Math.sqrt(2 / (shape[1] ?? 1)) / drawn;
    if (shape.length === 2 && o.head !== 'fastai') for (const i of data.keys()) data[i]! *= scale;
    if (name.endsWith('running_mean')) for (const i of data.keys()) data[i]! += 0.2 * (random.uniform() - 0.5);
    if (name.endsWith('running_var')) for (const i of data.keys()) data[i]! *= 0.5 + random.uniform();
  }
  writeState(model, state, 'test');
}

interface Found {
  logits: number[][];
  reported: number[][];
}

/** How far ours are from theirs, at most, and how far they may be. */
function compare(what: string, ours: Float32Array, theirs: readonly number[][]): void {
  const want = theirs.flat();
  assert.is(ours.length, want.length);
  const largest = Math.max(...want.map(Math.abs));
  const apart = Math.max(...want.map((value, i) => Math.abs(ours[i]! - value)));
  console.log(`${what}: max|Δ| ${apart.toExponential(1)}, max|logit| ${largest.toPrecision(3)}`);
  assert.ok(apart <= 1e-4 * Math.max(1, largest), `${what}: ${apart} apart`);
  assert.ok(new Set(want).size > want.length / 2, `${what}: logits that differ from image to image`);
}

if (!hasTorch) console.log(`torch.test.ts skipped: ${python} has no torch and torchvision`);
else
  gpuTest(
    'logits are PyTorch’s: our weights in PyTorch, PyTorch’s in ours',
    async () => {
      const scratch = scratchFolder();
      try {
        const ours: Float32Array[] = [];
        for (const [direction, random] of ['ours', 'theirs'].map((name) => [name, name === 'theirs'] as const)) {
          for (const [i, { arch, options: o }] of cases.entries()) {
            const folder = join(scratch.path, `${direction}${i}`);
            mkdirSync(folder);
            const model = createModel(arch, o);
            if (!random) await train(model, arch, o);
            const each = (value: number) => new Array<number>(o.channels).fill(value);
            const normalisation = { mean: each(0), std: each(1) };
            const stored = { storedSide: o.size, storedChannels: o.channels };
            const facts = { arch, options: o, classes, normalisation, ...stored };
            await saveModel(join(folder, 'model.safetensors'), model, facts, 3);
            const data = toChannelsFirst(pixels(o), o);
            const shape = [images, o.channels, o.size, o.size];
            writeSafetensors(join(folder, 'images.safetensors'), new Map([['images', { dtype: 'F32', shape, data }]]));
            writeFileSync(join(folder, 'network.py'), pythonFor(arch, o));
            if (!random) ours.push(await logitsOf(model, o));
          }
        }
        const names = (direction: string) => cases.map((_, i) => join(scratch.path, `${direction}${i}`));
        const run = spawnSync(python, ['-B', script, ...names('ours'), '--random', ...names('theirs')], {
          encoding: 'utf8',
          maxBuffer: 1e8,
        });
        assert.is(run.status, 0, run.stderr);
        const found = run.stdout
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line) as Found);
        assert.is(found.length, 2 * cases.length);
        for (const [i, { what, options: o }] of cases.entries()) {
          compare(`${gpu.adapter.kind}, ours in PyTorch, ${what}`, ours[i]!, found[i]!.logits);
          assert.equal(found[i]!.reported, found[i]!.logits, `the report’s Python makes the same network: ${what}`);
          const { model } = loadModel(join(names('theirs')[i]!, 'model.safetensors'));
          const theirs = found[cases.length + i]!;
          compare(`${gpu.adapter.kind}, PyTorch’s in ours, ${what}`, await logitsOf(model, o), theirs.logits);
          assert.equal(theirs.reported, theirs.logits);
        }
      } finally {
        scratch.remove();
      }
    },
    240_000,
  );

test('Python for the report names torchvision’s network where it is that', () => {
  const text = pythonFor('vgg16_bn', { ...options, width: 1, pool: 7 });
  assert.match(text, 'network = vgg16_bn(num_classes=7)\nnetwork.load_state_dict(load_file("model.safetensors"))');
  assert.match(
    pythonFor('vgg16_bn', { ...options, channels: 1 }),
    'network.features[0] = nn.Conv2d(1, 8, 3, padding=1)',
  );
});

function toChannelsFirst(values: Float32Array, { size, channels }: ModelOptions): Float32Array {
  const area = size * size;
  return Float32Array.from({ length: values.length }, (_, at) => {
    const [n, c, place] = [Math.floor(at / (channels * area)), Math.floor(at / area) % channels, at % area];
    return values[(n * area + place) * channels + c]!;
  });
}

test.run();
