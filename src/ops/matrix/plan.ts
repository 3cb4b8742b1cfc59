import type { Gpu } from '../../gpu/gpu.ts';

/**
 * Which variant computes each problem on a device. Families, problems and variants are known by name here: a problem is
 * `conv2d forward 8×48×48×3 → 64, 3×3, …`.
 *
 * Bits are promised for the same plan: a run keeps it, and its continuation follows it.
 */
export class Plan {
  private readonly wanted = new Map<string, string>();
  private readonly taken = new Map<string, string>();
  private readonly trusted = new Map<string, boolean>();

  /** From now on these problems are computed by these variants, where they fit. */
  follow(choices: Iterable<readonly [problem: string, variant: string]>): void {
    for (const [problem, variant] of choices) this.wanted.set(problem, variant);
  }

  /** The variant to try first: the one that was asked for, else the one taken before. */
  choice(problem: string): string | undefined {
    return this.wanted.get(problem) ?? this.taken.get(problem);
  }

  take(problem: string, variant: string): void {
    this.taken.set(problem, variant);
  }

  /** Every problem met so far on this device and what computes it, in the order of the first meeting. */
  used(): ReadonlyMap<string, string> {
    return this.taken;
  }

  /**
   * Says whether a variant of a family, `unverified` or not, was found right on this device. Where that means that it may compute
   * from now on, or no more, what computed before is chosen anew.
   */
  trust(family: string, variant: string, unverified: boolean, right: boolean): void {
    const before = this.trusts(family, variant, unverified);
    this.trusted.set(`${family} ${variant}`, right);
    if (before !== right) this.taken.clear();
  }

  /** Whether a variant may compute: not one that was found wrong, and one that is unverified only once it was found right. */
  trusts(family: string, variant: string, unverified: boolean): boolean {
    return this.trusted.get(`${family} ${variant}`) ?? !unverified;
  }
}

const plans = new WeakMap<Gpu, Plan>();

/** The plan of a device. */
export function planOf(gpu: Gpu): Plan {
  let plan = plans.get(gpu);
  if (!plan) {
    plan = new Plan();
    plans.set(gpu, plan);
  }
  return plan;
}
