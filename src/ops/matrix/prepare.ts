import { GpuError } from '../../core/errors.ts';
import { Tensor } from '../../core/tensor.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import { planOf } from './plan.ts';
import { deviation, fillWithNoise, type Met, meet, type Runner, type Trial } from './trial.ts';
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
  /** Doubted variants that earlier runs found right on this adapter, by problem; those found now are added. They are not checked again. */
  found?: Map<string, readonly string[]>;
  /** Time for one problem's race, and for all of them; where it is over, problems keep their unmeasured choice this time. */
  problemMs?: number;
  totalMs?: number;
}

export interface Prepared {
  /** The problems that were met, in order. */
  problems: readonly string[];
  /** Problems whose doubted variants were checked now. */
  checked: number;
  /** Problems whose variants were timed now. */
  timed: number;
  elapsedMs: number;
  /** Variants that compute something else on this device, a line each; they are not used. */
  warnings: string[];
}

const TOTAL_MS = 15_000;
/** A batch of runs is long against what a wait is off by; on software adapters waits are coarser. */
const PACE = { software: { batchMs: 12, problemMs: 250 }, hardware: { batchMs: 4, problemMs: 200 } };
const MIN_ROUNDS = 2;
const MAX_ROUNDS = 8;
const MAX_REPEATS = 1000;
/** Slower than the fastest by this after a round, and a variant is out of the race. */
const HOPELESS = 3;
/** As much faster than the unmeasured choice must another be: less is noise, and plans that flip help nobody. */
const MARGIN = 0.97;

/**
 * Finds out which variants compute what `body` does, before that is done in earnest: `body` records a step that is then thrown
 * away (`rehearse`), or any other work.
 *
 * Doubted variants are checked first, on problems like those that were met, with noise in place of the tensors; without having
 * passed here they are never used. With `winners`, each problem that has several candidates and no remembered winner is then put
 * to a race: each candidate's result is held against that of the unmeasured choice, and the fastest of those that agree is the
 * problem's variant from now on. Everything that has to be compiled is compiled side by side first.
 */
export async function prepare(gpu: Gpu, body: () => unknown, options: PrepareOptions = {}): Promise<Prepared> {
  const started = performance.now();
  const { winners, found = new Map<string, readonly string[]>(), totalMs = TOTAL_MS } = options;
  const warnings: string[] = [];
  const met = await problemsOf(gpu, body, (problem) => toCompile(problem, winners, found));
  const plan = planOf(gpu);
  for (const { name, family, doubted } of met) {
    for (const variant of found.get(name) ?? []) if (doubted.includes(variant)) plan.trust(family, variant, true);
  }
  let checked = 0;
  for (const problem of met) {
    const known = found.get(problem.name) ?? [];
    const open = problem.doubted.filter((name) => !known.includes(name) && plan.trusts(problem.family, name, false));
    if (open.length === 0) continue;
    await checkDoubted(gpu, problem, open, warnings);
    const right = problem.doubted.filter((name) => plan.trusts(problem.family, name, true));
    if (right.length > 0) found.set(problem.name, right);
    checked++;
  }
  let timed = 0;
  for (const problem of winners ? met : []) {
    const remembered = winners!.get(problem.name);
    if (remembered && sameNames(remembered.of, problem.candidates)) {
      plan.follow([[problem.name, remembered.variant]]);
      continue;
    }
    const names = problem.candidates.filter((name) =>
      plan.trusts(problem.family, name, problem.doubted.includes(name)),
    );
    if (names.length < 2 || performance.now() - started > totalMs) continue;
    const variant = await race(gpu, problem, names, options.problemMs, warnings);
    winners!.set(problem.name, { variant, of: problem.candidates });
    plan.follow([[problem.name, variant]]);
    timed++;
  }
  return { problems: met.map(({ name }) => name), checked, timed, elapsedMs: performance.now() - started, warnings };
}

const sameNames = (a: readonly string[], b: readonly string[]): boolean =>
  [...a].sort().join() === [...b].sort().join();

/** The candidates that have to be compiled beside the one that `body` itself uses: those to check or to time, and the one to take. */
function toCompile(
  { name, candidates, doubted }: Met,
  winners: ReadonlyMap<string, Winner> | undefined,
  found: ReadonlyMap<string, readonly string[]>,
): readonly string[] {
  const open = doubted.filter((variant) => !found.get(name)?.includes(variant));
  const remembered = winners?.get(name);
  if (remembered && sameNames(remembered.of, candidates)) return [...new Set([...open, remembered.variant])];
  if (winners) return candidates.length > 1 ? candidates : [];
  return [...open, ...candidates.filter((variant) => !open.includes(variant)).slice(0, 1)];
}

/** Each problem that comes up in `body`, once. */
async function problemsOf(gpu: Gpu, body: () => unknown, compiled: (met: Met) => readonly string[]): Promise<Met[]> {
  const found = new Map<string, Met>();
  watchProblems((name, family, problem) => {
    if (found.has(name) || family.result(problem).storage.gpu !== gpu) return;
    const met = meet(name, family, problem);
    found.set(name, met);
    met.compile(gpu, compiled(met));
  });
  try {
    await body();
  } finally {
    watchProblems(null);
  }
  return [...found.values()];
}

