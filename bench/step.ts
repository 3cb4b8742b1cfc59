import type { Gpu } from '../src/gpu/gpu.ts';
import { Profile } from '../src/gpu/profile.ts';
import { planOf } from '../src/ops/matrix/plan.ts';
import { type Kernels, prepareKernels } from '../src/train/kernels.ts';
import { median, type Pace, timeRepeats } from './harness.ts';
import { Network, type StepShape } from './network.ts';

/** Steps that are profiled. */
const PROFILED = 3;

/** A whole training step, measured. */
export interface StepResult {
  /** `vgg16_bn width 0.25 batch 4, 48 px` */
  name: string;
  batch: number;
  width: number;
  /** Of activations and of the copies of the weights; f32 in results of before there was a choice. */
  precision?: string;
  parameters: number;
  /** Median of whole steps, two in flight as in training. */
  ms: number;
  spread: number;
  msPerImage: number;
  imagesPerSecond: number;
  /** The first step, with all that comes before it: kernels compiled and, the first time on an adapter, tuned. */
  firstMs: number;
  /** Forward passes alone, per image, and their share of a training step's time. */
  evaluationMsPerImage: number;
  evaluationShare: number;
  /** The most memory in use for parameters, state and activations together. */
  peakGpuBytes: number;
  dispatches: number;
  submits: number;
  /** Where a step's time goes, by entry point, the slowest first. */
  kernels: { name: string; calls: number; ms: number }[];
  /** What computes each matrix product and convolution. */
  plan: Record<string, string>;
  /** Why the figures mean nothing, where they do. */
  wrong?: string;
}

/**
 * Times training and evaluation of VGG16_bn. Run it first on a device, so that the first step compiles everything. What a step computes
 * is the tests' business: here its loss has to be a number, and kernels agree with a simpler one where they are tuned.
 */
export async function measureStep(gpu: Gpu, shape: StepShape, pace: Pace, kernels: Kernels): Promise<StepResult> {
  const { batch, width } = shape;
  await gpu.trim();
  const { pool, stream } = gpu;
  const heldBytes = pool.stats.allocatedBytes;
  pool.resetPeak();
  const network = new Network(shape);
  await stream.finish();

  const started = performance.now();
  const { problems, lines } = await prepareKernels(gpu, () => network.rehearse(), kernels);
  for (const line of lines) console.log(line);
  // What was made for the kernels' trials is none of the step's memory.
  await gpu.trim();
  pool.resetPeak();
  await network.train();
  await stream.finish();
  const firstMs = performance.now() - started;

  await network.train();
  await stream.finish();
  const before = { ...stream.stats };
  await network.train();
  await stream.finish();
  const dispatches = stream.stats.dispatches - before.dispatches;
  const submits = stream.stats.submits - before.submits;

  const timing = await timeRepeats(async (repeats) => {
    for (let i = 0; i < repeats; i++) await network.train();
    await stream.finish();
    gpu.check();
  }, pace);
  const peakGpuBytes = pool.stats.peakBytes - heldBytes;

  const profiled = await profiledKernels(gpu, () => network.train());

  const evaluation = await timeRepeats(async (repeats) => {
    for (let i = 0; i < repeats; i++) await network.evaluate();
    await stream.finish();
    gpu.check();
  }, pace);

  const value = await (await network.train()).item();
  return {
    name: nameOf(shape),
    batch,
    width,
    precision: shape.precision ?? 'f32',
    parameters: network.model.parameterCount(),
    ms: timing.ms,
    spread: timing.spread,
    msPerImage: timing.ms / batch,
    imagesPerSecond: (1000 * batch) / timing.ms,
    firstMs,
    evaluationMsPerImage: evaluation.ms / batch,
    evaluationShare: evaluation.ms / timing.ms,
    peakGpuBytes,
    dispatches,
    submits,
    kernels: profiled,
    plan: Object.fromEntries(problems.map((problem) => [problem, planOf(gpu).used().get(problem)!])),
    ...(Number.isFinite(value) ? {} : { wrong: `the loss is ${value}` }),
  };
}

/** Time by entry point, the slowest first: the median of a few steps, for a moment of another process may fall into one. */
async function profiledKernels(gpu: Gpu, train: () => Promise<unknown>): Promise<StepResult['kernels']> {
  const times = new Map<string, { calls: number; ms: number[] }>();
  for (let i = 0; i < PROFILED; i++) {
    const profile = new Profile();
    gpu.stream.profile = profile;
    await train();
    await gpu.stream.finish();
    for (const { label, calls, elapsedMs } of profile.kernels()) {
      const { ms } = times.get(label) ?? { ms: [] };
      times.set(label, { calls, ms: [...ms, elapsedMs] });
    }
  }
  gpu.stream.profile = null;
  return [...times].map(([name, { calls, ms }]) => ({ name, calls, ms: median(ms) })).sort((a, b) => b.ms - a.ms);
}

/** What is usual goes without saying: results of before there was a choice have the same names. */
function nameOf({ batch, width, size = 48, precision = 'f32', augment = 'crop' }: StepShape): string {
  const unusual = [precision === 'f32' ? '' : `, ${precision}`, augment === 'crop' ? '' : `, --augment ${augment}`];
  return `vgg16_bn width ${width} batch ${batch}, ${size} px${unusual.join('')}`;
}
