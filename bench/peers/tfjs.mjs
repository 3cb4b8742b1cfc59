// The same step in TensorFlow.js, on its WebGPU backend. With GEMM_DX set the input gradient of a convolution is its product of
// matrices, which is off by default.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { scaled } from '../../src/models/options.ts';
import { openAsBrowser, serve, taskOf } from './serve.ts';

const CHANNELS = [64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0];
const HIDDEN = 4096;
const CLASSES = 7;
const SIDE = 48;

const { adapter, batch, width, packages } = taskOf(process.argv);
const { device } = await openAsBrowser(adapter);
const load = createRequire(join(packages, 'package.json'));
const tf = load('@tensorflow/tfjs');
const { WebGPUBackend } = load('@tensorflow/tfjs-backend-webgpu');
const { info } = await navigator.gpu.requestAdapter();
tf.registerBackend('dawn', () => new WebGPUBackend(device, info), 10);
for (const kernel of tf.getKernelsForBackend('webgpu')) tf.registerKernel({ ...kernel, backendName: 'dawn' });
if (process.env.GEMM_DX) tf.env().set('WEBGPU_USE_NAIVE_CONV2D_TRANSPOSE', false);
await tf.setBackend('dawn');
await tf.ready();

const { layers } = tf;
const network = tf.sequential();
let inputShape = [SIDE, SIDE, 3];
for (const channels of CHANNELS) {
  if (channels === 0) {
    network.add(layers.maxPooling2d({ poolSize: 2, strides: 2 }));
    continue;
  }
  network.add(layers.conv2d({ filters: scaled(channels, width), kernelSize: 3, padding: 'same', inputShape }));
  inputShape = undefined;
  network.add(layers.batchNormalization({ momentum: 0.9, epsilon: 1e-5 }));
  network.add(layers.reLU());
}
network.add(layers.flatten());
for (let i = 0; i < 2; i++) {
  network.add(layers.dense({ units: scaled(HIDDEN, width) }));
  network.add(layers.reLU());
  network.add(layers.dropout({ rate: 0.5 }));
}
network.add(layers.dense({ units: CLASSES }));

const optimizer = tf.train.momentum(0.01, 0.9);
const x = tf.randomNormal([batch, SIDE, SIDE, 3]);
const labels = Array.from({ length: batch }, (_, i) => i % CLASSES);
const y = tf.oneHot(tf.tensor1d(labels, 'int32'), CLASSES);

await serve(tf.version.tfjs, async () => {
  const logits = () => network.apply(x, { training: true });
  const loss = optimizer.minimize(() => tf.losses.softmaxCrossEntropy(y, logits()), true);
  const [value] = await loss.data();
  loss.dispose();
  await device.queue.onSubmittedWorkDone();
  return value;
});
