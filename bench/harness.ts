import type { Gpu } from '../src/gpu/gpu.ts';
import type { Recording } from '../src/gpu/stream.ts';

/** How long a measurement may take. */
export interface Pace {
  /** Time of one batch of repetitions: long against the milliseconds that a wait is off by. */
  batchMs: number;
  /** Time of all batches of a case. */
  caseMs: number;
}

export interface Timing {
  /** Median over the batches, for one repetition. */
  ms: number;
  /** The fastest batch, for one repetition. */
  bestMs: number;
  /** Half the distance between the quartiles, as a share of the median. */
  spread: number;
  /** Repetitions that were timed. */
  repeats: number;
}

const MIN_BATCHES = 3;
const MAX_BATCHES = 100;
const MAX_REPEATS = 10_000;
const GUESSES = 3;

/** The value at `share` (0 to 1) of the sorted values, interpolated. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = share * (sorted.length - 1);
  const low = sorted[Math.floor(at)]!;
  return low + (at - Math.floor(at)) * (sorted[Math.ceil(at)]! - low);
}

export const median = (values: readonly number[]): number => quantile(values, 0.5);

/**
 * Times `run`, which does its work `repeats` times and resolves when all of it is done.
 *
 * A first call, not timed, compiles what has to be compiled; a few more say roughly how long one repetition takes. Then batches of as
 * many repetitions as fill `batchMs` run until `caseMs` are over, three of them at least; but work that is slower than the whole
 * case's time is only timed once more.
 */
export async function timeRepeats(run: (repeats: number) => Promise<void>, { batchMs, caseMs }: Pace): Promise<Timing> {
  const timed = async (repeats: number): Promise<number> => {
    const started = performance.now();
    await run(repeats);
    return (performance.now() - started) / repeats;
  };
  await run(1);
  let once = await timed(1);
  if (once > caseMs) {
    const ms = Math.min(once, await timed(1));
    return { ms, bestMs: ms, spread: 0, repeats: 2 };
  }
  // The first guess counts the wait itself; those over more repetitions much less of it. The least counts: any of them may fall into
  // a moment in which others have the processor, and batches that are too short would be mostly waits.
  for (let guess = 0; guess < GUESSES && (guess === 0 || once < batchMs / 2); guess++) {
    once = Math.min(once, await timed(Math.min(MAX_REPEATS, Math.ceil(batchMs / 2 / once))));
  }
  const repeats = Math.min(MAX_REPEATS, Math.max(1, Math.round(batchMs / once)));
  const times: number[] = [];
  const end = performance.now() + caseMs;
  while (times.length < MIN_BATCHES || (performance.now() < end && times.length < MAX_BATCHES)) {
    times.push(await timed(repeats));
  }
  const ms = median(times);
  const spread = (quantile(times, 0.75) - quantile(times, 0.25)) / 2 / ms;
  return { ms, bestMs: Math.min(...times), spread, repeats: times.length * repeats };
}

/**
 * Times recorded GPU work: the repetitions of a batch stand in one pass of one submit, and each one overwrites the results of the
 * one before, so that none of them starts before the other has ended.
 */
export const timeRecording = (gpu: Gpu, recording: Recording, pace: Pace): Promise<Timing> =>
  timeRepeats(async (repeats) => {
    for (let i = 0; i < repeats; i++) gpu.stream.replay(recording);
    await gpu.stream.finish();
    gpu.check();
  }, pace);

/** Evenly distributed numbers in [−1, 1), the same for the same seed (xorshift32). */
export function noise(length: number, seed: number): Float32Array {
  const values = new Float32Array(length);
  let state = (Math.imul(seed + 1, 0x9e3779b9) | 1) >>> 0;
  for (let i = 0; i < length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    values[i] = state / 2 ** 31; // `^` gives a signed number
  }
  return values;
}
