import { kernel } from '../src/core/kernel.ts';
import { Tensor } from '../src/core/tensor.ts';
import type { Gpu } from '../src/gpu/gpu.ts';
import type { Recording } from '../src/gpu/stream.ts';
import { type Pace, timeRecording } from './harness.ts';

/** What an adapter can do at most, measured: no kernel of ours is faster than its roofline. */
export interface Ceilings {
  /** Multiplications and additions, 10⁹ a second. */
  gflops: number;
  /** The sweep's winner: `4 chains, 64 invocations`. */
  gflopsBy: string;
  /** Bytes read and written, 10⁹ a second, by the largest copy: main memory. */
  gbps: number;
  gbpsBy: string;
  /** The same by bytes moved, from the smallest copy to the largest: small ones may fit into caches, and are short against a dispatch. */
  copies: { bytes: number; gbps: number }[];
  /**
   * A dispatch that does next to nothing: the median of one of IDLE workgroups, for it varies, and the least of that and of a single
   * workgroup, which nothing is below.
   */
  dispatch: { ms: number; bestMs: number };
}

const CHAINS = [4, 8, 16] as const;
const GROUPS = [64, 256] as const;
/** What copies: vec4s by each invocation, and invocations of a workgroup; the last is what the engine takes on software adapters. */
const COPIERS = [
  [1, 64],
  [1, 256],
  [4, 64],
  [4, 256],
  [16, 256],
  [64, 8],
] as const;
const OPERATIONS_A_ROUND = 256;
const ROUNDS = 64;
/** Invocations: enough to fill the adapter, few enough for some milliseconds. */
const INVOCATIONS = { software: 2 ** 14, hardware: 2 ** 20 };
/** Workgroups of a dispatch that is timed for its own sake: enough to wake all cores of a software adapter. */
const IDLE = 16;
/** Sizes of what is copied; twice that is moved. */
const COPY_BYTES = { software: [14, 16, 18, 20, 22, 24, 26], hardware: [14, 16, 18, 20, 22, 24, 26, 28] };

/**
 * Measures the multiply-add peak as the best of a fixed sweep (4, 8, 16 chains of vec4 × 64, 256 invocations a workgroup) and the
 * bandwidth of a copy of vec4s, by size, as the best of another. These are ceilings, so the fastest batch counts, not the median one,
 * and no copy takes longer than a larger one.
 */
export async function measureCeilings(gpu: Gpu, pace: Pace): Promise<Ceilings> {
  const kind = gpu.adapter.software ? 'software' : 'hardware';
  // Six at each of seven sizes: less of each.
  const copyPace = { ...pace, caseMs: pace.caseMs / 2 };

  const n = INVOCATIONS[kind];
  const out = Tensor.empty([n]);
  let peak = { gflops: 0, gflopsBy: '' };
  for (const chains of CHAINS) {
    const run = kernel('bench/peak', `chains${chains}`);
    for (const GROUP of GROUPS) {
      const params = { n, rounds: ROUNDS, scale: 0.999, shift: 0.001 };
      const recording = gpu.stream.capture(() => run({ GROUP }, { out }, params, n));
      const { bestMs } = await timeRecording(gpu, recording, pace);
      const gflops = (n * ROUNDS * OPERATIONS_A_ROUND) / bestMs / 1e6;
      if (gflops > peak.gflops) peak = { gflops, gflopsBy: `${chains} vec4 chains, ${GROUP} invocations` };
    }
  }
  out.free('the benchmark');

  const copies: Ceilings['copies'] = [];
  let gbpsBy = '';
  let largerMs = Number.POSITIVE_INFINITY;
  for (const exponent of COPY_BYTES[kind].toReversed()) {
    const sizeBytes = 2 ** exponent;
    if (sizeBytes > gpu.limits.maxStorageBufferBindingSize) continue;
    const [x, y] = [Tensor.zeros([sizeBytes / 4]), Tensor.empty([sizeBytes / 4])];
    let fastest = { ms: Number.POSITIVE_INFINITY, by: '' };
    for (const [each, group] of COPIERS) {
      const { bestMs } = await timeRecording(gpu, captureCopy(gpu, x, y, each, group), copyPace);
      if (bestMs < fastest.ms) fastest = { ms: bestMs, by: `${each} vec4 by each of ${group} invocations` };
    }
    // The largest copy comes first.
    gbpsBy ||= fastest.by;
    largerMs = Math.min(largerMs, fastest.ms);
    copies.unshift({ bytes: 2 * sizeBytes, gbps: (2 * sizeBytes) / largerMs / 1e6 });
    for (const tensor of [x, y]) tensor.free('the benchmark');
    await gpu.trim();
  }

  const idle = async (workgroups: number) => {
    const [x, y] = [Tensor.zeros([4 * workgroups]), Tensor.empty([4 * workgroups])];
    const timing = await timeRecording(gpu, captureCopy(gpu, x, y, 1, 1), pace);
    for (const tensor of [x, y]) tensor.free('the benchmark');
    return timing;
  };
  const [one, several] = [await idle(1), await idle(IDLE)];
  const dispatch = { ms: several.ms, bestMs: Math.min(one.bestMs, several.bestMs) };
  return { ...peak, gbps: copies.at(-1)!.gbps, gbpsBy, copies, dispatch };
}

function captureCopy(gpu: Gpu, x: Tensor, out: Tensor, EACH: number, GROUP: number): Recording {
  const n = x.size / 4;
  const invocations = Math.ceil(n / EACH / GROUP) * GROUP;
  return gpu.stream.capture(() => kernel('bench/copy', 'copy')({ EACH, GROUP }, { x, out }, { n }, invocations));
}

/** Time of a copy that moves `bytes` in all, on the line between the two measured ones nearest in size. */
export function copyMs({ copies, dispatch }: Ceilings, bytes: number): number {
  const points = [
    { bytes: 0, ms: dispatch.bestMs },
    ...copies.map((copy) => ({ bytes: copy.bytes, ms: copy.bytes / copy.gbps / 1e6 })),
  ];
  const after = points.findIndex((point) => point.bytes > bytes);
  if (after < 0) return bytes / copies.at(-1)!.gbps / 1e6;
  const [low, high] = [points[after - 1]!, points[after]!];
  return low.ms + ((bytes - low.bytes) / (high.bytes - low.bytes)) * (high.ms - low.ms);
}

/** The least time that this much arithmetic and these many bytes take: the roofline. */
export const leastMs = (ceilings: Ceilings, flops: number, bytes: number): number =>
  Math.max(flops / ceilings.gflops / 1e6, copyMs(ceilings, bytes));
