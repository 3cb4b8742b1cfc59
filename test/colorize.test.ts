import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { checkColorize } from '../src/cli/defaults.ts';
import { step } from '../src/core/step.ts';
import { Tensor } from '../src/core/tensor.ts';
import { type Dataset, loadDataset } from '../src/data/dataset.ts';
import { decodeImage, type Image } from '../src/data/image.ts';
import { labToRgb, rgbToLab } from '../src/data/lab.ts';
import type { Gpu } from '../src/gpu/gpu.ts';
import { Colorizer } from '../src/models/colorizer.ts';
import * as ops from '../src/ops/index.ts';
import { watchProblems } from '../src/ops/matrix/variant.ts';
import {
  checkColorizerFits,
  colorizeImage,
  loadColorizer,
  rehearseColours,
  saveColorizer,
  seenAs,
  trainColorizer,
} from '../src/train/colorize.ts';
import { writeSafetensors } from '../src/train/safetensors.ts';
import { ends, starts, until } from './child.ts';
import { grayPng, makePng, rejectsData, scratchFolder } from './files.ts';
import { gpu, gpuTest, messageOf } from './gpu.ts';

test('CIELAB of known colours', () => {
  const known: [rgb: number[], lab: number[]][] = [
    [
      [0, 0, 0],
      [0, 0, 0],
    ],
    [
      [255, 255, 255],
      [100, 0, 0],
    ],
    [
      [255, 0, 0],
      [53.24, 80.09, 67.2],
    ],
    [
      [0, 255, 0],
      [87.74, -86.18, 83.18],
    ],
    [
      [0, 0, 255],
      [32.3, 79.19, -107.86],
    ],
    [
      [119, 119, 119],
      [50.03, 0, 0],
    ],
  ];
  for (const [rgb, want] of known) {
    const lab = rgbToLab(Uint8Array.from(rgb));
    for (const [i, value] of want.entries()) assert.ok(Math.abs(lab[i]! - value) < 0.02, `${rgb}: ${lab}`);
  }
});

test('to CIELAB and back is the same byte, for every eighth colour', () => {
  const rgb = Uint8Array.from({ length: 32 ** 3 * 3 }, (_, i) => {
    const [colour, channel] = [Math.floor(i / 3), i % 3];
    return Math.min(255, 8 * (Math.floor(colour / 32 ** channel) % 32) + 4);
  });
  assert.equal(labToRgb(rgbToLab(rgb)), rgb);
});

const SIZE = 16;

/**
 * A disc on a ground: light discs are red and dark ones green, so that lightness tells the colour. In gray the red is about as light as
 * the green is in colour.
 */
function disc(seed: number): Uint8Array {
  const light = seed % 2 === 0;
  const [cx, cy, r] = [6 + (seed % 5), 6 + ((seed >> 1) % 5), 4 + (seed % 3)];
  return Uint8Array.from({ length: SIZE * SIZE * 3 }, (_, i) => {
    const [x, y] = [Math.floor(i / 3) % SIZE, Math.floor(i / 3 / SIZE)];
    const inside = (x - cx) ** 2 + (y - cy) ** 2 < r * r;
    const colour = !inside ? [120, 120, 120] : light ? [220, 20, 20] : [0, 92, 0];
    return colour[i % 3]!;
  });
}

const imageOf = (pixels: Uint8Array): Image => ({ pixels, width: SIZE, height: SIZE, channels: 3 });
const options = { size: SIZE, width: 0.25, seed: 1 };

gpuTest('every parameter has a gradient, and only lightness is taken', async () => {
  const model = new Colorizer(options);
  const x = Tensor.from(
    Float32Array.from({ length: 2 * SIZE * SIZE }, (_, i) => Math.sin(i)),
    [2, SIZE, SIZE, 1],
  );
  await step(() => {
    const y = model.forward(x);
    assert.equal(y.shape, [2, SIZE, SIZE, 2]);
    ops.mean(ops.square(y)).backward();
  });
  for (const [key, p] of model.parameters()) assert.ok(p.grad, `${key} has no gradient`);
  assert.match(await messageOf(() => model.forward(Tensor.zeros([1, SIZE, SIZE, 3]))), /it takes lightness/);
  assert.match(await messageOf(() => new Colorizer({ ...options, size: 18 })), /multiple of 4/);
});

