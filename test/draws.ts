import { bits } from './fixtures/weights.ts';
import { sizeOf } from './reference.ts';

/** A whole number from the environment. One that is none would draw nothing, and every test of draws would pass. */
function fromEnvironment(name: string, otherwise: number): number {
  const text = process.env[name];
  if (!text) return otherwise;
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new Error(`${name}: expected a whole number from 1 on, got '${text}'.`);
}

/** What the draws of a test start from. */
export const SEED = fromEnvironment('DAWNGRAD_TEST_SEED', 1);

/** How many draws a test makes where the environment does not say it: few, or in `npm run test:full` many. */
export const drawCount = (few: number, many: number): number =>
  fromEnvironment('DAWNGRAD_TEST_DRAWS', process.env.DAWNGRAD_TEST === 'full' ? many : few);

/** Draws that depend on a seed alone. */
export class Draws {
  private readonly seed: number;
  private drawn = 0;

  constructor(seed: number) {
    this.seed = seed;
  }

  /** A whole number, `from` to `to`. */
  whole(from: number, to: number): number {
    return from + (bits(this.seed, 7, this.drawn++) % (to - from + 1));
  }

  one<T>(of: readonly T[]): T {
    return of[this.whole(0, of.length - 1)]!;
  }

  chance(percent: number): boolean {
    return this.whole(1, 100) <= percent;
  }

  /** 1 to `most`; every other time a multiple of four, or next to one, where kernels change their ways. */
  extent(most: number): number {
    if (this.chance(50)) return this.whole(1, most);
    const near = 4 * this.whole(1, Math.max(1, most >> 2)) + this.one([0, 0, 0, -1, 1]);
    return Math.min(most, near);
  }

  /** Extents of a tensor of at most `size` elements. */
  shape(rank: number, most: number, size: number): number[] {
    const shape = Array.from({ length: rank }, () => this.extent(most));
    while (sizeOf(shape) > size) {
      const largest = shape.indexOf(Math.max(...shape));
      shape[largest] = Math.ceil(shape[largest]! / 2);
    }
    return shape;
  }

  images(side: number, channels: number, size: number): [number, number, number, number] {
    const c = this.extent(channels);
    const [n, h, w] = [this.whole(1, 4), this.extent(side), this.extent(side)];
    const fit = Math.max(1, Math.floor(size / (n * h * w)));
    return [n, h, w, Math.min(c, fit)];
  }

  order(count: number): number[] {
    const left = Array.from({ length: count }, (_, i) => i);
    return Array.from({ length: count }, () => left.splice(this.whole(0, left.length - 1), 1)[0]!);
  }
}
