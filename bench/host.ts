import { currentGpu, useGpu } from '../src/gpu/gpu.ts';
import { openForBench } from './gpu.ts';
import { type Pace, timeRepeats } from './harness.ts';
import { Network } from './network.ts';

/** What the host does for a training step, measured on Dawn's null backend, which computes nothing. */
export interface HostResult {
  /** A whole step of VGG16_bn from its code: tape, shapes, pool, recording, encoding, submit. */
  msPerStep: number;
  dispatches: number;
  usPerDispatch: number;
  /** The same where the recording of an earlier step is encoded and submitted again, as in training. */
  msPerRepeatedStep: number;
  usPerRepeatedDispatch: number;
}

/** Times the host. The sizes do not matter to it, so they are small. */
export async function measureHost(pace: Pace): Promise<HostResult> {
  const before = currentGpu();
  const { gpu } = await openForBench('null');
  try {
    const { stream } = gpu;
    const network = new Network({ batch: 4, width: 0.125 });
    const time = async (train: () => Promise<unknown>) => {
      const { ms } = await timeRepeats(async (repeats) => {
        for (let i = 0; i < repeats; i++) await train();
        await stream.finish();
      }, pace);
      return ms;
    };
    const msPerStep = await time(() => network.trainEagerly());
    const msPerRepeatedStep = await time(network.train);
    const start = stream.stats.dispatches;
    await network.train();
    const dispatches = stream.stats.dispatches - start;
    return {
      msPerStep,
      dispatches,
      usPerDispatch: (1000 * msPerStep) / dispatches,
      msPerRepeatedStep,
      usPerRepeatedDispatch: (1000 * msPerRepeatedStep) / dispatches,
    };
  } finally {
    gpu.close();
    useGpu(before);
  }
}
