import type { Gpu } from '../../gpu/gpu.ts';
import type { Pipeline } from '../../gpu/pipeline.ts';
import { FirstUses, faultOf, judge, judged } from './check.ts';
import { planOf } from './plan.ts';
import { type Runner, type Tunable, tunable } from './trial.ts';
import { watchProblems } from './variant.ts';

/** What a race between variants found. */
export interface Winner {
  variant: string;
  /** The variants that raced: where there are others now, the race is run again. */
  of: readonly string[];
}

export interface PrepareOptions {
  /** Winners of earlier runs by problem; those found now are added. Without it nothing is timed. */
  winners?: Map<string, Winner>;
  /** Variants that earlier runs found right on this adapter, by problem; those found now are added. They are not checked again. */
  verified?: Map<string, readonly string[]>;
  /**
   * Time for one problem's race, and from the start to the end of all of them, what has to be compiled included; where it is
   * over, problems keep their unmeasured choice this time. It is overrun by one run of a kernel at most, the first of
   * which includes its compilation on drivers that put it off until then (lavapipe).
   */
  problemMs?: number;
  totalMs?: number;
  /** Asked again and again: true ends it at the next moment, with what was found by then. */
  interrupted?(): boolean;
}

export interface Prepared {
  /** The problems that were met, in order. */
  problems: readonly string[];
  /** Problems of which variants were checked before their first use. */
  checked: number;
  /** Problems whose variants were timed now. */
  timed: number;
  elapsedMs: number;
  /** Variants that compute something else on this device, a line each; they are not used. */
  warnings: string[];
}

/** Time for the races of a network, unless another is asked for. */
export const RACES_MS = 15_000;
/** A batch of runs is long against what a wait is off by; on software adapters waits are coarser. */
const PACE = {
  software: { batchMs: 12, problemMs: 120, confirmations: 0 },
  hardware: { batchMs: 4, problemMs: 200, confirmations: 4 },
};
/** Pipelines that are compiled side by side for races. They cannot be called back when time is over, and then delay the first step. */
const COMPILED_AT_ONCE = 4;
/** How often a wait looks at the clock and for an interruption. */
const LOOK_MS = 50;
const MIN_ROUNDS = 2;
const MAX_ROUNDS = 8;
const MAX_REPEATS = 1000;
/** Slower than the fastest by this after a round, and a variant is out of the race. */
const HOPELESS = 1.5;
/** As much faster than the unmeasured choice must another be: less is noise, and plans that flip help nobody. */
const MARGIN = 0.97;

/**
 * Finds out which variants compute what `body` does, before that is done in earnest: `body` records a step that is then thrown
 * away (`rehearse`), or any other work.
 *
 * Unverified variants are checked first, on problems like those that were met, with noise in place of the tensors; without having
 * passed here they are never used. On hardware so is each variant that is used for the first time, once. With `winners`, each problem
 * that has several candidates and no remembered winner is then put to a race: each candidate's result is held against that of the
 * simplest kernel that there is, and the fastest of those that agree is the problem's variant from now on.
 *
 * What `body` itself needs is compiled first, all of it side by side, then what the checks need, then what races need, a few
 * pipelines at a time; nothing is timed while anything else of this compiles.
 */
export async function prepare(gpu: Gpu, body: () => unknown, options: PrepareOptions = {}): Promise<Prepared> {
  const started = performance.now();
  const { winners, verified = new Map<string, readonly string[]>(), totalMs = RACES_MS } = options;
  const interrupted = () => options.interrupted?.() ?? false;
  const over = () => performance.now() - started > totalMs || interrupted();
  const warnings: string[] = [];
  const plan = planOf(gpu);
  const met = await problemsOf(gpu, body, (met) => {
    const { name, family, candidates, unverified } = met;
    for (const variant of verified.get(name) ?? [])
      if (candidates.includes(variant)) plan.trust(family, variant, unverified.includes(variant), true);
    const remembered = stillWins(winners?.get(name), met);
    if (remembered) plan.follow([[name, remembered.variant]]);
  });
  const checks = new FirstUses(gpu, verified);
  const needed = met.flatMap((problem) => checks.compile(problem));
  await compiled(needed, interrupted);
  let checked = 0;
  for (const problem of met) {
    if (interrupted()) break;
    if (checks.open(problem).length === 0) continue;
    await checks.check(problem, interrupted, warnings);
    checked++;
  }
  let timed = 0;
  const undecided = met.flatMap((problem) => {
    if (!winners || stillWins(winners.get(problem.name), problem)) return [];
    const names = problem.candidates.filter((name) =>
      plan.trusts(problem.family, name, problem.unverified.includes(name)),
    );
    return names.length < 2 ? [] : [{ problem, names }];
  });
  for (let first = 0, next = 0; first < undecided.length && !over(); first = next) {
    const waiting = new Set<Pipeline>();
    while (next < undecided.length && (waiting.size < COMPILED_AT_ONCE || next === first)) {
      const { problem, names } = undecided[next++]!;
      for (const pipeline of problem.compile(gpu, names)) waiting.add(pipeline);
    }
    await compiled([...waiting], over);
    for (const { problem, names } of undecided.slice(first, next)) {
      if (over()) break;
      const variant = await race(gpu, problem, names, options.problemMs, over, warnings);
      if (variant === null) break;
      winners!.set(problem.name, { variant, of: problem.candidates });
      plan.follow([[problem.name, variant]]);
      checks.keep(problem, [variant]);
      timed++;
    }
  }
  // A run's record and its first checkpoint are to say what computes from now on, and of all problems.
  for (const problem of met) problem.choose();
  // Hundreds of runs of a small kernel in a few milliseconds are no measure of a training step.
  gpu.stream.forgetPace();
  return { problems: met.map(({ name }) => name), checked, timed, elapsedMs: performance.now() - started, warnings };
}

