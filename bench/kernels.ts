import { step } from '../src/core/step.ts';
import { Tensor } from '../src/core/tensor.ts';
import { thousands } from '../src/core/words.ts';
import { AUGMENTATIONS, type Augmentation } from '../src/data/augment.ts';
import { Batches } from '../src/data/batches.ts';
import type { Recording } from '../src/gpu/stream.ts';
import { scaled } from '../src/models/index.ts';
import * as ops from '../src/ops/index.ts';
import { AdamW, type Optimizer, SGD } from '../src/optim/index.ts';
import { backwardCase, type Case, type Facts, forwardCase } from './cases.ts';
import {
  BatchNormExpected,
  type Convolution,
  convDgrad,
  convForward,
  convolvedSide,
  convWgrad,
  dot,
  type Expected,
  softmaxRow,
  windowMaximum,
  windowOf,
} from './expected.ts';
import { noise } from './harness.ts';

/** How large the networks are that the shapes are taken from. */
export interface Scale {
  batch: number;
  width: number;
}

const SIDE = 48;
const CLASSES = 7;
/** Sums of products of zero-mean numbers stay within 8 u·S, as the tests have it. */
const SUM = 8;
/** Winograd's transforms stray two to three times as far (`test/winogradbounds.ts`). */
const CONVOLUTION = 24;
/** What batch norm is allowed by `test/bounds.ts`. */
const NORM = 16;

const exactly = (value: number): Expected => ({ value, size: 0 });

/** Channels of an image: they do not change with the width. */
const RGB = 3;

/** A convolution at full width, padded by half its kernel. */
export interface Layer {
  layer: string;
  side: number;
  channels: number;
  results: number;
  kernel: number;
  stride: number;
  quick: boolean;
}

const vgg = (layer: string, side: number, channels: number, quick = false): Layer => ({
  ...{ layer, side, channels, results: channels, kernel: 3, stride: 1, quick },
});

const resnet = (layer: string, side: number, channels: number, results: number, kernel: number, quick = false) => ({
  ...{ layer, side, channels, results, kernel, stride: 2, quick },
});

/** The convolutions of VGG16_bn at 48 px that stand for their blocks, and ResNet34's of stride 2 at 160 px. */
export const LAYERS: readonly Layer[] = [
  vgg('conv1_2', 48, 64), // the largest activation
  vgg('conv2_2', 24, 128, true),
  vgg('conv3_2', 12, 256),
  vgg('conv4_2', 6, 512, true), // the largest weight
  vgg('conv5_2', 3, 512), // the same with few pixels
  resnet('stem', 160, RGB, 64, 7),
  resnet('layer2.0', 40, 64, 128, 3, true),
  resnet('layer4.0', 10, 256, 512, 3), // few pixels
  resnet('layer2 1×1', 40, 64, 128, 1),
];

/** True for the first convolution: nobody asks for the gradient of the image. */
export const takesImage = ({ channels }: Layer): boolean => channels === RGB;

/** A layer's convolution in a network of that width. */
export function convolutionOf(layer: Layer, scale: Scale): Convolution {
  const { side, channels, results, kernel, stride } = layer;
  const C = takesImage(layer) ? RGB : scaled(channels, scale.width);
  const shape = { N: scale.batch, side, C, K: scaled(results, scale.width), kernel, stride, padding: kernel >> 1 };
  return { ...shape, out: convolvedSide(shape) };
}

function convolutions(scale: Scale): Case[] {
  return LAYERS.flatMap((entry) => {
    const { layer, quick } = entry;
    const extents = convolutionOf(entry, scale);
    const { N, side, C, K, kernel, stride, padding, out } = extents;
    // A kernel smaller than its stride leaves out rows and columns of x.
    const read = Math.min(side, out * kernel);
    const facts = (pass: string, ofX = read): Facts => ({
      name: `${layer} ${pass}`,
      shape: `${N}×${side}×${side}×${C} → ${K}`,
      flops: 2 * N * out * out * C * K * kernel * kernel,
      bytes: 4 * (N * ofX * ofX * C + N * out * out * K + kernel * kernel * C * K),
      quick,
    });
    const operation = {
      inputs: { x: [N, side, side, C], w: [K, kernel, kernel, C] },
      run: ({ x, w }: Record<'x' | 'w', Tensor>) => ops.conv2d(x, w, null, { stride, padding }),
    };
    const forward = forwardCase(facts('forward'), operation, CONVOLUTION, ({ x, w }, i) =>
      convForward(extents, x, w, i),
    );
    const dgrad = backwardCase(facts('dgrad', side), operation, CONVOLUTION, {
      x: ({ dy, w }, i) => convDgrad(extents, dy, w, i),
    });
    const wgrad = backwardCase(facts('wgrad'), operation, CONVOLUTION, {
      w: ({ x, dy }, i) => convWgrad(extents, x, dy, i),
    });
    return takesImage(entry) ? [forward, wgrad] : [forward, dgrad, wgrad];
  });
}

