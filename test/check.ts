import { bits } from './fixtures/weights.ts';
import { coordinates, map, sizeOf, type Values, values } from './reference/values.ts';

/** Unit roundoff of f32: one rounding changes y by at most u·|y|. One ULP is at most 2u. */
export const u = 2 ** -24;

/**
 * How far a value may be from the oracle's.
 *
 * - 'exact': not at all (a gradient: half a u, for the difference quotient's own rounding).
 * - ulps, terms: ulps·u·terms[i], terms[i] being the size of what element i was computed from (`bounds.ts` has them).
 * - ulps, scale: ulps·u·max(scale, |want|), scale 1 if not given: pointwise operations on inputs around 1.
 */
export type Allowance =
  | 'exact'
  | { readonly ulps: number; readonly scale?: number }
  | { readonly ulps: number; readonly terms: ArrayLike<number> };

/**
 * - 'sum': 8·u·S, S the same sum over absolute values, for what is linear in each input: sums of K products of
 *   zero-mean inputs stray by at most 3.8·u·S in 20,000 trials whatever K is (9 to 20,000). `{ sum: n }` allows n·u·S.
 * - 'select': the value is one of the inputs and must be exact; its gradient adds some of dy: 8·u·S, S over |dy|.
 */
export type Bound = Allowance | 'sum' | { readonly sum: number } | 'select';

/** The part of the engine's tensor that the checks use. */
export interface TestTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly grad: TestTensor | null;
  read(): Promise<Float32Array>;
  backward(dy?: TestTensor): unknown;
}

export type From<T extends TestTensor> = (
  data: Float32Array,
  shape: number[],
  options: { requiresGrad?: boolean; dtype?: 'f32' | 'f16' },
) => T;

// Inputs ----------------------------------------------------------------------------------------------------------

export interface UniformOptions {
  min?: number;
  max?: number;
  /** Places where an operation or its slope jumps: values stay `gap` away, so that no rounding crosses one. */
  kinks?: readonly number[];
  gap?: number;
}

let drawsHalf = false;

/** What `make` makes, with all that `uniform` draws in it representable in f16. */
export function withHalfDraws<T>(make: () => T): T {
  drawsHalf = true;
  try {
    return make();
  } finally {
    drawsHalf = false;
  }
}

/** Values in [min, max), representable in f32, depending on `seed` and position only. */
export function uniform(
  shape: readonly number[],
  seed: number,
  { min = -1, max = 1, kinks = [0], gap = 0.05 }: UniformOptions = {},
): Values {
  const draw = (index: number, attempt: number): number => {
    const value = Math.fround(min + (max - min) * (bits(seed, attempt, index) / 2 ** 32));
    return kinks.some((kink) => Math.abs(value - kink) < gap) ? draw(index, attempt + 1) : value;
  };
  const drawn = map(values(shape), (_, index) => draw(index, 0));
  return drawsHalf ? roundToF16(drawn) : drawn;
}

/** Every multiple of 4 once, in random order, about half of them negative: no ties, and steps of 1 change no maximum. */
export function permutation(shape: readonly number[], seed: number): Values {
  const size = sizeOf(shape);
  return values(
    shape,
    shuffled(size, seed).map((rank) => 4 * (rank - (size >> 1))),
  );
}

/** Whole numbers lo … hi−1, for exact cases and labels. */
export const integers = (shape: readonly number[], seed: number, lo: number, hi: number): Values =>
  map(values(shape), (_, index) => lo + Math.floor(((hi - lo) * bits(seed, 0, index)) / 2 ** 32));

/** Each value rounded to the nearest f16, ties to even: what an f16 kernel is given. */
export const roundToF16 = (x: Values): Values =>
  map(x, (value) => {
    const step = 2 ** (Math.max(Math.floor(Math.log2(Math.abs(value))), -14) - 10);
    const scaled = value / step;
    const down = Math.floor(scaled);
    const tie = scaled - down === 0.5;
    return (tie ? down + (down % 2 ? 1 : 0) : Math.round(scaled)) * step;
  });

