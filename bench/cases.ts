import type { Shape } from '../src/core/shape.ts';
import { sizeOf } from '../src/core/shape.ts';
import { noGrad } from '../src/core/tape.ts';
import { Tensor } from '../src/core/tensor.ts';
import type { Gpu } from '../src/gpu/gpu.ts';
import type { Recording } from '../src/gpu/stream.ts';
import { planOf } from '../src/ops/matrix/plan.ts';
import { type Kernels, prepareKernels } from '../src/train/kernels.ts';
import { type Ceilings, copyMs, leastMs } from './ceilings.ts';
import { type Check, type Expected, firstWrong } from './expected.ts';
import { noise, type Pace, timeRecording } from './harness.ts';
import type { CaseResult, WrongCase } from './result.ts';

/** What is said of a case. */
export interface Facts {
  name: string;
  shape: string;
  /** Multiplications and additions. */
  flops: number;
  /** Bytes that it cannot do without: operands once (twice where a sum over all of them comes first), results once. */
  bytes: number;
  /** Part of `--quick`. */
  quick: boolean;
}

/** One operation at one shape. */
export interface Case extends Facts {
  prepare(gpu: Gpu): Promise<Prepared>;
}

/** Work that is ready to run, any number of times. */
export interface Prepared {
  recording: Recording;
  /** How often it runs before it is checked. Default: once. */
  runs?: number;
  /** What holds after that. */
  checks: readonly Check[];
  /** All that was made for it. */
  tensors: readonly Tensor[];
}

/** A function of some tensors, which are filled with noise. */
export interface Operation<K extends string> {
  inputs: Readonly<Record<K, Shape>>;
  /** Makes what else it takes: uploads are no part of what is timed. */
  labels?: () => Tensor;
  run(tensors: Readonly<Record<K, Tensor>>, labels: Tensor | null): Tensor;
}

/** The values of the inputs by name, and of `dy` where there is one. */
export type Data<K extends string> = Readonly<Record<K | 'dy', Float32Array>>;

function draw<K extends string>(shapes: Readonly<Record<K, Shape>>): [Record<K, Tensor>, Record<K, Float32Array>] {
  const data = {} as Record<K, Float32Array>;
  const tensors = {} as Record<K, Tensor>;
  for (const [seed, name] of (Object.keys(shapes) as K[]).entries()) {
    data[name] = noise(sizeOf(shapes[name]), seed);
    tensors[name] = Tensor.from(data[name], shapes[name]);
  }
  return [tensors, data];
}

const present = (...tensors: (Tensor | null)[]): Tensor[] => tensors.filter((tensor) => tensor !== null);

/** Times the forward pass without a tape. `expected` gives an element of the result. */
export function forwardCase<K extends string>(
  facts: Facts,
  operation: Operation<K>,
  ulps: number,
  expected: (data: Data<K>, index: number) => Expected,
): Case {
  const prepare = async (gpu: Gpu): Promise<Prepared> => {
    const [inputs, data] = draw(operation.inputs);
    const labels = operation.labels?.() ?? null;
    let y: Tensor | undefined;
    const recording = gpu.stream.capture(() => {
      y = noGrad(() => operation.run(inputs, labels));
    });
    const checks = [{ name: 'y', tensor: y!, expected: (i: number) => expected(data as Data<K>, i), ulps }];
    return { recording, checks, tensors: present(...Object.values<Tensor>(inputs), labels, y!) };
  };
  return { ...facts, prepare };
}

/**
 * Times the backward pass alone, for the gradients of the inputs that `expected` names: it gives elements of them. The third
 * argument is the forward pass's result, as the kernels computed it.
 */
export function backwardCase<K extends string>(
  facts: Facts,
  operation: Operation<K>,
  ulps: number,
  expected: { [N in K]?: (data: Data<K>, index: number, y: Float32Array) => Expected },
): Case {
  const prepare = async (gpu: Gpu): Promise<Prepared> => {
    const [inputs, data] = draw(operation.inputs);
    const wanted = Object.keys(expected) as K[];
    for (const name of wanted) inputs[name].requiresGrad = true;
    const labels = operation.labels?.() ?? null;
    const y = operation.run(inputs, labels);
    const dyData = noise(y.size, 100);
    const dy = Tensor.from(dyData, y.shape);
    const yData = await y.read();
    const recording = gpu.stream.capture(() => y.backward(dy));
    const gradients = wanted.map((name) => inputs[name].grad!);
    const all = { ...data, dy: dyData } as Data<K>;
    const checks = wanted.map((name, i) => ({
      name: `d${name}`,
      tensor: gradients[i]!,
      expected: (index: number) => expected[name]!(all, index, yData),
      ulps,
    }));
    return { recording, checks, tensors: present(...Object.values<Tensor>(inputs), labels, y, dy, ...gradients) };
  };
  return { ...facts, prepare };
}

/** Gives back what a case made. */
async function release(gpu: Gpu, { tensors }: Prepared): Promise<void> {
  await gpu.stream.finish();
  for (const tensor of tensors) tensor.free('the benchmark');
  await gpu.trim();
}

/** Checks a kernel, then times it: one that is wrong is never timed. */
export async function measureCase(
  gpu: Gpu,
  entry: Case,
  ceilings: Ceilings,
  pace: Pace,
  kernels: Kernels,
): Promise<CaseResult | WrongCase> {
  const { name, shape, flops, bytes } = entry;
  const { problems, lines } = await prepareKernels(gpu, async () => release(gpu, await entry.prepare(gpu)), kernels);
  for (const line of lines) console.log(line);
  const prepared = await entry.prepare(gpu);
  try {
    for (let i = 0; i < (prepared.runs ?? 1); i++) gpu.stream.replay(prepared.recording);
    const wrong = await firstWrong(prepared.checks);
    if (wrong) return { name, shape, wrong };
    const { ms, spread, repeats } = await timeRecording(gpu, prepared.recording, pace);
    // What a case is about comes last: its gradient, after the forward pass.
    const variant = planOf(gpu)
      .used()
      .get(problems.at(-1) ?? '');
    const byArithmetic = flops / ceilings.gflops / 1e6 > copyMs(ceilings, bytes);
    const rate = byArithmetic ? { gflops: flops / ms / 1e6 } : { gbps: bytes / ms / 1e6 };
    return {
      name,
      shape,
      ...(variant && { variant }),
      ms,
      spread,
      repeats,
      ...rate,
      share: leastMs(ceilings, flops, bytes) / ms,
    };
  } finally {
    await release(gpu, prepared);
  }
}
