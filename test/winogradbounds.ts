import type { Allowance, Case, TestTensor } from './check.ts';
import { sum } from './reference/reduce.ts';
import { map } from './reference/values.ts';
import { absolutes, turned, winogradConv2d, winograds, winogradWeightGradient } from './reference/winograd.ts';
import { type Pair, pair, type Values } from './reference.ts';

/**
 * How far a 3×3 convolution by F(out×out, 3×3) may stray. Transforms take differences of what is larger than the result, so the
 * size of the terms is not the sum of |x|·|w| but the same algorithm over absolute values:
 *
 *   y:  W = |Aᵀ| [ Σ_c (|G| |g| |Gᵀ|) ⊙ (|Bᵀ| |d| |B|) ] |A|, and |b|
 *   dx: the same of dy and the turned weights.   dw: |Gᵀ| [ Σ_tiles (|A| |dy| |Aᵀ|) ⊙ (|Bᵀ| |d| |B|) ] |G|
 *
 * To first order the error is at most (2·e_B + 2·e_G + 2·e_A + s)·u·W. A line of Bᵀ, G and Aᵀ has at most e = 4, 6 and 5 roundings
 * on the way from an input to an output where fma rounds twice, and its constants' own one counts; there are two lines each;
 * the sum over channels costs s = 8 as everywhere: 38. For dw, A has 4 and Gᵀ 7: 38 again. Roundings are independent and W
 * adds up what has either sign, so random inputs stay far below (`winograd.test.ts`). W is about 7 times the sum of |x|·|w|
 * for F(2×2, 3×3) and 52 times for F(4×4, 3×3).
 */
export const WINOGRAD_ULPS = 38;

/** Allowances of a convolution by F(out×out, 3×3); `ulps` in units of u·W. */
export function winogradBounds(
  out: 2 | 4,
  [x, w, b]: readonly [Values, Values, Values?],
  padding: Pair,
  ulps = WINOGRAD_ULPS,
): Required<Pick<Case<TestTensor, readonly Values[]>, 'bound' | 'gradientBounds'>> {
  const algorithm = absolutes(winograds[out]);
  const [padH, padW] = pair(padding);
  const size = (t: Values): Values => map(t, Math.abs);
  const K = w.shape[0]!;
  const y = winogradConv2d(algorithm, size(x), size(w), padding).data.map((W, i) => W + Math.abs(b?.data[i % K] ?? 0));
  const allowance = (terms: Float64Array): Allowance => ({ ulps, terms });
  return {
    bound: allowance(y),
    gradientBounds: (dy) => [
      allowance(winogradConv2d(algorithm, size(dy), turned(size(w)), [2 - padH, 2 - padW]).data),
      allowance(winogradWeightGradient(algorithm, size(x), size(dy), padding).data),
      { ulps: 8, terms: sum(size(dy), [0, 1, 2]).data },
    ],
  };
}
