/** Program: trains a small VGG for five steps, from the seed and with the flags given, and prints the SHA-256 of all its state. */
import { createHash } from 'node:crypto';
import { step } from '../src/core/step.ts';
import { setSeed } from '../src/core/stepbuffer.ts';
import { Tensor } from '../src/core/tensor.ts';
import type { DawnFlags } from '../src/gpu/dawn.ts';
import { openGpu } from '../src/gpu/node.ts';
import { createModel } from '../src/models/index.ts';
import { readState } from '../src/nn/index.ts';
import * as ops from '../src/ops/index.ts';
import * as optim from '../src/optim/index.ts';

const seed = Number(process.argv[2]);
const flags = process.argv[3] as DawnFlags;
const gpu = await openGpu({ flags });
setSeed(seed);
const net = createModel('vgg13_bn', {
  classes: 7,
  channels: 3,
  size: 32,
  width: 1 / 16,
  head: 'vgg',
  pool: 1,
  dropout: 0.5,
  seed: 1,
});
const optimizer = new optim.SGD(net.parameters().values(), { weightDecay: 1e-3 });
const x = Tensor.from(
  Float32Array.from({ length: 8 * 32 * 32 * 3 }, (_, i) => Math.fround(((i * 37) % 255) / 255)),
  [8, 32, 32, 3],
);
const labels = Tensor.from(Uint32Array.from({ length: 8 }, (_, i) => i % 7));
for (let i = 0; i < 5; i++) {
  await step(() => {
    ops.crossEntropy(net.forward(x), labels, { labelSmoothing: 0.1 }).backward();
    optimizer.step({ lr: 0.05, momentum: 0.9 });
  });
}
const hash = createHash('sha256');
for (const [name, { data }] of await readState(net)) {
  if (!data.every(Number.isFinite)) throw new Error(`${name} is not finite`);
  hash.update(name).update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
}
gpu.close();
process.stdout.write(hash.digest('hex'));
