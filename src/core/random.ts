import { boundsInWords, isWholeIn } from './bounds.ts';
import { ConfigError } from './errors.ts';

/** What a seed may be: 32 bits, which is all that goes into a hash. */
export const SEEDS = { from: 0, to: 2 ** 32 - 1 };

export const isSeed = (value: unknown): value is number => isWholeIn(value, SEEDS);

/** The seed itself. Throws ConfigError for what is none: another one would draw in its place. */
export function checkSeed(seed: number): number {
  if (isSeed(seed)) return seed;
  throw new ConfigError(`seed ${seed}: it is a whole number (${boundsInWords(SEEDS)}).`);
}

/**
 * Counter-based random numbers: the value depends on (seed, step, draw, index) alone, so any of them can be had again, in any
 * order, on the CPU and on the GPU (`shaders/lib/random.wgsl` is the twin). Hash: pcg4d of Jarzynski and Olano, "Hash Functions
 * for GPU Rendering", JCGT 9(3), 2020.
 */
export function pcg4d(seed: number, step: number, draw: number, index: number): [number, number, number, number] {
  hash(seed, step, draw, index);
  return [words[0]!, words[1]!, words[2]!, words[3]!];
}

/** What `hash` found last. One array for all calls: networks draw millions of weights, and arrays cost more than the hash. */
const words = new Uint32Array(4);

function hash(seed: number, step: number, draw: number, index: number): void {
  let x = (Math.imul(seed, 1664525) + 1013904223) | 0;
  let y = (Math.imul(step, 1664525) + 1013904223) | 0;
  let z = (Math.imul(draw, 1664525) + 1013904223) | 0;
  let w = (Math.imul(index, 1664525) + 1013904223) | 0;
  x = (x + Math.imul(y, w)) | 0;
  y = (y + Math.imul(z, x)) | 0;
  z = (z + Math.imul(x, y)) | 0;
  w = (w + Math.imul(y, z)) | 0;
  x ^= x >>> 16;
  y ^= y >>> 16;
  z ^= z >>> 16;
  w ^= w >>> 16;
  x = (x + Math.imul(y, w)) | 0;
  y = (y + Math.imul(z, x)) | 0;
  z = (z + Math.imul(x, y)) | 0;
  w = (w + Math.imul(y, z)) | 0;
  words[0] = x;
  words[1] = y;
  words[2] = z;
  words[3] = w;
}

/** Random numbers in sequence, from a seed and the number of a stream. */
export class Random {
  private index = 0;
  private readonly seed: number;
  private readonly stream: number;
  /** Normal numbers of the last hash that are still to be given out. */
  private readonly normals: number[] = [];

  constructor(seed: number, stream = 0) {
    this.seed = checkSeed(seed);
    this.stream = stream;
  }

  /** Uniform in [0, 1), 24 bits. */
  uniform(): number {
    hash(this.seed, 0, this.stream, this.index++);
    return (words[0]! >>> 8) / 2 ** 24;
  }

  /** A whole number from 0 up to, not including, `limit`. */
  integer(limit: number): number {
    hash(this.seed, 0, this.stream, this.index++);
    return Math.floor((words[0]! / 2 ** 32) * limit);
  }

  /** A normally distributed number, mean 0 and standard deviation 1 (Box–Muller; four to a hash). */
  normal(): number {
    const { normals } = this;
    if (normals.length === 0) {
      hash(this.seed, 0, this.stream, this.index++);
      for (let pair = 0; pair < 4; pair += 2) {
        const radius = Math.sqrt(-2 * Math.log((words[pair]! + 1) / 2 ** 32));
        const angleRad = (2 * Math.PI * words[pair + 1]!) / 2 ** 32;
        normals.push(radius * Math.sin(angleRad), radius * Math.cos(angleRad));
      }
    }
    return normals.pop()!;
  }

  /** The numbers 0 … n−1 in random order (Fisher–Yates). */
  permutation(n: number): Uint32Array {
    const order = Uint32Array.from({ length: n }, (_, i) => i);
    for (let i = n - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      [order[i], order[j]] = [order[j]!, order[i]!];
    }
    return order;
  }
}
