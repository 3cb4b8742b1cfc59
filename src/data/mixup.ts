import { ConfigError } from '../core/errors.ts';
import { kernel } from '../core/kernel.ts';
import { pcg4d } from '../core/random.ts';
import { reserveStepWords, type StepSlot, stepCounter, stepSeed, stepStorage } from '../core/stepbuffer.ts';
import { Tensor } from '../core/tensor.ts';

const partners = kernel('mixup', 'partners');

/** The stream of its random numbers; what is drawn on the GPU in a step counts from 0. */
const STREAM = 0x6d697875;

/** What the images of a batch were mixed with. */
export interface Mixed {
  /** Labels of the other images, u32 [batch]. */
  labels: Tensor;
  /** Share that each image keeps, f32 [batch]. */
  share: Tensor;
}

/**
 * Mixup: image n becomes λ·x_n + (1 − λ)·x_p, p a random permutation of the batch, λ ~ Beta(α, α) for each image, the larger of λ and
 * 1 − λ taken. All of it depends on (seed, step) alone. Throws ConfigError where α is not above 0. Zhang et al. 2018; fast.ai's `MixUp`.
 */
export class Mixup {
  private readonly alpha: number;
  private readonly batch: number;
  private readonly slot: StepSlot;

  constructor(alpha: number, batch: number) {
    if (!(alpha > 0)) throw new ConfigError(`mixup ${alpha}: α of the Beta distribution must be above 0.`);
    this.alpha = alpha;
    this.batch = batch;
    this.slot = reserveStepWords(2 * batch);
  }

  /** Where the kernels find partners and shares. */
  get at(): number {
    return this.slot.at;
  }

  /** Draws for the first `count` images of a batch; the others stay by themselves. */
  choose(count: number): void {
    const { alpha, batch } = this;
    const words = new Uint32Array(2 * batch);
    const shares = new Float32Array(words.buffer, 4 * batch).fill(1);
    const { partner, share } = drawMixup(alpha, count, uniforms(stepSeed(), stepCounter()));
    for (let n = 0; n < batch; n++) words[n] = partner[n] ?? n;
    shares.set(share);
    this.slot.setInts(words);
  }

  /** What the images of a batch are mixed with, given the batch's labels. */
  partners(labels: Tensor): Mixed {
    const others = Tensor.empty([this.batch], 'u32');
    const share = Tensor.empty([this.batch]);
    partners({}, { step: stepStorage(), labels, others, share }, { n: this.batch, at: this.at }, this.batch);
    return { labels: others, share };
  }
}

/** Numbers in (0, 1), one after the other. */
function uniforms(seed: number, step: number): () => number {
  let index = 0;
  return () => (pcg4d(seed, step, STREAM, index++)[0] + 0.5) / 2 ** 32;
}

/** A permutation of `count` images, and the share that each keeps. */
export function drawMixup(
  alpha: number,
  count: number,
  uniform: () => number,
): { partner: Uint32Array; share: Float32Array } {
  const partner = Uint32Array.from({ length: count }, (_, n) => n);
  for (let n = count - 1; n > 0; n--) {
    const other = Math.floor(uniform() * (n + 1));
    [partner[n], partner[other]] = [partner[other]!, partner[n]!];
  }
  const share = Float32Array.from({ length: count }, () => {
    const odds = logGamma(alpha, uniform) - logGamma(alpha, uniform);
    return 1 / (1 + Math.exp(-Math.abs(odds)));
  });
  return { partner, share };
}

/**
 * The logarithm of a Gamma(α, 1) number: those of a small α are smaller than any that a double holds. Marsaglia and Tsang, "A Simple
 * Method for Generating Gamma Variables", TOMS 26(3), 2000, of α + 1, times U^(1/α).
 */
function logGamma(alpha: number, uniform: () => number): number {
  const d = alpha + 2 / 3;
  const c = 1 / Math.sqrt(9 * d);
  for (;;) {
    const z = Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
    const v = (1 + c * z) ** 3;
    if (v > 0 && Math.log(uniform()) < 0.5 * z * z + d - d * v + d * Math.log(v)) {
      return Math.log(d * v) + Math.log(uniform()) / alpha;
    }
  }
}
