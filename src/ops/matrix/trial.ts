import { kernel } from '../../core/kernel.ts';
import { noGrad } from '../../core/tape.ts';
import { Tensor } from '../../core/tensor.ts';
import type { Gpu } from '../../gpu/gpu.ts';
import type { Pipeline } from '../../gpu/pipeline.ts';
import type { Recording } from '../../gpu/stream.ts';
import { planOf } from './plan.ts';
import { candidatesFor, type Family, type Variant } from './variant.ts';

const noise = kernel('noise', 'main');
const compare = kernel('compare', 'main');

/** Invocations that share a comparison. */
const COMPARING = 4096;
/**
 * The largest difference that a right kernel may have, in root mean squares of the result. Rounding stays a hundred times below
 * it; one product left out of a sum of K is 1/√K, above it for every K below a million.
 */
const ALLOWED = { f32: 1e-3, f16: 1e-2 };

/** A variant that is ready to run on tensors of a trial. */
export interface Runner {
  readonly name: string;
  readonly unverified: boolean;
  readonly recording: Recording;
}

/** A problem that was met, without its tensors: what it takes to try its variants later. */
export interface Tunable {
  readonly name: string;
  readonly family: string;
  /** The candidates, best first; unverified ones that nobody has checked yet among them. */
  readonly candidates: readonly string[];
  /** Those of them that are `unverified`. */
  readonly unverified: readonly string[];
  /** What the others are held against, best first, candidate or not; the last is the definition, which fits everything. */
  readonly references: readonly string[];
  /** What would compute it now; the plan says so from then on. */
  choose(): string;
  /** Has what the candidates called `names` need compiled in the background; returns what is not compiled yet. */
  compile(gpu: Gpu, names: readonly string[]): Pipeline[];
  /** Makes a like problem on tensors of its own. */
  stage(gpu: Gpu, names: readonly string[]): Trial;
}

/** A like problem on tensors of its own, which hold noise. */
export interface Trial {
  readonly runners: readonly Runner[];
  /** Where all of them write. */
  readonly result: Tensor;
  /** As large, for what is right. None of the runners touches it. */
  readonly want: Tensor;
  free(): void;
}

export function tunable<P>(name: string, family: Family<P>, problem: P): Tunable {
  // All that depends on the problem's tensors is asked for now: by the time that a variant is tried, they are gone.
  const candidates = candidatesFor(family, problem, true);
  const { gpu } = family.result(problem).storage;
  const fitting = family.variants.filter((variant) => variant.fits(problem, gpu.adapter));
  const rankOf = new Map(fitting.map((variant) => [variant, variant.rank(problem, gpu.adapter)]));
  const references = fitting.filter(({ reference }) => reference).sort((a, b) => rankOf.get(a)! - rankOf.get(b)!);
  // What a plan asks for need be neither.
  const all = [...new Set([...candidates, ...references, ...fitting])];
  const called = (names: readonly string[]): Variant<P>[] => all.filter((variant) => names.includes(variant.name));
  return {
    name,
    family: family.name,
    candidates: candidates.map((variant) => variant.name),
    unverified: candidates.filter((variant) => variant.unverified).map((variant) => variant.name),
    references: references.map((variant) => variant.name),
    choose() {
      const plan = planOf(gpu);
      const wanted = fitting.find((variant) => variant.name === plan.choice(name));
      const choice = [wanted, ...candidates, ...fitting].find(
        (variant) => variant && plan.trusts(family.name, variant.name, variant.unverified ?? false),
      )!;
      plan.take(name, choice.name);
      return choice.name;
    },
    compile(gpu, names) {
      const tensors: Tensor[] = [];
      const like = (tensor: Tensor): Tensor => {
        tensors.push(Tensor.empty(tensor.shape, tensor.dtype));
        return tensors.at(-1)!;
      };
      const copy = family.on(problem, like);
      const waiting = new Set<Pipeline>();
      for (const variant of called(names)) {
        const recording = gpu.stream.capture(() => noGrad(() => variant.run(copy)));
        for (const command of recording) {
          if (command.kind === 'dispatch' && !command.bound.pipeline.handle) waiting.add(command.bound.pipeline);
        }
      }
      for (const tensor of tensors) tensor.free('the compilation of its variants');
      return [...waiting];
    },
    stage(gpu, names) {
      const tensors: Tensor[] = [];
      const like = (tensor: Tensor): Tensor => {
        const copy = Tensor.empty(tensor.shape, tensor.dtype);
        tensors.push(copy);
        fillWithNoise(copy, tensors.length);
        return copy;
      };
      const copy = family.on(problem, like);
      const result = family.result(copy);
      // Made before anything is captured: what a runner takes for itself goes back to the pool, and comes from there again.
      const want = Tensor.empty(result.shape, result.dtype);
      tensors.push(want);
      const runners = called(names).map((variant) => ({
        name: variant.name,
        unverified: variant.unverified ?? false,
        recording: gpu.stream.capture(() => noGrad(() => variant.run(copy))),
      }));
      const free = () => {
        for (const tensor of tensors) tensor.free('the end of its trial');
      };
      return { runners, result, want, free };
    },
  };
}

/** Bound as words, two values in each. */
const isHalf = ({ dtype }: Tensor): boolean => dtype === 'f16';

/** Overwrites a tensor with numbers of either sign and a size of 0.125 to 0.5. */
export function fillWithNoise(tensor: Tensor, seed: number): void {
  const { pool, offsetBytes, sizeBytes } = tensor.storage;
  const words = sizeBytes / 4;
  noise({ HALVES: isHalf(tensor) }, { out: { pool, offsetBytes, sizeBytes } }, { words, seed }, words);
}

/**
 * How far `got` is from `want`, in units of what a right kernel may be off: above 1 it is wrong. Both are of one shape and type.
 * Infinities and NaN are as wrong as can be, in `want`, too.
 */
export async function deviation(got: Tensor, want: Tensor): Promise<number> {
  const size = got.size;
  const stride = Math.min(size, COMPARING);
  const found = Tensor.empty([stride, 2]);
  const HALVES = isHalf(got);
  const bare = ({ storage: { pool, offsetBytes, sizeBytes } }: Tensor) => ({ pool, offsetBytes, sizeBytes });
  compare({ HALVES }, { got: bare(got), want: bare(want), found }, { size, stride }, stride);
  const values = await found.read();
  found.free('the comparison');
  let worst = 0;
  let squares = 0;
  for (let i = 0; i < values.length; i += 2) {
    worst = Math.max(worst, values[i]!);
    squares += values[i + 1]!;
  }
  if (!Number.isFinite(squares)) return Number.POSITIVE_INFINITY;
  return worst / (Math.sqrt(squares / size) * (HALVES ? ALLOWED.f16 : ALLOWED.f32));
}