gpuTest(
  'it learns which colour a lightness has, travels through its file, and leaves size and lightness alone',
  async () => {
    const images = Array.from({ length: 16 }, (_, i) => disc(i));
    const losses: number[] = [];
    let prepared = 0;
    const training = {
      ...options,
      epochs: 40,
      batch: 8,
      lr: 1e-2,
      onEpoch: (_: number, loss: number) => losses.push(loss),
      // As the command looks at kernels: a step is gone through on the host, and changes nothing.
      prepare: async (body: () => void) => {
        assert.equal(losses, [], 'before the first epoch');
        const seen: string[] = [];
        watchProblems((name) => seen.push(name));
        body();
        watchProblems(null);
        for (const family of ['forward', 'dgrad', 'wgrad'])
          assert.ok(
            seen.some((name) => name.includes(family)),
            family,
          );
        prepared++;
      },
    };
    const { model, ...went } = await trainColorizer(images, training);
    assert.equal(went, { steps: 80, perEpoch: 2, finished: true });
    assert.is(prepared, 1);
    assert.ok(losses.at(-1)! < 0.3 * losses[0]!, `losses ${losses}`);
    const scratch = scratchFolder();
    try {
      const file = join(scratch.path, 'colours.safetensors');
      await saveColorizer(file, model, options);
      const loaded = loadColorizer(file);
      assert.is(loaded.size, SIZE);
      const red = await colorizeImage(loaded.model, imageOf(disc(20)), SIZE);
      const green = await colorizeImage(loaded.model, imageOf(disc(21)), SIZE);
      const middle = (image: Image) => [...image.pixels.subarray(3 * (8 * SIZE + 8), 3 * (8 * SIZE + 8) + 3)] as const;
      const [r, g] = [middle(red), middle(green)];
      assert.ok(r[0]! > r[1]! + 30, `a light disc is red: ${r}`);
      assert.ok(g[1]! > g[0]! + 30, `a dark disc is green: ${g}`);
      assert.equal(await colorizeImage(model, imageOf(disc(20)), SIZE), red);
      const seen: string[] = [];
      watchProblems((name) => seen.push(name));
      rehearseColours(model, seenAs({ width: 30, height: 20 }, SIZE));
      watchProblems(null);
      assert.ok(seen.length > 0 && seen.every((name) => name.startsWith('conv2d forward')), `${seen}`);
      // Another size, itself kept, at nearly its own lightness.
      const wide: Image = { pixels: new Uint8Array(30 * 20).fill(90), width: 30, height: 20, channels: 1 };
      const coloured = await colorizeImage(model, wide, SIZE);
      assert.equal([coloured.width, coloured.height, coloured.channels], [30, 20, 3]);
      const lightness = rgbToLab(coloured.pixels)[0]!;
      assert.ok(Math.abs(lightness - rgbToLab(Uint8Array.of(90, 90, 90))[0]!) < 1);
    } finally {
      scratch.remove();
    }
  },
  120_000,
);

gpuTest('the network sees an image in its own shape, at the scale of training', async () => {
  const model = new Colorizer(options).eval();
  const [width, height] = [2 * SIZE, SIZE];
  const pixels = Uint8Array.from({ length: width * height }, (_, i) => (i * i * 31) & 255);
  const lab = rgbToLab(Uint8Array.from({ length: 3 * pixels.length }, (_, i) => pixels[Math.floor(i / 3)]!));
  const lightness = Float32Array.from(pixels, (_, i) => (lab[3 * i]! - 50) / 50);
  const ab = await model.forward(Tensor.from(lightness, [1, height, width, 1])).read();
  for (const [i, value] of ab.entries()) lab[3 * (i >> 1) + 1 + (i & 1)] = 110 * value;
  const image: Image = { pixels, width, height, channels: 1 };
  assert.equal((await colorizeImage(model, image, SIZE)).pixels, labToRgb(lab));
  const strip: Image = { pixels: new Uint8Array(300).fill(90), width: 300, height: 1, channels: 1 };
  assert.is((await colorizeImage(model, strip, SIZE)).width, 300);
});

gpuTest('too few images, and files that are no colouriser, are refused', async () => {
  assert.match(
    await messageOf(() => trainColorizer([disc(1)], { ...options, epochs: 1, batch: 2, lr: 1 })),
    /fewer than/,
  );
  const scratch = scratchFolder();
  try {
    const file = scratch.write('x.safetensors', 'no');
    assert.match(await messageOf(() => loadColorizer(file)), /x\.safetensors/);
    writeSafetensors(file, new Map());
    assert.match(
      await messageOf(() => loadColorizer(file)),
      /is no colouriser\. Train one: .* --model NEW\.safetensors$/,
    );
  } finally {
    scratch.remove();
  }
});

gpuTest('a file with a weight that is no number is refused', async () => {
  const scratch = scratchFolder();
  try {
    const file = join(scratch.path, 'x.safetensors');
    const model = new Colorizer(options);
    const [, weight] = [...model.parameters()][2]!;
    weight.write(new Float32Array(weight.size).fill(Number.NaN));
    await saveColorizer(file, model, options);
    await rejectsData(
      () => loadColorizer(file),
      `${file}: value 1 of tensor '`,
      /is NaN\. .* a run that diverged\. Give another\.$/,
    );
  } finally {
    scratch.remove();
  }
});

