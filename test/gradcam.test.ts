import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../src/core/random.ts';
import { step } from '../src/core/step.ts';
import { Tensor } from '../src/core/tensor.ts';
import { fromArrays } from '../src/data/arrays.ts';
import { AUGMENTATIONS } from '../src/data/augment.ts';
import { Batches } from '../src/data/batches.ts';
import { type ImageSet, loadDataset } from '../src/data/dataset.ts';
import { createModel, Network } from '../src/models/index.ts';
import * as nn from '../src/nn/index.ts';
import * as ops from '../src/ops/index.ts';
import { prepare } from '../src/ops/matrix/prepare.ts';
import { camRowsOf } from '../src/train/camrows.ts';
import { heatMapsOf, shownPart } from '../src/train/cams.ts';
import { camSection } from '../src/train/camsection.ts';
import { gradCam } from '../src/train/gradcam.ts';
import { stretched } from '../src/train/heat.ts';
import { interpret } from '../src/train/interpretation.ts';
import { fromValues } from './exact.ts';
import { fixture, type Row, startingImages, startingWeights } from './fixtures/vgg.ts';
import { gpu, gpuTest, messageOf } from './gpu.ts';

interface Cam {
  size: number;
  classes: number[] | null;
  map: number[][][];
}

interface Fixture {
  seed: number;
  imagesTensor: number;
  batch: number;
  side: number;
  width: number;
  enlarged: number[][][];
  vgg16_bn: { tensors: Row[]; cams: Cam[] };
  resnet18: { tensors: Row[]; cams: Cam[] };
}

const reference = fixture<Fixture>('gradcam.json');
const { seed, imagesTensor, batch, side, width } = reference;

function networkOf(name: 'vgg16_bn' | 'resnet18') {
  const model = createModel(name, { classes: 7, size: side, width });
  const rows = startingWeights(seed, reference[name].tensors);
  nn.writeState(
    model,
    new Map([...rows].map(([key, { shape, data }]) => [key, { shape, data: Float32Array.from(data) }])),
    'gradcam.json',
  );
  return model;
}

/** Both are f32 sums of some hundred products, a few layers deep; PyTorch's own f32 strays by 1e-6. */
const ALLOWED = 1e-5;

for (const name of ['vgg16_bn', 'resnet18'] as const) {
  gpuTest(`maps of a narrow ${name} are PyTorch’s, for predicted and for given classes`, async () => {
    const model = networkOf(name);
    const before = await nn.readState(model);
    const x = fromValues(startingImages(seed, imagesTensor, batch, side));
    const { cams } = reference[name];
    assert.is(cams.length, 4);
    for (const { size, classes, map } of cams) {
      const maps = await step(() => gradCam(model, x, { least: size, ...(classes && { classes }) }).maps);
      assert.equal(maps.shape, [batch, size, size]);
      const want = map.flat(2);
      const most = Math.max(...want);
      for (const [i, value] of (await maps.read()).entries()) {
        assert.ok(Math.abs(value - want[i]!) <= ALLOWED * most, `${size}: ${value}, not ${want[i]}, at ${i}`);
      }
    }
    assert.equal(await nn.readState(model), before, 'running statistics stay where they are');
    for (const [key, { grad, requiresGrad }] of model.parameters()) assert.ok(requiresGrad && !grad, key);
  });
}

test('a map is stretched as PyTorch’s interpolate does it', () => {
  const [{ size, map }] = reference.vgg16_bn.cams as [Cam];
  for (const [n, image] of map.entries()) {
    const values = Float32Array.from(image.flat());
    const want = reference.enlarged[n]!.flat();
    const most = Math.max(...want);
    for (const [i, value] of stretched({ values, rows: size, columns: size }, 9).entries()) {
      assert.ok(Math.abs(value - want[i]!) < 1e-6 * most, `${value}, not ${want[i]}`);
    }
  }
});

/** Two classes, upright and lying stripes: a 3×3 detector for each, and the mean of what it finds is the score. */
class Stripes extends Network {
  private readonly conv = new nn.Conv2d({ inChannels: 1, outChannels: 2, kernel: 3, padding: 1 }, new Random(1, 1));
  private readonly score = new nn.Linear({ inFeatures: 2, outFeatures: 2 }, new Random(1, 2));

  constructor() {
    super();
    const upright = [-1, 2, -1, -1, 2, -1, -1, 2, -1];
    const lying = [-1, -1, -1, 2, 2, 2, -1, -1, -1];
    this.conv.weight.write(Float32Array.of(...upright, ...lying));
    this.score.weight.write(Float32Array.of(1, -1, -1, 1));
  }