/** Runs `open`, doubted candidates of a problem, against the best of the others, and says of each whether it may be used. */
async function checkDoubted(gpu: Gpu, problem: Met, open: readonly string[], warnings: string[]): Promise<void> {
  const reference = problem.candidates.find((name) => !problem.doubted.includes(name));
  if (reference === undefined) return;
  await staged(gpu, problem, [reference, ...open], async ({ runners, result }) => {
    const known = runners.find(({ name }) => name === reference)!;
    await agreeing(gpu, problem, runners, known, result, warnings);
  });
}

async function staged<T>(
  gpu: Gpu,
  problem: Met,
  names: readonly string[],
  use: (trial: Trial) => Promise<T>,
): Promise<T> {
  const trial = problem.stage(gpu, names);
  try {
    return await use(trial);
  } finally {
    await gpu.stream.finish();
    trial.free();
  }
}

/** The runners whose results are those of `reference`, itself included; the plan trusts the others no more. */
async function agreeing(
  gpu: Gpu,
  { name: problem, family }: Met,
  runners: readonly Runner[],
  reference: Runner,
  result: Tensor,
  warnings: string[],
): Promise<Runner[]> {
  const plan = planOf(gpu);
  const want = Tensor.empty(result.shape, result.dtype);
  const right = [reference];
  try {
    gpu.stream.replay(reference.recording);
    gpu.stream.copy(result.storage, want.storage);
    // On its own: what is flushed together with a kernel that does not compile does not run.
    await gpu.stream.flush();
    for (const runner of runners.filter((one) => one !== reference)) {
      const fault = await faultOf(gpu, runner, result, want);
      if (fault === null) right.push(runner);
      else warnings.push(`The kernel '${runner.name}' is not used on ${gpu.adapter.name}: for ${problem} it ${fault}.`);
      if (runner.doubted || fault !== null) plan.trust(family, runner.name, fault === null);
    }
  } finally {
    want.free('the check of its variants');
  }
  return runners.filter((runner) => right.includes(runner));
}

/** What is wrong with a runner; null where nothing is. */
async function faultOf(gpu: Gpu, { recording }: Runner, result: Tensor, want: Tensor): Promise<string | null> {
  try {
    // Over noise: what a kernel leaves out must not look right because another one has written it.
    fillWithNoise(result, 1000);
    gpu.stream.replay(recording);
    const off = await deviation(result, want);
    return off <= 1 ? null : `is off by ${off.toPrecision(2)} times what rounding explains`;
  } catch (error) {
    if (!(error instanceof GpuError)) throw error;
    return `does not run (${error.message.split('\n', 1)[0]})`;
  }
}

/**
 * Times the candidates called `names` in turn, several times over, and returns the one with the fastest batch: what else the machine
 * does only ever makes a batch longer.
 */
async function race(
  gpu: Gpu,
  problem: Met,
  names: readonly string[],
  limitMs: number | undefined,
  warnings: string[],
): Promise<string> {
  const { batchMs, problemMs } = gpu.adapter.software ? PACE.software : PACE.hardware;
  return staged(gpu, problem, names, async ({ runners, result }) => {
    const unmeasured = runners.find(({ name, doubted }) => name === names[0] && !doubted);
    const reference = unmeasured ?? runners.find(({ doubted }) => !doubted) ?? runners[0]!;
    const right = await agreeing(gpu, problem, runners, reference, result, warnings);
    if (right.length === 1) return right[0]!.name;
    const entrants: { runner: Runner; ms: number }[] = [];
    for (const runner of right) entrants.push({ runner, ms: await timeOf(gpu, runner, 1) });
    const end = performance.now() + (limitMs ?? problemMs);
    let running = entrants;
    for (let round = 0; round < MIN_ROUNDS || (round < MAX_ROUNDS && performance.now() < end); round++) {
      for (const entrant of running) {
        const repeats = Math.min(MAX_REPEATS, Math.max(1, Math.round(batchMs / entrant.ms)));
        entrant.ms = Math.min(entrant.ms, await timeOf(gpu, entrant.runner, repeats));
      }
      const best = Math.min(...running.map(({ ms }) => ms));
      running = running.filter(({ ms }) => ms <= HOPELESS * best);
      if (running.length === 1) break;
    }
    gpu.check();
    const handicapped = running.map(({ runner: { name }, ms }) => ({ name, ms: name === names[0] ? MARGIN * ms : ms }));
    return handicapped.sort((a, b) => a.ms - b.ms)[0]!.name;
  });
}

/** Milliseconds of one run, of `repeats` in one submit. */
async function timeOf(gpu: Gpu, { recording }: Runner, repeats: number): Promise<number> {
  const started = performance.now();
  for (let i = 0; i < repeats; i++) gpu.stream.replay(recording);
  await gpu.stream.finish();
  return (performance.now() - started) / repeats;
}
