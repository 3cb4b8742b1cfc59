// Whether a variant computes on this device what it should: held against a kernel in which little can go wrong, on noise.
import { GpuError, LossError, MemoryError } from '../../core/errors.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import type { Pipeline } from '../../gpu/pipeline.ts';
import { planOf } from './plan.ts';
import { deviation, fillWithNoise, type Runner, type Trial, type Tunable } from './trial.ts';

/** Which variants are still to be checked before they may compute, or, on hardware, before they do so for the first time. */
export class FirstUses {
  private readonly gpu: Gpu;
  private readonly verified: Map<string, readonly string[]>;
  private readonly firsts = new Set<string>();

  constructor(gpu: Gpu, verified: Map<string, readonly string[]>) {
    this.gpu = gpu;
    this.verified = verified;
  }

  /** Has what the choice and the checks need compiled in the background; returns what is not compiled yet. */
  compile(problem: Tunable): Pipeline[] {
    const open = this.open(problem);
    const choice = problem.choose();
    // A choice is checked on the first of its problems alone.
    const first = `${problem.family} ${choice}`;
    const needed = open.some((name) => name !== choice || !this.firsts.has(first));
    this.firsts.add(first);
    const names = [choice, ...open, needed ? problem.references[0] : undefined];
    return problem.compile(
      this.gpu,
      names.filter((name) => name !== undefined),
    );
  }

  /** The variants of a problem that are to be checked. */
  open(problem: Tunable): string[] {
    const { name, family, unverified, references } = problem;
    const plan = planOf(this.gpu);
    const open = unverified.filter((variant) => !this.verified.get(name)?.includes(variant));
    const choice = problem.choose();
    const isNew = !references.includes(choice) && !plan.trusts(family, choice, true);
    if (isNew && !this.gpu.adapter.software) open.push(choice);
    return open.filter((variant) => plan.trusts(family, variant, false));
  }

  /** Checks those of a problem; where the choice is wrong, so is, maybe, the next one. */
  async check(problem: Tunable, interrupted: () => boolean, warnings: string[]): Promise<void> {
    const never = () => false;
    for (let open = this.open(problem); open.length > 0 && !interrupted(); open = this.open(problem)) {
      await judged(this.gpu, problem, open, never, warnings, async () => {});
      this.keep(problem, open);
    }
  }

  /** Remembers those that were found right. */
  keep({ name, family }: Tunable, variants: readonly string[]): void {
    const plan = planOf(this.gpu);
    const known = new Set([...(this.verified.get(name) ?? []), ...variants]);
    const right = [...known].filter((variant) => plan.trusts(family, variant, true));
    if (right.length > 0) this.verified.set(name, right);
  }
}

async function staged<T>(
  gpu: Gpu,
  problem: Tunable,
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

/**
 * Runs the variants called `names`, says of each to the plan whether it may be used, and calls `use` with those that are right: whose
 * results are those of the problem's reference. Where there are none, it is the reference that is doubted, and held, with the
 * others, against the next one, in the end against the definition. Where it is `over`, the rest is neither right nor wrong.
 */
export async function judged<T>(
  gpu: Gpu,
  problem: Tunable,
  names: readonly string[],
  over: () => boolean,
  warnings: string[],
  use: (right: Runner[], trial: Trial) => Promise<T>,
): Promise<T> {
  const { name, family } = problem;
  const plan = planOf(gpu);
  const references = problem.references.filter((reference) => plan.trusts(family, reference, false));
  for (const [i, reference] of references.entries()) {
    const last = i + 1 === references.length;
    const outcome = await staged(gpu, problem, [...references.slice(0, i + 1), ...names], async (trial) => {
      const fault = await referenceFault(gpu, trial, reference);
      if (fault !== null && last) throw new GpuError(`The kernel '${reference}' for ${name} ${fault}.`);
      const faults = fault === null ? await faultsOf(gpu, trial, reference, over) : new Map<Runner, string | null>();
      const noneIsRight = faults.size > 0 && [...faults.values()].every((found) => found !== null);
      if (!last && (fault !== null || noneIsRight)) return null;
      for (const [runner, found] of faults) judge(gpu, problem, runner, found, warnings);
      const right = trial.runners.filter((runner) => runner.name === reference || faults.get(runner) === null);
      return {
        used: await use(
          right.filter((runner) => names.includes(runner.name)),
          trial,
        ),
      };
    });
    if (outcome) return outcome.used;
  }
  throw new GpuError(`There is no kernel for ${name} that others could be held against.`);
}

/** Tells the plan what was found out about a runner. */
export function judge(gpu: Gpu, problem: Tunable, runner: Runner, fault: string | null, warnings: string[]): void {
  const { name, family } = problem;
  if (fault !== null)
    warnings.push(`The kernel '${runner.name}' is not used on ${gpu.adapter.name}: for ${name} it ${fault}.`);
  planOf(gpu).trust(family, runner.name, runner.unverified, fault === null);
}

/** Has the reference's result in `want`, and says what is wrong with it as far as it shows by itself; null where nothing does. */
async function referenceFault(gpu: Gpu, { runners, result, want }: Trial, reference: string): Promise<string | null> {
  const { recording } = runners.find(({ name }) => name === reference)!;
  return unlessRefused(async () => {
    fillWithNoise(result, 1000);
    gpu.stream.replay(recording);
    gpu.stream.copy(result.storage, want.storage);
    // It is no further from itself than nothing, but where it has no finite size.
    return (await deviation(want, want)) === 0 ? null : 'gives numbers that are not finite, or nothing but zeros';
  });
}

/** What is wrong with each of the others, null where nothing is; those for which there was time until `over`. */
async function faultsOf(
  gpu: Gpu,
  trial: Trial,
  reference: string,
  over: () => boolean,
): Promise<Map<Runner, string | null>> {
  const faults = new Map<Runner, string | null>();
  for (const runner of trial.runners) {
    if (runner.name === reference) continue;
    if (over()) break;
    faults.set(runner, await faultOf(gpu, runner, trial));
  }
  return faults;
}

/** What is wrong with the last result of a runner that runs `repeats` times in a row; null where nothing is. */
export async function faultOf(
  gpu: Gpu,
  { recording }: Runner,
  { result, want }: Trial,
  repeats = 1,
): Promise<string | null> {
  return unlessRefused(async () => {
    // Over noise: what a kernel leaves out must not look right because another one has written it.
    fillWithNoise(result, 1000);
    for (let i = 0; i < repeats; i++) gpu.stream.replay(recording);
    const off = await deviation(result, want);
    return off <= 1 ? null : `is off by ${off.toPrecision(2)} times what rounding explains`;
  });
}

/** What `fault` finds; that a kernel does not run, where the device refuses it. A lack of memory or a lost device is no fault of it. */
async function unlessRefused(fault: () => Promise<string | null>): Promise<string | null> {
  try {
    return await fault();
  } catch (error) {
    if (!(error instanceof GpuError) || error instanceof MemoryError || error instanceof LossError) throw error;
    return `does not run (${error.message.split('\n', 1)[0]})`;
  }
}