function shuffled(size: number, seed: number): number[] {
  const order = Array.from({ length: size }, (_, i) => i);
  for (let i = size - 1; i > 0; i--) {
    const j = Math.floor(((i + 1) * bits(seed, 1, i)) / 2 ** 32);
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}

// Comparison ------------------------------------------------------------------------------------------------------

interface Compared {
  place: string;
  got: number;
  want: number;
  /** Size of the terms; `allowed` is this times u times the bound's factor. */
  scale: number;
  allowed: number;
}

/** Throws when some got is further from its want than allowed, showing the worst in units of u·S. */
function judge(what: string, all: readonly Compared[]): void {
  // Written so that a NaN on either side is an error, and equal infinities are none.
  const excess = ({ got, want, allowed }: Compared): number => {
    const error = Object.is(got, want) || got === want ? 0 : Math.abs(got - want);
    return Number.isNaN(error) ? Number.POSITIVE_INFINITY : error <= allowed ? 0 : error / Math.max(allowed, 1e-300);
  };
  let wrong = 0;
  let worst: Compared | undefined;
  let most = 0;
  for (const one of all) {
    const over = excess(one);
    if (over > 0) wrong++;
    if (over > most) [most, worst] = [over, one];
  }
  if (!worst) return;
  const { place, got, want, scale, allowed } = worst;
  const unit = u * scale;
  throw new Error(
    `${what}: ${wrong} of ${all.length} off; worst at ${place}: got ${got}, want ${want}, ` +
      `error ${Math.abs(got - want).toExponential(3)} = ${(Math.abs(got - want) / unit).toFixed(2)} u·S, ` +
      `allowed ${(allowed / unit).toFixed(2)} u·S (S = ${scale.toPrecision(4)})`,
  );
}

/** What rounding `count` values that add up to `size` to f16 may cost; below 2⁻¹⁴ its steps are 2⁻²⁴. */
const halfRounding = (size: number, count = 1): number => 2 ** -11 * size + 2 ** -25 * count;

/** [S, factor] of one element. */
function sizeAndFactor(bound: Allowance, want: number, i: number): [number, number] {
  if (bound === 'exact') return [Math.abs(want) || 1, 0];
  if ('terms' in bound) return [bound.terms[i]!, bound.ulps];
  return [Math.max(bound.scale ?? 1, Math.abs(want)), bound.ulps];
}

/** Throws unless every got[i] is as near want[i] as `bound` says; `half` adds f16's 2⁻¹¹·|want|. */
export function close(
  got: ArrayLike<number>,
  want: Values | ArrayLike<number>,
  bound: Allowance,
  what: string,
  { half = false } = {},
): void {
  const shape = 'shape' in want ? want.shape : [want.length];
  const wanted = 'shape' in want ? want.data : want;
  if (got.length !== wanted.length) throw new Error(`${what}: got ${got.length} elements, want [${shape}]`);
  judge(
    what,
    Array.from(wanted, (value, i) => {
      const [scale, factor] = sizeAndFactor(bound, value, i);
      const allowed = factor * u * scale + (half ? halfRounding(Math.abs(value)) : 0);
      return { place: `[${coordinates(i, shape)}]`, got: got[i]!, want: value, scale, allowed };
    }),
  );
}

// Gradients -------------------------------------------------------------------------------------------------------

type Fn = (inputs: Values[]) => Values;

/** Some elements of one input, each with +1 or −1: a way to move it. */
export interface Direction {
  indices: readonly number[];
  signs: readonly number[];
}

/**
 * Ways to move `size` elements, at most `count` of them, that touch every element once. Up to `count` elements each get
 * their own; beyond, a quarter of the directions are single elements (first and last included) and the rest of the
 * elements is dealt out among the others, with random signs so that errors do not cancel by symmetry.
 */
export function directions(size: number, count: number, seed: number): Direction[] {
  const single = (index: number): Direction => ({ indices: [index], signs: [1] });
  if (size <= count) return Array.from({ length: size }, (_, i) => single(i));
  const order = [0, size - 1, ...shuffled(size, seed).filter((i) => i !== 0 && i !== size - 1)];
  const singles = Math.max(Math.floor(count / 4), 1);
  const groups = Math.max(count - singles, 1);
  const dealt = Array.from({ length: groups }, (_, group) => {
    const indices = order.slice(singles).filter((_, i) => i % groups === group);
    return { indices, signs: indices.map((i) => (bits(seed, 2, i) & 1 ? 1 : -1)) };
  });
  return [...order.slice(0, singles).map(single), ...dealt];
}

/** d/dt Σ dy·fn(inputs with input `which` moved by t·direction) at t = 0, by a central difference of width 2·step. */
export function slope(
  fn: Fn,
  inputs: Values[],
  which: number,
  { indices, signs }: Direction,
  dy: Values,
  step: number,
) {
  const at = (distance: number): Float64Array => {
    const moved = values(inputs[which]!.shape, inputs[which]!.data);
    indices.forEach((index, i) => {
      moved.data[index]! += distance * signs[i]!;
    });
    return fn(inputs.with(which, moved)).data;
  };
  const after = at(step);
  const before = at(-step);
  // Outputs that do not move cancel exactly here, before they are summed.
  let total = 0;
  for (let i = 0; i < after.length; i++) total += dy.data[i]! * (after[i]! - before[i]!);
  return total / (2 * step);
}

/** For what is linear in each input a step of 1 has no truncation error and the least rounding. */
const LINEAR_STEP = 1;
/** Truncation (step²/6·f‴ = 1e-11·f‴) and rounding (2⁻⁵³/step = 1.5e-11) of a smooth f are both far below u = 6e-8. */
const SMOOTH_STEP = 2 ** -17;

export interface GradientOptions {
  step?: number;
  /** At most so many difference quotients for each input. */
  count?: number;
  seed?: number;
}

/** The gradient of Σ dy·fn(inputs) for input `which` along each direction: by element where there are few. */
export const gradient = (
  fn: Fn,
  inputs: readonly Values[],
  which: number,
  dy: Values,
  { step = SMOOTH_STEP, count = Number.POSITIVE_INFINITY, seed = 0 }: GradientOptions = {},
): { direction: Direction; slope: number }[] =>
  directions(inputs[which]!.data.length, count, seed).map((direction) => ({
    direction,
    slope: slope(fn, [...inputs], which, direction, dy, step),
  }));

export interface Case<T extends TestTensor, I extends readonly Values[]> {
  op: (inputs: { [K in keyof I]: T }) => T;
  reference: (inputs: { [K in keyof I]: Values }) => Values;
  inputs: I;
  bound: Bound;
  /** One for each input; `bound` where not given. A function of dy where the size of the terms depends on it. */
  gradientBounds?: readonly Bound[] | ((dy: Values) => readonly Bound[]);
  /** Gives S from the inputs' absolute values, where that is not `reference` itself: for a − b it is add. */
  absReference?: (inputs: { [K in keyof I]: Values }) => Values;
  /** Positions of inputs that have no gradient. */
  fixed?: readonly number[];
  /** Half the width of the difference quotients. */
  step?: number;
  /** At most so many difference quotients for each input; every element is in one of them. */
  count?: number;
  seed?: number;
  /** What each input is stored as, f32 where not given; f16 inputs are rounded first. */
  dtypes?: readonly ('f32' | 'f16')[];
  /** What the result is to be stored as, where that matters. */
  result?: 'f32' | 'f16';
  /** Something is stored as f16 on the way: 2⁻¹¹ of the value is allowed on top. */
  half?: boolean;
  what?: string;
}

const absolute = (x: Values): Values => map(x, Math.abs);

const sumFactor = (bound: Bound): number | null =>
  bound === 'sum' ? 8 : typeof bound === 'object' && 'sum' in bound ? bound.sum : null;

/**
 * Checks an operation of the engine against its twin of the oracle: the value element by element, the gradient of
 * Σ dy·op(inputs), dy random, along directions that cover every element of every input.
 *
 * `from` makes the engine's tensors: `const { gradcheck } = checker(Tensor.from)`.
 */
export const checker = <T extends TestTensor>(from: From<T>) => ({
  async gradcheck<const I extends readonly Values[]>(given: Case<T, I>): Promise<void> {
    const { bound, gradientBounds, fixed = [], count = 32, seed = 1, half = false, what = 'op' } = given;
    const inputs = given.inputs.map((x, i) => (given.dtypes?.[i] === 'f16' ? roundToF16(x) : x));
    const reference = given.reference as unknown as Fn;
    const absReference = (given.absReference ?? given.reference) as unknown as Fn;
    const toEngine = (x: Values, requiresGrad: boolean, dtype: 'f32' | 'f16' = 'f32'): T =>
      from(Float32Array.from(x.data), x.shape, { requiresGrad, dtype });

    const tensors = inputs.map((x, i) => toEngine(x, !fixed.includes(i), given.dtypes?.[i]));
    const y = given.op(tensors as unknown as { [K in keyof I]: T });
    const want = reference([...inputs]);
    expectShape(`${what}: y`, y.shape, want.shape);
    if (given.result && y.dtype !== given.result) throw new Error(`${what}: y is ${y.dtype}, want ${given.result}`);
    const factor = sumFactor(bound);
    const allowance: Allowance =
      factor !== null
        ? { ulps: factor, terms: absReference(inputs.map(absolute)).data }
        : bound === 'select'
          ? 'exact'
          : (bound as Allowance);
    close(await y.read(), want, allowance, `${what}: y`, { half });

    const drawn = uniform(want.shape, seed + 1000);
    const stored = y.dtype === 'f16' ? 'f16' : 'f32';
    const dy = stored === 'f16' ? roundToF16(drawn) : drawn;
    await y.backward(toEngine(dy, false, stored));
    const bounds = typeof gradientBounds === 'function' ? gradientBounds(dy) : gradientBounds;
    for (let i = 0; i < inputs.length; i++) {
      if (fixed.includes(i)) continue;
      const name = `${what}: gradient of input ${i}`;
      const { grad } = tensors[i]!;
      if (!grad) throw new Error(`${name}: there is none`);
      expectShape(name, grad.shape, inputs[i]!.shape);
      const options = { count, seed: seed + i };
      const bound = bounds?.[i] ?? given.bound;
      const step = given.step ?? (sumFactor(bound) === null ? SMOOTH_STEP : LINEAR_STEP);
      checkGradient(
        name,
        await grad.read(),
        { reference, absReference, given: given.inputs, inputs, which: i, dy, bound, half, step },
        options,
      );
    }
  },
});

function expectShape(what: string, got: readonly number[], want: readonly number[]): void {
  if (String(got) !== String(want)) throw new Error(`${what} has shape [${got}], want [${want}]`);
}

interface Analytic {
  reference: Fn;
  absReference: Fn;
  /** The case's own inputs, and as they are stored. */
  given: readonly Values[];
  inputs: readonly Values[];
  which: number;
  dy: Values;
  bound: Bound;
  half: boolean;
  step: number;
}

/** What a gradient is along a direction, and the same sum over absolute values. */
interface Wanted {
  direction: Direction;
  slope: number;
  size: number;
}

/** A case that is made once may be checked many times, with one variant of a kernel after the other: the oracle is not. */
const wanted = new WeakMap<readonly Values[], Map<string, Wanted[]>>();

function wantedGradient(
  { reference, absReference, given, inputs, which, dy, bound, step }: Analytic,
  options: GradientOptions,
): Wanted[] {
  const selects = bound === 'select';
  const sums = selects || sumFactor(bound) !== null;
  // S of direction v is that of v's elements together: the slope of the sum over absolute values, all signs +1.
  const sumsOverAbsolutes = (direction: Direction): number => {
    const together = { ...direction, signs: direction.signs.map(() => 1) };
    const [fn, at] = selects ? [reference, [...inputs]] : [absReference, inputs.map(absolute)];
    return Math.abs(slope(fn, at, which, together, absolute(dy), step));
  };
  const known = wanted.get(given) ?? new Map<string, Wanted[]>();
  wanted.set(given, known);
  const key = JSON.stringify([which, step, selects, sums, options]);
  const found =
    known.get(key) ??
    gradient(reference, inputs, which, dy, { ...options, step }).map((along) => ({
      ...along,
      size: sums ? sumsOverAbsolutes(along.direction) : Number.NaN,
    }));
  known.set(key, found);
  return found;
}

function checkGradient(what: string, got: Float32Array, analytic: Analytic, options: GradientOptions): void {
  const { inputs, which, bound, half } = analytic;
  const factor = sumFactor(bound);
  const shape = inputs[which]!.shape;
  judge(
    what,
    wantedGradient(analytic, options).map(({ direction: { indices, signs }, slope: want, size: sum }) => {
      const along = (f: (index: number) => number): number => indices.reduce((sum, index) => sum + f(index), 0);
      const value = indices.reduce((sum, index, i) => sum + got[index]! * signs[i]!, 0);
      const size = along((i) => Math.abs(got[i]!));
      const [scale, ulps] =
        factor !== null || bound === 'select'
          ? [sum, factor ?? 8]
          : bound === 'exact'
            ? [Math.max(size, 1), 0.5]
            : [along((i) => sizeAndFactor(bound as Allowance, got[i]!, i)[0]), (bound as { ulps: number }).ulps];
      const place =
        indices.length === 1
          ? `[${coordinates(indices[0]!, shape)}]`
          : `${indices.length} elements with random signs, [${coordinates(indices[0]!, shape)}] first`;
      return {
        place,
        got: value,
        want,
        scale,
        allowed: ulps * u * scale + (half ? halfRounding(size, indices.length) : 0),
      };
    }),
  );
}
