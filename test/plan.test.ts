// What a plan says of what computes: followed where it fits, whole after preparation, and harmless where it is of another device.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { rehearse } from '../src/core/step.ts';
import { planOf } from '../src/ops/matrix/plan.ts';
import { prepare } from '../src/ops/matrix/prepare.ts';
import { chosen, does, familyOf, fast, multiplyBy, nameOf, onHardware, short, slow } from './families.ts';
import { gpu, gpuTest, onDevice } from './gpu.ts';

gpuTest('a plan is followed where it fits', async () => {
  const family = familyOf(fast, slow);
  planOf(gpu).follow([[nameOf(family), 'plain']]);
  assert.is((await chosen(gpu, family)).variant, 'plain');
  planOf(gpu).follow([[nameOf(family), 'of another version']]);
  assert.is((await chosen(gpu, family)).variant, 'slow');
});

gpuTest('on hardware a plan of another device is followed where it can be, and checked', () =>
  onHardware(async (other) => {
    const unranked = { ...fast, name: 'for others', rank: () => Number.POSITIVE_INFINITY };
    const cases: [wanted: string, computes: string, warnings: number][] = [
      ['of another version', 'slow', 0],
      ['too large', 'slow', 0],
      ['for others', 'for others', 0],
      ['short', 'slow', 1],
    ];
    for (const [wanted, computes, lines] of cases) {
      const large = { ...fast, name: 'too large', fits: () => false };
      const family = familyOf(slow, large, unranked, { ...short, rank: () => Number.POSITIVE_INFINITY });
      planOf(other).follow([[nameOf(family), wanted]]);
      const end = performance.now() + 20_000;
      const { variant, warnings } = await chosen(other, family, { interrupted: () => performance.now() > end });
      assert.ok(performance.now() < end, `${wanted}: it does not end`);
      assert.equal([variant, warnings.length], [computes, lines], wanted);
    }
  }),
);

gpuTest('after preparation the plan has all problems, whatever was found right on the way', () =>
  onDevice({}, async (other) => {
    const right = [0, 1, 2].map((rank) => familyOf(fast, { ...does('sure', rank - 1, fast.run), unverified: true }));
    const verified = new Map<string, readonly string[]>();
    const used = () => right.map((family) => planOf(other).used().get(nameOf(family)));
    for (let i = 0; i < 2; i++) {
      const body = () => {
        for (const family of right) multiplyBy(family);
      };
      await prepare(other, () => rehearse(body), { verified });
      const before = used();
      assert.ok(
        before.every((name) => name !== undefined),
        `${before}`,
      );
      body();
      assert.equal(used(), before);
    }
  }),
);

test.run();