function square(side: number): Case {
  const facts = {
    name: `matmul ${side}`,
    shape: `${side}×${side} · ${side}×${side}`,
    flops: 2 * side ** 3,
    bytes: 12 * side * side,
    quick: true,
  };
  const operation = {
    inputs: { a: [side, side], b: [side, side] },
    run: ({ a, b }: Record<'a' | 'b', Tensor>) => ops.matmul(a, b),
  };
  return forwardCase(facts, operation, SUM, ({ a, b }, i) =>
    dot(side, a, [Math.floor(i / side) * side, 1], b, [i % side, side]),
  );
}

/** A fully connected layer: y[n,o] = Σᵢ x[n,i]·w[o,i]. */
function linears(layer: string, inputs: number, outputs: number, { batch: N, width }: Scale, quick: boolean): Case[] {
  const [I, O] = [scaled(inputs, width), scaled(outputs, width)];
  const facts = (pass: string): Facts => ({
    name: `${layer} ${pass}`,
    shape: `${N}×${I} → ${O}`,
    flops: 2 * N * I * O,
    bytes: 4 * (N * I + N * O + I * O),
    quick,
  });
  const operation = {
    inputs: { x: [N, I], w: [O, I] },
    run: ({ x, w }: Record<'x' | 'w', Tensor>) => ops.linear(x, w, null),
  };
  return [
    forwardCase(facts('forward'), operation, SUM, ({ x, w }, i) =>
      dot(I, x, [Math.floor(i / O) * I, 1], w, [(i % O) * I, 1]),
    ),
    backwardCase(facts('dx'), operation, SUM, {
      x: ({ dy, w }, i) => dot(O, dy, [Math.floor(i / I) * O, 1], w, [i % I, I]),
    }),
    backwardCase(facts('dw'), operation, SUM, {
      w: ({ dy, x }, i) => dot(N, dy, [Math.floor(i / I), O], x, [i % I, I]),
    }),
  ];
}

/** Batch norm with ReLU. The input is read twice, since its statistics come first; so are x and dy on the way back. */
function batchNorms(layer: string, side: number, channels: number, { batch: N, width }: Scale, quick: boolean): Case[] {
  const C = scaled(channels, width);
  const size = N * side * side * C;
  const facts = (pass: string, passes: number, flops: number): Facts => ({
    name: `${layer} ${pass}`,
    shape: `${N}×${side}×${side}×${C}`,
    flops: flops * size,
    bytes: 4 * passes * size,
    quick,
  });
  const operation = {
    inputs: { x: [N, side, side, C], gamma: [C], beta: [C], mean: [C], variance: [C] },
    run: (t: Record<'x' | 'gamma' | 'beta' | 'mean' | 'variance', Tensor>) =>
      ops.batchNorm(t.x, t.gamma, t.beta, t.mean, t.variance, { training: true, relu: true }),
  };
  let made: { x: Float32Array; expected: BatchNormExpected } | undefined;
  const expected = ({ x, gamma, beta }: Record<'x' | 'gamma' | 'beta', Float32Array>): BatchNormExpected => {
    if (made?.x !== x) made = { x, expected: new BatchNormExpected(x, gamma, beta) };
    return made.expected;
  };
  return [
    forwardCase(facts('forward', 3, 10), operation, NORM, (data, i) => expected(data).forward(i)),
    backwardCase(facts('backward', 5, 16), operation, NORM, {
      x: (data, i, y) => expected(data).input(data.dy, y, i),
      gamma: (data, c, y) => expected(data).parameters(data.dy, y, c).dgamma,
      beta: (data, c, y) => expected(data).parameters(data.dy, y, c).dbeta,
    }),
  ];
}

