import { step } from '../src/core/step.ts';
import { currentGpu, useGpu } from '../src/gpu/gpu.ts';
import type { Recording } from '../src/gpu/stream.ts';
import { openForBench } from './gpu.ts';
import { type Pace, timeRepeats } from './harness.ts';
import { Network } from './network.ts';

/** What the host does for a training step, measured on Dawn's null backend, which computes nothing. */
export interface HostResult {
  /** A whole step of VGG16_bn: tape, shapes, pool, recording, encoding, submit. */
  msPerStep: number;
  dispatches: number;
  usPerDispatch: number;
  /** The part of it that a recorded step would still cost: encoding and submit. */
  encodeUsPerDispatch: number;
}

/** Times the host. The sizes do not matter to it, so they are small. */
export async function measureHost(pace: Pace): Promise<HostResult> {
  const before = currentGpu();
  const { gpu } = await openForBench('null');
  try {
    const { stream } = gpu;
    const network = new Network({ batch: 4, width: 0.125 });
    const whole = await timeRepeats(async (repeats) => {
      for (let i = 0; i < repeats; i++) await network.train();
      await stream.finish();
    }, pace);
    let recording: Recording = [];
    await step(() => {
      recording = stream.capture(() => network.record());
    });
    const start = stream.stats.dispatches;
    const replay = async (repeats: number) => {
      for (let i = 0; i < repeats; i++) {
        stream.replay(recording);
        await stream.flush();
      }
      await stream.finish();
    };
    await replay(1);
    const dispatches = stream.stats.dispatches - start;
    const encoding = await timeRepeats(replay, pace);
    return {
      msPerStep: whole.ms,
      dispatches,
      usPerDispatch: (1000 * whole.ms) / dispatches,
      encodeUsPerDispatch: (1000 * encoding.ms) / dispatches,
    };
  } finally {
    gpu.close();
    useGpu(before);
  }
}