gpuTest('training stops before the step that is interrupted, within an epoch and at the end of one', async () => {
  const images = Array.from({ length: 6 }, (_, i) => disc(i));
  for (const [stopAt, shown] of [
    [0, []],
    [2, []],
    [3, [1]],
    [5, [1]],
    [6, [1, 2]],
  ] as const) {
    const epochs: number[] = [];
    let asked = 0;
    const { steps, perEpoch, finished } = await trainColorizer(images, {
      ...{ ...options, epochs: 2, batch: 2, lr: 1e-2 },
      onEpoch: (epoch) => epochs.push(epoch),
      interrupted: () => asked++ === stopAt,
    });
    assert.equal([steps, perEpoch, finished, epochs], [stopAt, 3, stopAt === 6, shown]);
  }
});

gpuTest('batches that the adapter has no tensor for are refused, with what fits', async () => {
  const limit = 128 * 2 ** 20;
  const adapter = { adapter: gpu.adapter, maxTensorBytes: limit } as Gpu;
  const refusal = (size: number, batch: number, width = 1) =>
    messageOf(() => checkColorizerFits(adapter, { size, width, batch, seed: 1 }));
  assert.match(
    await refusal(512, 2),
    /^--size 512 in batches of 2: its largest tensor takes 192 MiB, and .* binds at most 128 MiB\. Use --size 416 or less\.$/,
  );
  assert.match(await refusal(256, 16), / Use --size 144 or less, or --batch 5 or less\.$/);
  assert.match(await refusal(16, 65_536), / Use --batch 1365 or less\.$/);
  assert.match(await refusal(512, 65_536, 4), / Use a smaller --size and --batch\.$/);
  for (const [size, batch] of [
    [416, 2],
    [144, 16],
    [256, 5],
  ] as const)
    checkColorizerFits(adapter, { size, width: 1, batch, seed: 1 });
});

test('colorize either trains or colours', async () => {
  const refusal = (given: object) => messageOf(() => checkColorize(given));
  assert.match(await refusal({ model: 'm' }), /expected --model FILE IN OUT, or/);
  assert.match(await refusal({ model: 'm', paths: ['a'] }), /expected --model FILE IN OUT/);
  assert.match(await refusal({ model: 'm', paths: ['a', 'b'], epochs: 3 }), /--epochs is for --train/);
  assert.match(await refusal({ model: 'm', paths: ['a', 'b'], train: 'f' }), /Leave out a\./);
  assert.match(await refusal({ model: 'm', train: 'f', size: 50 }), /Use 52/);
  checkColorize({ model: 'm', train: 'f', size: 48 });
  checkColorize({ model: 'm', paths: ['a', 'b'] });
});

test('the command trains on a folder of PNGs and colours another', async () => {
  const scratch = scratchFolder();
  try {
    for (let i = 0; i < 6; i++) scratch.write(`photos/${i}.png`, makePng(SIZE, SIZE, 2, 8, disc(i)));
    scratch.write('photos/more/gray.png', makePng(8, 8, 0, 8, new Uint8Array(64).fill(9)));
    const gray = (name: string, tone: number) =>
      scratch.write(`gray/${name}`, makePng(20, 12, 0, 8, new Uint8Array(240).fill(tone)));
    gray('train/happy/a.png', 60);
    gray('train/sad/Training_b.PNG', 160);
    gray('valid/sad/c.png', 200);
    const model = ['colorize', '--model', 'new/colours.safetensors'];
    const size = ['--size', '16', '--width', '0.25', '--epochs', '2', '--batch', '4'];
    scratch.write('file', '');
    for (const path of ['file/colours', 'new/']) {
      const { stderr } = ends(2, scratch.path, ['colorize', '--model', path, '--train', 'photos', ...size]);
      assert.match(stderr, /^dawngrad: --model \S+: (cannot be written|is no regular file)[^\n]*\n$/);
    }
    const trained = ends(0, scratch.path, [...model, '--train', 'photos', ...size]);
    assert.match(trained.stderr, /6 colour images, 1 gray ones left out\n[\s\S]*epoch 2\/2 {2}loss 0\.\d+/);
    const paint = [...model, 'gray', 'out'];
    const broken = scratch.write('gray/train/broken.png', grayPng(1).subarray(0, 700));
    const painted = ends(2, scratch.path, paint);
    rmSync(broken);
    assert.match(
      painted.stderr,
      /^dawngrad: gray\/train\/broken\.png: a truncated PNG[^\n]*\n3 images coloured: out\n/m,
    );
    assert.match(painted.stderr, /^dawngrad: 1 of 4 could not be read; the rest is done\.$/m);
    const image = await decodeImage(readFileSync(join(scratch.path, 'out/train/happy/a.png')), 'a.png');
    assert.equal([image.width, image.height, image.channels], [20, 12, 3]);
    const named = ends(2, scratch.path, [...model, 'gray/valid/sad/c.png', 'c.jpg']);
    assert.match(named.stderr, /^dawngrad: colorize: OUT c\.jpg: what is written is a PNG\. .* ends in \.png\.\n$/);
    assert.not.ok(existsSync(join(scratch.path, 'c.jpg')));
    const again = ends(2, scratch.path, paint);
    assert.match(
      again.stderr,
      /^dawngrad: out\/train\/happy\/a\.png: there is such a file already\. Name a new one\.\n$/,
    );

    // Folders of class folders stay what they were, so the coloured ones are data as the gray ones are.
    const [before, after] = await Promise.all(
      ['gray', 'out'].map((name) => loadDataset({ data: join(scratch.path, name), store: 16 })),
    );
    assert.equal([before!.train.channels, after!.train.channels], [1, 3]);
    const inventory = ({ classes, train, valid, validName, source }: Dataset) => [
      ...[classes, [...train.labels], [...valid.labels], validName],
      ...[source('train', 0), source('train', 1).toLowerCase(), source('valid', 0)],
    ];
    assert.equal(inventory(after!), inventory(before!));

    gray('train/sad/Training_b.jpg', 1);
    const twice = ends(2, scratch.path, [...model, 'gray', 'other']);
    assert.match(
      twice.stderr,
      /^dawngrad: other\/train\/sad\/Training_b\.png: two images would be written to it\. [^\n]*\n$/,
    );
  } finally {
    scratch.remove();
  }
});

