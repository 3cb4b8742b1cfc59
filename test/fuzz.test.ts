// Operations on shapes that a seed decides, and matrix products and convolutions by kernels that it decides, too.
//
//   DAWNGRAD_TEST_SEED=7 DAWNGRAD_TEST_DRAWS=200 npm run test:only -- fuzz
//
// draws so many cases of each family. A failure says which it was; with the same seed it comes again. Where no number is given there is
// one, or forty in `npm run test:full`, and always the same.
import { test } from 'uvu';
import { dgrads, forwards, wgrads } from '../src/ops/matrix/convolve.ts';
import { products } from '../src/ops/matrix/multiply.ts';
import { gradcheck } from './cases/case.ts';
import { FAMILIES } from './cases/drawn.ts';
import { halved } from './cases/half.ts';
import { Draws, drawCount, SEED } from './draws.ts';
import { forcing } from './forcing.ts';
import { gpu, gpuTest } from './gpu.ts';

const full = process.env.DAWNGRAD_TEST === 'full';
const DRAWS = drawCount(1, 15);
/** A draw may compile four kernels. */
const LIMIT_MS = 60_000 + 15_000 * DRAWS;

const half = gpu.adapter.features.has('shader-f16');

/** Kernels by name. Those for matrix instructions have tests of their own; those in workgroup memory take seconds to compile. */
const VARIANTS = [
  ...new Set(
    [products, forwards, dgrads, wgrads].flatMap(({ variants }): string[] => variants.map(({ name }) => name)),
  ),
].filter((name) => !name.startsWith('tensor ') && (full || !name.startsWith('tile ')));

for (const [family, draw] of Object.entries(FAMILIES)) {
  gpuTest(
    `${family} of drawn shapes`,
    async () => {
      const draws = new Draws(SEED);
      const wrong: string[] = [];
      for (let i = 0; i < DRAWS; i++) {
        const drawn = draw(draws);
        const one = half && draws.chance(25) ? (halved([drawn])[0] ?? drawn) : drawn;
        const variant = draws.chance(40) ? draws.one(VARIANTS) : '';
        const what = `draw ${i} of seed ${SEED}, ${one.what}${variant && ` by ${variant}`}`;
        try {
          await forcing(variant, () => gradcheck({ ...one.make(), ...one.boundsFor?.(variant), what }));
        } catch (error) {
          wrong.push((error as Error).message);
        }
      }
      if (wrong.length > 0) throw new Error(`${wrong.length} of ${DRAWS}:\n${wrong.slice(0, 5).join('\n')}`);
    },
    LIMIT_MS,
  );
}

test.run();
