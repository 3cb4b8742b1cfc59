import { data, models, openGpu, ops, optim, step, type Tensor } from '../../src/index.ts';

const gpu = await openGpu();
const faces = await data.loadDataset({ data: 'toyfaces', seed: 1, limit: 256 });
const input = { size: 32, channels: 3 } as const; // resized on the GPU
const normalisation = data.normalisationOf(faces.train, input.channels);
const batches = new data.Batches(faces.train, { ...input, batch: 32, normalisation });
const head = { head: 'fastai', pool: 1, dropout: 0.1 } as const;
const net = models.createModel('vgg11_bn', { ...input, ...head, classes: 7, width: 1 / 8, seed: 1 });
const optimizer = new optim.AdamW(net.parameters().values(), { weightDecay: 0.01 });

for (let epoch = 0; epoch < 4; epoch++) {
  const order = batches.order(1, epoch);
  let loss: Tensor | null = null;
  for (let n = 0; n + 32 <= order.length; n += 32) {
    loss = await step(() => {
      const { x, labels } = batches.take(order.subarray(n, n + 32));
      const loss = ops.crossEntropy(net.forward(x), labels);
      loss.backward();
      optimizer.step({ lr: 0.003, momentum: 0.9 });
      return loss;
    });
  }
  console.log(`epoch ${epoch + 1}: loss ${await loss?.item()}`);
}
gpu.close();
