/**
 * Counter-based random numbers: the value depends on (seed, step, draw, index) alone, so any of them can be had again, in any
 * order, on the CPU and on the GPU (`shaders/lib/random.wgsl` is the twin). Hash: pcg4d of Jarzynski and Olano, "Hash Functions
 * for GPU Rendering", JCGT 9(3), 2020.
 */
export function pcg4d(seed: number, step: number, draw: number, index: number): [number, number, number, number] {
  const scramble = (word: number) => (Math.imul(word, 1664525) + 1013904223) | 0;
  let [x, y, z, w] = [scramble(seed), scramble(step), scramble(draw), scramble(index)];
  const mix = () => {
    x = (x + Math.imul(y, w)) | 0;
    y = (y + Math.imul(z, x)) | 0;
    z = (z + Math.imul(x, y)) | 0;
    w = (w + Math.imul(y, z)) | 0;
  };
  mix();
  x ^= x >>> 16;
  y ^= y >>> 16;
  z ^= z >>> 16;
  w ^= w >>> 16;
  mix();
  return [x >>> 0, y >>> 0, z >>> 0, w >>> 0];
}

/** Random numbers in sequence, from a seed and the number of a stream. */
export class Random {
  private index = 0;
  private readonly seed: number;
  private readonly stream: number;

  constructor(seed: number, stream = 0) {
    this.seed = seed;
    this.stream = stream;
  }

  /** Uniform in [0, 1), 24 bits. */
  uniform(): number {
    return (pcg4d(this.seed, 0, this.stream, this.index++)[0] >>> 8) / 2 ** 24;
  }

  /** A whole number from 0 up to, not including, `limit`. */
  integer(limit: number): number {
    return Math.floor((pcg4d(this.seed, 0, this.stream, this.index++)[0] / 2 ** 32) * limit);
  }

  /** A normally distributed number, mean 0 and standard deviation 1 (Box–Muller). */
  normal(): number {
    const [a, b] = pcg4d(this.seed, 0, this.stream, this.index++);
    const radius = Math.sqrt(-2 * Math.log((a + 1) / 2 ** 32));
    return radius * Math.cos((2 * Math.PI * b) / 2 ** 32);
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