const unix = process.platform === 'win32' ? test.skip : test;

/** Photographs in a scratch folder, and a small training on them. */
function photos(count = 6) {
  const scratch = scratchFolder();
  for (let i = 0; i < count; i++) scratch.write(`photos/${i}.png`, makePng(SIZE, SIZE, 2, 8, disc(i)));
  const small = ['--train', 'photos', '--model', 'new.safetensors', '--size', '16', '--width', '0.25'];
  return { ...scratch, file: join(scratch.path, 'new.safetensors'), train: ['colorize', ...small] };
}

test('the command refuses what no adapter has a tensor for before it trains', () => {
  const { path, file, train, remove } = photos(16);
  try {
    const { stderr } = ends(2, path, [...train, '--size', '512', '--width', '4']);
    assert.match(
      stderr,
      /\ndawngrad: --size 512 in batches of 16: its largest tensor takes 6 GiB, [^\n]* Use [^\n]*\n$/,
    );
    assert.not.ok(existsSync(file));
  } finally {
    remove();
  }
});

test('a training that diverges says so in a line, ends with 1 and writes no file', () => {
  const { path, file, train, remove } = photos();
  try {
    // One step, whose loss is that of before it, and three.
    for (const batch of ['6', '2']) {
      const { stderr } = ends(1, path, [...train, '--batch', batch, '--epochs', '1', '--lr', '1e30']);
      assert.match(
        stderr,
        /\ntraining diverged in epoch 1: the loss is not a number\. Lower the learning rate \(it was 1e\+30\)\.\n$/,
      );
      assert.not.ok(existsSync(file));
    }
  } finally {
    remove();
  }
});

unix('Ctrl-C saves what was learnt so far', async () => {
  const { path, file, train, remove } = photos();
  try {
    const { child, shown, ended } = starts(path, [...train, '--batch', '2', '--epochs', '2000']);
    await until('two epochs', () => /^epoch 2\//m.test(shown()));
    assert.not.ok(existsSync(file));
    child.kill('SIGINT');
    assert.is(await ended, 0);
    assert.match(
      shown(),
      /^Stopping before the next step, and saving what was learnt so far\. Once more stops at once\.\n(epoch .*\n)?Stopped after \d+ of 6000 steps \(3 an epoch\)\.\nSaved: new\.safetensors\n$/m,
    );
    assert.is(loadColorizer(file).size, 16);
  } finally {
    remove();
  }
});

test('Ctrl-C before the first step saves nothing', () => {
  const { path, file, train, remove } = photos();
  try {
    const interrupted = ['--import', new URL('fixtures/interrupted.mjs', import.meta.url).href];
    const { stderr } = ends(0, path, train, interrupted);
    assert.match(stderr, /\nStopped before the first step: nothing was learnt, and nothing is saved\.\n$/);
    assert.not.ok(existsSync(file));
  } finally {
    remove();
  }
});

test.run();
