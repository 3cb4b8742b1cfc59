import type { Tensor } from '../core/tensor.ts';
import * as nn from '../nn/index.ts';

/** A classifier of images: modules that run one after another, and the places between them where there are maps to look at. */
export abstract class Network extends nn.Module {
  /**
   * All modules in the order in which they run, in parts: each but the last ends with the last maps of one resolution, after their
   * convolution, batch norm and ReLU; the last one is what makes scores of the last maps.
   */
  abstract parts(): readonly (readonly nn.Module[])[];

  /** x [N,S,S,C] → a score (logit) for each class [N, classes]. */
  forward(x: Tensor): Tensor {
    return new nn.Sequential(this.parts().flat()).forward(x);
  }
}

/** A list in parts that end where `ends` says, and what is left. */
export const cut = <T>(list: readonly T[], ends: readonly number[]): T[][] =>
  [...ends, list.length].map((end, i) => list.slice(ends[i - 1] ?? 0, end));
