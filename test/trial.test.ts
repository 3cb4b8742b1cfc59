// What preparation tries and remembers, beside what it then takes (prepare.test.ts).
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { kernel } from '../src/core/kernel.ts';
import { Tensor } from '../src/core/tensor.ts';
import { planOf } from '../src/ops/matrix/plan.ts';
import { prepare, type Winner } from '../src/ops/matrix/prepare.ts';
import type { Multiplication } from '../src/ops/matrix/problem.ts';
import { tunable } from '../src/ops/matrix/trial.ts';
import type { Variant } from '../src/ops/matrix/variant.ts';
import { chosen, does, familyOf, fast, multiplyBy, nameOf, onHardware, slow } from './families.ts';
import { gpu, gpuTest, onDevice } from './gpu.ts';

const EXTENT = 8;
const product = { M: EXTENT, N: EXTENT, K: EXTENT, transposeA: false, transposeB: false };
const problem = (): Multiplication => {
  const [a, b, c] = [0, 1, 2].map(() => Tensor.zeros([EXTENT, EXTENT])) as [Tensor, Tensor, Tensor];
  return { a, b, bias: null, c, product };
};

gpuTest('a trial has operands of different noise, and gives everything back', async () => {
  let tried: Multiplication | undefined;
  const spy = does('spy', 1, (given) => {
    tried = given;
    fast.run(given);
  });
  const found = tunable('a product', familyOf(spy), problem());
  const before = gpu.pool.stats.liveBytes;
  const { free, want, result } = found.stage(gpu, ['spy']);
  const [a, b] = [await tried!.a.read(), await tried!.b.read()];
  assert.ok(a.every((value, i) => value !== 0 && value !== b[i]));
  assert.is(tried!.c, result);
  assert.is.not(want, result);
  free();
  assert.is(gpu.pool.stats.liveBytes, before);
  found.compile(gpu, ['spy']);
  assert.is(gpu.pool.stats.liveBytes, before);
});

gpuTest('references are tried best first, and the definition last', () => {
  const ranked = (name: string, rank: number): Variant<Multiplication> => ({
    ...does(name, rank, fast.run),
    reference: true,
  });
  const family = familyOf(ranked('second', 2), ranked('first', 1), does('no reference', 0, fast.run));
  assert.equal(tunable('a product', family, problem()).references, ['first', 'second', 'plain']);
});

gpuTest('a race is run again where it was between others, and not where the definition has won it', () =>
  onDevice({}, async (other) => {
    const family = familyOf(slow, fast);
    const winnersOf = (variant: string, ...of: string[]) =>
      new Map<string, Winner>([[nameOf(family), { variant, of }]]);
    assert.equal(await chosen(other, family, { winners: winnersOf('plain', 'fast', 'slow') }), {
      ...{ variant: 'plain', timed: 0, warnings: [] },
    });
    const winners = winnersOf('slow', 'slow', 'old');
    assert.is((await chosen(other, family, { winners })).timed, 1);
    assert.equal(winners.get(nameOf(family)), { variant: 'fast', of: ['slow', 'fast'] });
  }),
);

gpuTest('each unverified variant is checked once, whatever others were found right before', () =>
  onDevice({}, async (other) => {
    const unverified = (name: string) => ({ ...does(name, 2, fast.run), unverified: true });
    const family = familyOf(fast, unverified('a'), unverified('b'));
    const name = nameOf(family);
    const verified = new Map<string, readonly string[]>([[name, ['a']]]);
    const check = async () => (await prepare(other, () => multiplyBy(family), { verified })).checked;
    assert.equal([await check(), verified.get(name)], [1, ['a', 'b']]);
    assert.equal([await check(), verified.get(name)], [0, ['a', 'b']]);
  }),
);

gpuTest('on a software adapter nothing is checked but what is unverified', () =>
  onDevice({}, async (other) => {
    Object.defineProperty(other, 'adapter', { value: { ...other.adapter, software: true } });
    assert.is((await prepare(other, () => multiplyBy(familyOf(slow)))).checked, 0);
  }),
);

gpuTest('on hardware the winner of a race is remembered as right, so that it is checked no more', () =>
  onHardware(async (other) => {
    const family = familyOf(slow, fast);
    const [winners, verified] = [new Map<string, Winner>(), new Map<string, readonly string[]>()];
    await prepare(other, () => multiplyBy(family), { winners, verified });
    assert.equal(winners.get(nameOf(family))!.variant, 'fast');
    assert.equal(verified.get(nameOf(family)), ['slow', 'fast']);
  }),
);

gpuTest('what another GPU computes meanwhile, or what comes after, is no part of a preparation', async () => {
  const [here, there, later] = [familyOf(fast), familyOf(fast), familyOf(slow, fast)];
  const winners = new Map<string, Winner>([[nameOf(later), { variant: 'fast', of: ['slow', 'fast'] }]]);
  const { problems } = await prepare(
    gpu,
    async () => {
      multiplyBy(here);
      await onDevice({}, async () => void multiplyBy(there));
    },
    { winners },
  );
  assert.equal(problems, [nameOf(here)]);
  multiplyBy(later);
  assert.is(planOf(gpu).used().get(nameOf(later)), 'slow');
});

gpuTest('where all that raced go wrong under load the definition is taken, not one of them that is a reference', () =>
  onHardware(async (other) => {
    const count = Tensor.zeros([1]);
    const code = `
@group(0) @binding(0) var<storage, read_write> c: array<f32>;
@group(0) @binding(1) var<storage, read_write> count: array<f32>;
@compute @workgroup_size(1) fn main() { count[0] += 1.0; if (count[0] > 3.0) { c[7] += 1.0; } }`;
    const spoil = kernel('spoils_all_later_runs', 'main', code);
    const run = (given: Multiplication) => {
      fast.run(given);
      spoil({}, { c: given.c, count }, {}, 1);
    };
    const family = familyOf({ ...does('reference', 1, run), reference: true }, does('other', 2, run));
    const winners = new Map<string, Winner>();
    const { variant, warnings } = await chosen(other, family, { winners });
    assert.equal([variant, warnings.length, winners.get(nameOf(family))!.variant], ['plain', 2, 'plain']);
  }),
);

test.run();
