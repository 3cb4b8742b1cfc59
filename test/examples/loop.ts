import { data, models, openGpu, ops, optim, step } from '../../src/index.ts';

const gpu = await openGpu();
const faces = await data.loadDataset({ data: 'toyfaces', seed: 1, limit: 256 });
const input = { size: 48, channels: 3 } as const;
const normalisation = data.normalisationOf(faces.train, input.channels);
const batches = new data.Batches(faces.train, { ...input, batch: 32, normalisation });
const net = models.createModel('vgg11_bn', { ...input, classes: 7, width: 1 / 8, head: 'fastai', pool: 1, seed: 1 });
const optimizer = new optim.AdamW(net.parameters().values(), { weightDecay: 0.01 });

for (let epoch = 0; epoch < 4; epoch++) {
  const order = batches.order(1, epoch);
  const losses = [];
  for (let n = 0; n + 32 <= order.length; n += 32) {
    const loss = await step(() => {
      const { x, labels } = batches.take(order.subarray(n, n + 32));
      const loss = ops.crossEntropy(net.forward(x), labels);
      loss.backward();
      optimizer.step({ lr: 0.002, momentum: 0.9 });
      return loss;
    });
    losses.push(loss);
  }
  const values = await Promise.all(losses.map((loss) => loss.item()));
  console.log(`epoch ${epoch + 1}: loss ${values.reduce((sum, value) => sum + value) / values.length}`);
}
gpu.close();