  override children() {
    return [
      ['conv', this.conv],
      ['score', this.score],
    ] as const;
  }

  parts() {
    return [
      [this.conv, nn.relu()],
      [nn.adaptiveAvgPool2d(1), nn.flatten(), this.score],
    ];
  }
}

gpuTest('a class is seen where its pattern is', async () => {
  const extent = 16;
  // Upright stripes in the upper left quarter, lying ones in the lower right; the ends of stripes look a little like the others.
  const pixels = Uint8Array.from({ length: extent * extent }, (_, at) => {
    const [row, column] = [Math.floor(at / extent), at % extent];
    if (row < 8 && column < 8) return column % 3 === 1 ? 255 : 0;
    return row >= 8 && column >= 8 && row % 3 === 2 ? 255 : 0;
  });
  const set: ImageSet = { pixels, labels: Uint8Array.of(0), count: 1, side: extent, channels: 1 };
  const wanted = [0, 1, 0].map((label) => ({ index: 0, label }));
  const options = { batch: 2, normalisation: { mean: [0], std: [1] } };
  const [upright, lying, again] = await heatMapsOf(new Stripes(), set, wanted, options);
  const share = (map: Float32Array, inside: (row: number, column: number) => boolean) => {
    const all = map.reduce((a, b) => a + b, 0);
    return map.reduce((sum, v, at) => sum + (inside(Math.floor(at / extent), at % extent) ? v : 0), 0) / all;
  };
  assert.ok(share(upright!.values, (row, column) => row < 9 && column < 9) > 0.85);
  assert.ok(share(lying!.values, (row, column) => row > 6 && column > 6) > 0.85);
  assert.equal(again, upright, 'the last batch is filled up with nothing');

  const met: string[] = [];
  const prepared = await heatMapsOf(new Stripes(), set, wanted, {
    ...options,
    prepare: async (body) => void met.push(...(await prepare(gpu, body)).problems),
  });
  assert.equal(prepared, [upright, lying, again]);
  assert.equal(
    met.map((problem) => problem.split(' ').slice(0, 2).join(' ')),
    ['conv2d forward', 'matmul 2×2×2', 'matmul 2×2×2'],
  );
});

gpuTest('a map lies over the part of an image that the network is shown', async () => {
  const data = await loadDataset({ data: 'toyfaces', limit: 7 });
  const { framing } = AUGMENTATIONS.fer;
  const input = { batch: 1, size: 40, normalisation: { mean: [0], std: [1] }, framing };
  const batches = new Batches(data.valid, input);
  const { x } = await step(() => batches.take([0]));
  const values = Uint8Array.from(await x.read(), (v) => Math.round(255 * v));
  const model = createModel('vgg11_bn', { classes: 7, channels: 1, size: 40, width: 1 / 64 });
  const label = data.valid.labels[0]!;
  const prediction = { loss: 0.5, predicted: label, probability: 0.6, label };
  const [row] = await camRowsOf(model, [prediction], data, 'valid', input);
  const { side, pixels } = row!.right[0]!;
  assert.equal([side, pixels], [40, values]);

  const large = {
    pixels: Uint8Array.from({ length: 96 * 96 * 3 }, (_, at) => at % 251),
    side: 96,
    channels: 3 as const,
  };
  const part = shownPart(large, framing, 48);
  assert.is(part.side, 80);
  for (const [row, column] of [
    [0, 0],
    [79, 0],
    [3, 79],
  ] as const) {
    const [at, from] = [3 * (80 * row + column), 3 * (96 * (row + 8) + column + 8)];
    assert.equal(part.pixels.subarray(at, at + 3), large.pixels.subarray(from, from + 3));
  }
  assert.equal(shownPart(large), large, 'else all of it');
});

gpuTest(
  'a class shows the two images the network is surest of, and the two it gets most wrong, with both their maps',
  async () => {
    const data = await loadDataset({ data: 'toyfaces', limit: 7 });
    const input = { batch: 1, size: 40, normalisation: { mean: [0], std: [1] } };
    const model = createModel('vgg11_bn', { classes: 7, channels: 1, size: 40, width: 1 / 64 });
    const predictions = [
      [4, 4, 0.3],
      [4, 4, 0.1],
      [4, 4, 0.2],
      [4, 0, 2],
      [4, 2, 3],
      [4, 3, 1],
      [1, 1, 0.5],
    ].map(([label, predicted, loss]) => ({ label: label!, predicted: predicted!, loss: loss!, probability: 0.5 }));
    const rows = await camRowsOf(model, predictions, data, 'valid', input);
    const chosen = rows.map(({ name, right, wrong }) => [
      name,
      ...[right, wrong].map((of) => of.map(({ loss }) => loss)),
    ]);
    assert.equal(chosen, [
      [data.classes[1], [0.5], []],
      [data.classes[4], [0.1, 0.2], [3, 2]],
    ]);
    const map = async (index: number, label: number) =>
      (await heatMapsOf(model, data.valid, [{ index, label }], input))[0];
    const [{ right, wrong }] = rows.slice(1) as [(typeof rows)[0]];
    assert.equal([right[1]!.seen, right[1]!.missed], [await map(2, 4), null]);
    assert.equal([wrong[0]!.seen, wrong[0]!.missed], [await map(4, 2), await map(4, 4)]);
    assert.equal([wrong[1]!.seen, wrong[1]!.missed], [await map(3, 0), await map(3, 4)]);
  },
);

