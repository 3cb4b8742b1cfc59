import type { Tensor } from '../../core/tensor.ts';
import type { Adapter } from '../../gpu/gpu.ts';

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
  /** Records it. */
  run(problem: P): void;
}

/** Everything that computes one kind of problem: matrix products, convolutions, each of their gradients. */
export interface Family<P> {
  readonly name: string;
  readonly variants: readonly Variant<P>[];
  /** Equal for problems that may share a measurement. */
  key(problem: P): string;
  /** The tensor that the result goes to. */
  result(problem: P): Tensor;
}

let forced: string | null = null;

/**
 * From now on every problem is computed by the variant called `name` where that fits it, until this is called with null; for
 * tests and measurements.
 */
export function forceVariant(name: string | null): void {
  forced = name;
}

/** The variants that can compute `problem` and are worth a measurement, the one to take unmeasured first. */
export function candidatesFor<P>({ variants, result }: Family<P>, problem: P): Variant<P>[] {
  const { adapter } = result(problem).storage.gpu;
  return variants
    .filter((variant) => variant.fits(problem, adapter))
    .map((variant) => ({ variant, rank: variant.rank(problem, adapter) }))
    .filter(({ rank }) => rank < Number.POSITIVE_INFINITY)
    .sort((a, b) => a.rank - b.rank)
    .map(({ variant }) => variant);
}

/** Records `problem` by the best variant. */
export function compute<P>(family: Family<P>, problem: P): void {
  const asked = forced === null ? undefined : family.variants.find(({ name }) => name === forced);
  if (asked?.fits(problem, family.result(problem).storage.gpu.adapter)) asked.run(problem);
  else candidatesFor(family, problem)[0]!.run(problem);
}