/** What only moves bytes. */
function pointwise({ batch: N, width }: Scale): Case[] {
  const C = scaled(64, width);
  const size = N * SIDE * SIDE * C;
  const shape = `${N}×${SIDE}×${SIDE}×${C}`;
  const inputs = { x: [N, SIDE, SIDE, C] };
  const relu = { inputs, run: ({ x }: { x: Tensor }) => ops.relu(x) };
  const pool = { inputs, run: ({ x }: { x: Tensor }) => ops.maxPool2d(x, { kernel: 2 }) };
  const facts = (name: string, floats: number): Facts => ({
    ...{ name, shape, flops: size, bytes: 4 * floats, quick: true },
  });
  return [
    forwardCase(facts('relu forward', 2 * size), relu, 0, ({ x }, i) => exactly(Math.max(0, x[i]!))),
    backwardCase(facts('relu backward', 3 * size), relu, 0, {
      x: ({ x, dy }, i) => exactly(x[i]! > 0 ? dy[i]! : 0),
    }),
    // The winner of each window is written, too, and read on the way back: a byte.
    forwardCase(facts('max pool forward', (1 + 1 / 4 + 1 / 16) * size), pool, 0, ({ x }, i) =>
      exactly(windowMaximum(SIDE, C, x, i).value),
    ),
    backwardCase(facts('max pool backward', (1 + 1 / 4 + 1 / 16) * size), pool, 0, {
      x: ({ x, dy }, i) => {
        const window = windowOf(SIDE, C, i);
        return exactly(windowMaximum(SIDE, C, x, window).at === i ? dy[window]! : 0);
      },
    }),
  ];
}

function crossEntropies({ batch: N }: Scale): Case[] {
  const label = (n: number) => n % CLASSES;
  const facts = (pass: string, copies: number): Facts => ({
    name: `cross-entropy ${pass}`,
    shape: `${N}×${CLASSES}`,
    flops: 4 * N * CLASSES,
    bytes: 4 * (copies * N * CLASSES + N),
    quick: true,
  });
  const operation = {
    inputs: { x: [N, CLASSES] },
    labels: () => Tensor.from(Uint32Array.from({ length: N }, (_, n) => label(n))),
    run: ({ x }: { x: Tensor }, labels: Tensor | null) => ops.crossEntropy(x, labels!),
  };
  const loss = (x: Float32Array): Expected => {
    const terms = Array.from({ length: N }, (_, n) => softmaxRow(x, CLASSES, n).logSum - x[n * CLASSES + label(n)]!);
    const value = terms.reduce((sum, term) => sum + term, 0) / N;
    return { value, size: 1 + value };
  };
  return [
    forwardCase(facts('forward', 1), operation, 32, ({ x }) => loss(x)),
    backwardCase(facts('backward', 2), operation, 32, {
      x: ({ x, dy }, i) => {
        const [n, c] = [Math.floor(i / CLASSES), i % CLASSES];
        const scale = dy[0]! / N;
        const p = softmaxRow(x, CLASSES, n).p[c]!;
        return { value: scale * (p - (label(n) === c ? 1 : 0)), size: Math.abs(scale) };
      },
    }),
  ];
}

const RATES = { lr: 1e-4, momentum: 0.9 };
const DECAY = 0.01;
/** AdamW's own. */
const BETA2 = 0.999;

/**
 * An update of all parameters at once. `moved` gives a parameter after two of them, both of the first step's, from its value and
 * gradient: what the first one kept shows in the second.
 */
function update(
  name: string,
  size: number,
  copies: number,
  build: (parameters: Tensor[]) => Optimizer,
  moved: (p: number, g: number) => number,
): Case {
  return {
    name: `${name} update`,
    shape: `${thousands(size)} weights`,
    flops: 2 * copies * size,
    bytes: 4 * copies * size,
    quick: true,
    prepare: async (gpu) => {
      const [p, g] = [noise(size, 1), noise(size, 2)];
      const parameter = Tensor.from(p, [size], { requiresGrad: true });
      const gradient = Tensor.from(g);
      const optimizer = build([parameter]);
      let recording: Recording = [];
      await step(() => {
        ops.mul(parameter, gradient).backward(Tensor.full([size], 1));
        recording = gpu.stream.capture(() => optimizer.step(RATES));
      });
      const expected = (i: number) => ({ value: moved(p[i]!, g[i]!), size: 1 });
      const checks = [{ name: 'p', tensor: parameter, expected, ulps: 4 }];
      return { recording, runs: 2, checks, tensors: [gradient] };
    },
  };
}

