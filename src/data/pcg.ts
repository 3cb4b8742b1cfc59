import { checkSeed } from '../core/random.ts';

/**
 * Seeded random numbers for data on the CPU: PCG-32 output over a 32-bit congruential state.
 *
 * Only integer arithmetic and exact divisions, so that the same seed and stream give the same numbers on every machine.
 * O'Neill 2014, "PCG: A Family of Simple Fast Space-Efficient Statistically Good Algorithms" (RXS-M-XS 32).
 */
export class Pcg {
  private state: number;
  private readonly increment: number;

  /** `stream` separates sequences of one seed: image 5 of seed 1 has nothing in common with image 6. */
  constructor(seed: number, stream = 0) {
    this.increment = (Math.imul(mix(stream), 2) | 1) >>> 0;
    this.state = mix(checkSeed(seed) ^ mix(stream + 0x9e3779b9));
    this.uint32();
  }

  /** A whole number in [0, 2³²). */
  uint32(): number {
    this.state = (Math.imul(this.state, 747796405) + this.increment) >>> 0;
    const word = Math.imul((this.state >>> ((this.state >>> 28) + 4)) ^ this.state, 277803737);
    return ((word >>> 22) ^ word) >>> 0;
  }

  /** A number in [low, high). */
  uniform(low = 0, high = 1): number {
    return low + (high - low) * (this.uint32() / 4294967296);
  }

  /** A whole number in [0, count). */
  below(count: number): number {
    return Math.floor((this.uint32() / 4294967296) * count);
  }

  /** True with the given probability. */
  chance(probability: number): boolean {
    return this.uniform() < probability;
  }

  /** A nearly normal number of mean 0 and deviation 1: the sum of four 16-bit uniforms (exact arithmetic, unlike Box-Muller). */
  normal(): number {
    const [a, b] = [this.uint32(), this.uint32()];
    const sum = (a & 0xffff) + (a >>> 16) + (b & 0xffff) + (b >>> 16) + 2;
    return (sum / 65536 - 2) * 1.7320508075688772;
  }

  /** Shuffles in place (Fisher-Yates) and returns its argument. */
  shuffle<T extends number[] | Uint32Array>(items: T): T {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      const held = items[i]!;
      items[i] = items[j]!;
      items[j] = held;
    }
    return items;
  }
}

/** A 32-bit finaliser (lowbias32, Wellons 2018): neighbouring seeds give unrelated states. */
function mix(value: number): number {
  let x = value >>> 0;
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}
