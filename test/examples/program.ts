import { data, models, openGpu, ops, optim, step, train } from 'dawngrad';

await openGpu();
const set = await data.loadDataset({ data: 'toyfaces' });
const batches = new data.Batches(set.train, { batch: 32, augmentation: data.AUGMENTATIONS.crop });
const evaluator = new train.Evaluator(set.valid, { batch: 32, normalisation: batches.normalisation });
const model = models.createModel('vgg11_bn', { classes: 7, channels: 1, size: 48, width: 0.125, head: 'fastai' });
const optimizer = new optim.AdamW(model.parameters().values(), { weightDecay: 0.01 });
const schedule = optim.oneCycle(0.002);
for (const indices of batches.epochs(6))
  await step(() => {
    const { x, labels } = batches.take(indices);
    ops.crossEntropy(model.train().forward(x), labels).backward();
    optimizer.step(schedule(optimizer.steps, 6 * batches.full));
  });
console.log(`${(100 * (await evaluator.accuracy(model))).toFixed(1)} % right`);