/** Makes a batch of the data set's bytes, of `size` pixels a side; `expected` is one of its values, in [0, 1], from the image. */
function gathered(
  { batch: N }: Scale,
  name: string,
  size: number,
  flopsEach: number,
  augmentation: Augmentation,
  expected: (pixel: (row: number, column: number) => number, row: number, column: number) => number,
): Case {
  const count = 4 * N;
  const [mean, std] = [0.5, 0.25];
  return {
    name,
    shape: `${N}×${SIDE}×${SIDE}×1 → ${size === SIDE ? '' : `${size}×${size}×`}3`,
    flops: flopsEach * N * size * size,
    bytes: N * (SIDE * SIDE + 4 * 3 * size * size),
    quick: true,
    prepare: async (gpu) => {
      // Each image is its own mirror image, so that it does not matter which ones are mirrored.
      const drawn = Uint8Array.from(noise(count * SIDE * SIDE, 1), (value) => 127.5 * (value + 1));
      const pixels = drawn.map((_, i) => drawn[i % SIDE < SIDE / 2 ? i : i - (i % SIDE) + SIDE - 1 - (i % SIDE)]!);
      const labels = Uint8Array.from({ length: count }, (_, i) => i % CLASSES);
      const batches = new Batches(
        { pixels, labels, count, side: SIDE, channels: 1 },
        { batch: N, size, channels: 3, normalisation: { mean: [mean], std: [std] }, augmentation },
      );
      const order = Uint32Array.from({ length: N }, (_, i) => (7 * i + 3) % count);
      let recording: Recording = [];
      const x = await step(() => {
        let x: Tensor | undefined;
        recording = gpu.stream.capture(() => {
          ({ x } = batches.take(order));
        });
        return x!;
      });
      const wanted = (i: number) => {
        const [n, place] = [Math.floor(i / 3 / size / size), Math.floor(i / 3) % (size * size)];
        const pixel = (row: number, column: number) => pixels[(order[n]! * SIDE + row) * SIDE + column]! / 255;
        return { value: (expected(pixel, Math.floor(place / size), place % size) - mean) / std, size: 1 / std };
      };
      // Where a pixel is sampled is computed too, and a neighbour's share grows with that error.
      return { recording, checks: [{ name: 'x', tensor: x, expected: wanted, ulps: 512 }], tensors: [x] };
    },
  };
}

/** As large as the project's 160 px: everything that aug_transforms draws is computed, and so little of it drawn that nothing moves. */
const ENLARGED = 160;
const barely: Augmentation = {
  ...AUGMENTATIONS.fastai,
  ...{ rotateRad: 1e-8, zoom: 1 + 1e-8, warp: 1e-8, lighting: 1e-7, pAffine: 1, pLighting: 1 },
};

function gathers(scale: Scale): Case[] {
  const enlarged = (pixel: (row: number, column: number) => number, row: number, column: number) => {
    const at = (i: number) => (i * (SIDE - 1)) / (ENLARGED - 1);
    const [top, left] = [Math.floor(at(row)), Math.floor(at(column))];
    const [below, right] = [Math.min(top + 1, SIDE - 1), Math.min(left + 1, SIDE - 1)];
    const across = (r: number) => pixel(r, left) + (at(column) - left) * (pixel(r, right) - pixel(r, left));
    return across(top) + (at(row) - top) * (across(below) - across(top));
  };
  return [
    gathered(scale, 'gather', SIDE, 6, AUGMENTATIONS.none, (pixel, row, column) => pixel(row, column)),
    // A homography, four shares, a logarithm and an exponential, and the normalisation of a pixel.
    gathered(scale, 'gather fastai', ENLARGED, 40, barely, enlarged),
  ];
}

/** Every case, in the order of a training step. */
export function kernelCases(scale: Scale, weights: number): Case[] {
  return [
    square(512),
    ...convolutions(scale),
    ...linears('fc1', 512, 4096, scale, true),
    ...linears('fc2', 4096, 4096, scale, false),
    ...batchNorms('bn1_2', SIDE, 64, scale, true),
    ...batchNorms('bn4_2', 6, 512, scale, false),
    ...pointwise(scale),
    ...crossEntropies(scale),
    update(
      'sgd',
      weights,
      5,
      (p) => new SGD(p, { weightDecay: DECAY }),
      (p, g) => {
        const first = g + DECAY * p;
        const moved = p - RATES.lr * first;
        return moved - RATES.lr * (RATES.momentum * first + g + DECAY * moved);
      },
    ),
    update(
      'adamw',
      weights,
      7,
      (p) => new AdamW(p, { weightDecay: DECAY }),
      // m = (1 − β₁²)·g and v = (1 − β₂²)·g² after the second one, each corrected as after the first.
      (p, g) => {
        const kept = 1 - RATES.lr * DECAY;
        const second = (1 + RATES.momentum) / Math.sqrt(1 + BETA2);
        return p * kept ** 2 - RATES.lr * Math.sign(g) * (kept + second);
      },
    ),
    ...gathers(scale),
  ];
}
