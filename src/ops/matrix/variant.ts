import type { Tensor } from '../../core/tensor.ts';
import type { Adapter } from '../../gpu/gpu.ts';
import { type Plan, planOf } from './plan.ts';

/** One way to compute a problem of a family. */
export interface Variant<P> {
  /** What plans and `run.json` call it: `lanes`, `tile 64×64×16`. */
  readonly name: string;
  /** True where it gives the right result on the adapter, fast or not. */
  fits(problem: P, adapter: Adapter): boolean;
  /**
   * Its place among those that fit before anything was measured: the lowest is taken. Infinity where it is not even worth a
   * measurement.
   */
  rank(problem: P, adapter: Adapter): number;
  /** Set where drivers are known to get it wrong: then nothing takes it before `prepare` has found it right on the device. */
  readonly unverified?: boolean;
  /**
   * Set where, on hardware, each invocation computes what it writes alone, without workgroup memory and subgroup operations: most of
   * what a driver or a barrier can get wrong cannot go wrong there. The others are held against it.
   */
  readonly reference?: boolean;
  /** Records it, and gives back what it made for itself. */
  run(problem: P): void;
}

/** Everything that computes one kind of problem: matrix products, convolutions, each of their gradients. */
export interface Family<P> {
  readonly name: string;
  readonly variants: readonly Variant<P>[];
  /** Equal for problems that may share a measurement: extents, and types where they are not f32. */
  key(problem: P): string;
  /** The tensor that the result goes to. */
  result(problem: P): Tensor;
  /** The same problem on other tensors: `like` makes one in place of each. */
  on(problem: P, like: (tensor: Tensor) => Tensor): P;
}

let forced: string | null = null;

/**
 * From now on every problem is computed by the variant called `name` where that fits it, until this is called with null; for
 * tests and measurements.
 */
export function forceVariant(name: string | null): void {
  forced = name;
}

/**
 * The variants that can compute `problem` and are worth a measurement, the one to take unmeasured first; those of rank Infinity
 * where there are no others. Variants that were found wrong are left out, and so are unverified ones, but for `withUnverified`, until
 * they were found right.
 */
export function candidatesFor<P>(family: Family<P>, problem: P, withUnverified = false): Variant<P>[] {
  const { gpu } = family.result(problem).storage;
  const { adapter } = gpu;
  const plan = planOf(gpu);
  const fitting = family.variants
    .filter(({ name, unverified = false }) => plan.trusts(family.name, name, unverified && !withUnverified))
    .filter((variant) => variant.fits(problem, adapter))
    .map((variant) => ({ variant, rank: variant.rank(problem, adapter) }));
  const worthwhile = fitting.filter(({ rank }) => rank < Number.POSITIVE_INFINITY);
  const ranked = worthwhile.length > 0 ? worthwhile.sort((a, b) => a.rank - b.rank) : fitting;
  return ranked.map(({ variant }) => variant);
}

/** Called with each problem on its way to `compute`. */
export type Watcher = <P>(name: string, family: Family<P>, problem: P) => void;

let watcher: Watcher | null = null;

/** From now on `found` is called with each problem before it is computed, until this is called with null. */
export function watchProblems(found: Watcher | null): void {
  watcher = found;
}

/** Records `problem` by the variant of the device's plan, else by the best of those that fit. */
export function compute<P>(family: Family<P>, problem: P): void {
  const { gpu } = family.result(problem).storage;
  const name = `${family.name} ${family.key(problem)}`;
  watcher?.(name, family, problem);
  choose(family, problem, name, planOf(gpu), gpu.adapter).run(problem);
}

function choose<P>(family: Family<P>, problem: P, name: string, plan: Plan, adapter: Adapter): Variant<P> {
  const called = (wanted: string | undefined | null) => family.variants.find((variant) => variant.name === wanted);
  const asked = called(forced);
  if (asked?.fits(problem, adapter)) return asked;
  const planned = called(plan.choice(name));
  if (planned?.fits(problem, adapter) && plan.trusts(family.name, planned.name, planned.unverified ?? false)) {
    plan.take(name, planned.name);
    return planned;
  }
  const best = candidatesFor(family, problem)[0]!;
  plan.take(name, best.name);
  return best;
}
