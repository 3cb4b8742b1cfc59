// This project's training step, as `npm run train` does it.

import { versions } from '../../src/cli/version.ts';
import { prepareKernels } from '../../src/train/kernels.ts';
import { openForBench } from '../gpu.ts';
import { Network } from '../network.ts';
import { serve, taskOf } from './serve.ts';

const { adapter, batch, width } = taskOf(process.argv);
const { gpu } = await openForBench(adapter);
const network = new Network({ batch, width });
await prepareKernels(gpu, () => network.rehearse(), 'fastest');
await serve(versions().dawngrad, async () => {
  const loss = await (await network.train()).item();
  await gpu.stream.finish();
  return loss;
});
