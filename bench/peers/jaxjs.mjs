// The same step in jax-js, compiled as a whole; it has no batch norm, pooling or cross-entropy, so these are written out. Dropout
// is left out, in its favour.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { scaled } from '../../src/models/options.ts';
import { openAsBrowser, serve, taskOf } from './serve.ts';

const CHANNELS = [64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0];
const HIDDEN = 4096;
const CLASSES = 7;
const SIDE = 48;
const EPSILON = 1e-5;

const { adapter, batch, width, packages } = taskOf(process.argv);
await openAsBrowser(adapter);
const load = createRequire(join(packages, 'package.json'));
const jax = load('@jax-js/jax');
await jax.init();
jax.defaultDevice('webgpu');
const { numpy: np, lax, jit, valueAndGrad, nn, tree } = jax;

/** Evenly distributed numbers of this standard deviation. */
const noise = (shape, std) => {
  const size = shape.reduce((a, b) => a * b, 1);
  const values = Float32Array.from({ length: size }, () => (2 * Math.random() - 1) * Math.sqrt(3) * std);
  return np.array(values).reshape(shape);
};

let parameters = { convolutions: [], layers: [] };
let inputs = 3;
for (const channels of CHANNELS.filter((channels) => channels > 0)) {
  const outputs = scaled(channels, width);
  const w = noise([outputs, inputs, 3, 3], Math.sqrt(2 / (9 * outputs)));
  parameters.convolutions.push({ w, gamma: np.ones([outputs]), beta: np.zeros([outputs]) });
  inputs = outputs;
}
for (const outputs of [scaled(HIDDEN, width), scaled(HIDDEN, width), CLASSES]) {
  parameters.layers.push({ w: noise([inputs, outputs], Math.sqrt(1 / inputs)), b: np.zeros([outputs]) });
  inputs = outputs;
}

// Arrays are counted: each use takes one, and `.ref` makes another.
function maxPool(x) {
  const even = x.shape[2] - (x.shape[2] % 2);
  const cut = even < x.shape[2] ? x.slice([], [], [0, even], [0, even]) : x;
  const [n, c, h, w] = cut.shape;
  return np.max(cut.reshape([n, c, h / 2, 2, w / 2, 2]), [3, 5]);
}

function batchNorm(x, gamma, beta) {
  const shape = [1, x.shape[1], 1, 1];
  const mean = np.mean(x.ref, [0, 2, 3], { keepdims: true });
  const centred = x.sub(mean);
  const variance = np.mean(np.square(centred.ref), [0, 2, 3], { keepdims: true });
  const normal = centred.div(np.sqrt(variance.add(EPSILON)));
  return normal.mul(gamma.reshape(shape)).add(beta.reshape(shape));
}

function forward({ convolutions, layers }, x) {
  let y = x;
  let next = 0;
  for (const channels of CHANNELS) {
    if (channels === 0) {
      y = maxPool(y);
      continue;
    }
    const { w, gamma, beta } = convolutions[next++];
    y = nn.relu(batchNorm(lax.conv(y, w, [1, 1], 'SAME'), gamma, beta));
  }
  y = y.reshape([y.shape[0], -1]);
  for (const [i, { w, b }] of layers.entries()) {
    y = np.matmul(y, w).add(b);
    if (i < layers.length - 1) y = nn.relu(y);
  }
  return y;
}

const lossOf = (weights, x, y) => np.mean(np.sum(nn.logSoftmax(forward(weights, x)).mul(y), -1)).neg();

const update = jit((weights, momentum, x, y) => {
  const [loss, gradients] = valueAndGrad(lossOf)(tree.ref(weights), x, y);
  const [all, structure] = tree.flatten(weights);
  const [before] = tree.flatten(momentum);
  const [slopes] = tree.flatten(gradients);
  const speeds = before.map((speed, i) => speed.mul(0.9).add(slopes[i]));
  const moved = all.map((weight, i) => weight.sub(speeds[i].ref.mul(0.01)));
  return [loss, tree.unflatten(structure, moved), tree.unflatten(structure, speeds)];
});

let momentum = tree.map(
  (weight) => np.zeros(weight.shape),
  tree.map((weight) => weight.ref, parameters),
);
const x = noise([batch, 3, SIDE, SIDE], 1);
const hot = Float32Array.from({ length: batch * CLASSES }, (_, i) =>
  i % CLASSES === Math.floor(i / CLASSES) % CLASSES ? 1 : 0,
);
const y = np.array(hot).reshape([batch, CLASSES]);

// The package does not export its package.json.
const { version } = JSON.parse(readFileSync(join(packages, 'node_modules/@jax-js/jax/package.json'), 'utf8'));
await serve(version, async () => {
  let loss;
  [loss, parameters, momentum] = update(parameters, momentum, x.ref, y.ref);
  const [value] = await loss.data();
  await jax.blockUntilReady(tree.map((weight) => weight.ref, parameters));
  return value;
});