gpuTest('the 24 highest losses come worst first, and of many classes those with the most mistakes', async () => {
  const names = Array.from({ length: 13 }, (_, c) => `class ${c}`);
  const labels = Array.from({ length: 26 }, (_, i) => i % 13);
  const images = labels.map((_, i) => new Uint8Array(32 * 32).fill(i));
  const data = fromArrays({ images, labels, classes: names, valid: { images, labels } });
  const predictions = labels.map((label, i) => {
    const predicted = label === 5 ? label : (label + 1) % 13;
    return { label, predicted, loss: (7 * i) % 26, probability: 0.5 };
  });
  const model = createModel('vgg11_bn', { classes: 13, channels: 1, size: 32, width: 1 / 64 });
  const input = { batch: 16, size: 32, normalisation: { mean: [0], std: [1] } };
  const { confusion, topLosses, cams } = await interpret(model, predictions, data, 'valid', input);
  assert.equal([confusion[4]![5], confusion[5]![5], confusion[5]![4]], [2, 2, 0]);
  assert.equal(
    topLosses.map(({ loss }) => loss),
    Array.from({ length: 24 }, (_, n) => 25 - n),
  );
  const worst = predictions.findIndex(({ loss }) => loss === 25);
  const { truth, prediction, pixels } = topLosses[0]!;
  assert.equal([truth, prediction, pixels[0]], [names[labels[worst]!], names[(labels[worst]! + 1) % 13], worst]);
  assert.equal(
    cams.map(({ name }) => name),
    names.filter((_, c) => c !== 5),
  );
  const said = (what: string) => camSection(cams, 13).markup.split(what).length - 1;
  assert.equal([said('none was recognised'), said('none was taken for another class')], [12, 0]);
});

gpuTest('the last maps that are large enough are taken, else the first', async () => {
  const sizes = async (name: string, size: number, least?: number) => {
    const model = createModel(name, { classes: 3, channels: 1, size, width: 1 / 64 });
    const x = Tensor.zeros([1, size, size, 1]);
    return (await step(() => gradCam(model, x, least === undefined ? {} : { least }).maps)).shape.slice(1);
  };
  assert.equal(await sizes('vgg11_bn', 48), [6, 6]);
  assert.equal(await sizes('vgg11_bn', 48, 1), [3, 3]);
  assert.equal(await sizes('resnet18', 48), [6, 6]);
  assert.equal(await sizes('resnet18', 48, 2), [2, 2]);
  assert.equal(await sizes('fer_vgg', 48), [6, 6]);
  assert.equal(await sizes('fer_vgg', 40), [5, 5]);
  assert.equal(await sizes('vgg11_bn', 80), [5, 5]);
  assert.equal(await sizes('vgg11_bn', 32, 1000), [32, 32]);
});

gpuTest('classes that do not fit are refused, and parameters ask for gradients as before', async () => {
  const model = createModel('vgg11_bn', { classes: 3, channels: 1, size: 32, width: 1 / 64 });
  const frozen = [...model.parameters().values()][0]!;
  frozen.requiresGrad = false;
  const cam = (classes: number[]) => step(() => gradCam(model, Tensor.zeros([2, 32, 32, 1]), { classes }).maps);
  for (const classes of [[0], [0, 3], [0, -1], [0, 0.5]]) {
    assert.match(await messageOf(() => cam(classes)), /one of 0 to 2 for each row of \[2,3\]/);
  }
  await cam([0, 2]);
  const asking = [...model.parameters().values()].map(({ requiresGrad }) => requiresGrad);
  assert.equal(asking, [false, ...asking.slice(1).map(() => true)]);
  // Training goes on as if nobody had looked.
  model.train();
  await step(() => ops.mean(model.forward(Tensor.full([2, 32, 32, 1], 1))).backward());
  for (const [key, p] of model.parameters()) assert.is(p.grad !== null, p !== frozen, key);
});

test.run();