/** Waits until all are compiled, or refused, or `over`. */
async function compiled(pipelines: readonly Pipeline[], over: () => boolean): Promise<void> {
  let settled = false;
  const all = Promise.allSettled(pipelines.map((pipeline) => pipeline.compiled)).then(() => {
    settled = true;
  });
  while (!settled && !over()) {
    let timer: NodeJS.Timeout | undefined;
    const moment = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, LOOK_MS);
    });
    await Promise.race([all, moment]);
    clearTimeout(timer);
  }
}

/** The remembered winner, where the race would be between the same variants now, and what won is one that there is. */
function stillWins(winner: Winner | undefined, { candidates, references }: Tunable): Winner | undefined {
  const among = (names: readonly string[]) => [...names].sort().join();
  const same = winner && among(winner.of) === among(candidates);
  return same && [...candidates, ...references].includes(winner.variant) ? winner : undefined;
}

/** Each problem that comes up in `body`, once; `first` is called with it before its variant is chosen. */
async function problemsOf(gpu: Gpu, body: () => unknown, first: (met: Tunable) => void): Promise<Tunable[]> {
  const found = new Map<string, Tunable>();
  watchProblems((name, family, problem) => {
    if (found.has(name) || family.result(problem).storage.gpu !== gpu) return;
    const met = tunable(name, family, problem);
    found.set(name, met);
    first(met);
  });
  try {
    await body();
  } finally {
    watchProblems(null);
  }
  return [...found.values()];
}

/**
 * Times the candidates called `names` in turn, several times over, and returns the one with the fastest batch: what else the machine
 * does only ever makes a batch longer. On hardware its results are then looked at again, after batches of runs: what goes wrong
 * now and then does so under load. Null where it was `over` before all had been compared.
 */
async function race(
  gpu: Gpu,
  problem: Tunable,
  names: readonly string[],
  limitMs: number | undefined,
  over: () => boolean,
  warnings: string[],
): Promise<string | null> {
  const { batchMs, problemMs, confirmations } = gpu.adapter.software ? PACE.software : PACE.hardware;
  const repeatsFor = (ms: number) => Math.min(MAX_REPEATS, Math.max(1, Math.round(batchMs / ms)));
  return judged(gpu, problem, names, over, warnings, async (right, trial) => {
    if (over()) return null;
    const entrants: { runner: Runner; ms: number }[] = [];
    for (const runner of right) {
      entrants.push({ runner, ms: await timeOf(gpu, runner, 1) });
      if (over()) return null;
    }
    const end = performance.now() + (limitMs ?? problemMs);
    let running = entrants;
    for (let round = 0; round < MIN_ROUNDS || (round < MAX_ROUNDS && performance.now() < end); round++) {
      if (running.length <= 1) break;
      for (const entrant of running) {
        entrant.ms = Math.min(entrant.ms, await timeOf(gpu, entrant.runner, repeatsFor(entrant.ms)));
        if (over()) return null;
      }
      const best = Math.min(...running.map(({ ms }) => ms));
      running = running.filter(({ ms }) => ms <= HOPELESS * best);
    }
    gpu.check();
    const handicapped = entrants.map(({ runner, ms }) => ({ runner, ms: runner.name === names[0] ? MARGIN * ms : ms }));
    for (const { runner, ms } of handicapped.sort((a, b) => a.ms - b.ms)) {
      let fault: string | null = null;
      for (let i = 0; i < confirmations && fault === null; i++) {
        fault = await faultOf(gpu, runner, trial, repeatsFor(ms));
      }
      if (fault === null) return runner.name;
      judge(gpu, problem, runner, fault, warnings);
    }
    return problem.references.at(-1)!;
  });
}

/** Milliseconds of one run, of `repeats` in one submit. */
async function timeOf(gpu: Gpu, { recording }: Runner, repeats: number): Promise<number> {
  const started = performance.now();
  for (let i = 0; i < repeats; i++) gpu.stream.replay(recording);
  await gpu.stream.finish();
  return (performance.now() - started) / repeats;
}
