import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Tensor } from '../src/core/tensor.ts';
import type { Adapter, Gpu } from '../src/gpu/gpu.ts';
import { dgrads, forwards, wgrads } from '../src/ops/matrix/convolve.ts';
import { products } from '../src/ops/matrix/multiply.ts';
import { teamFor, teamKind } from '../src/ops/matrix/team.ts';
import { type Check, gradcheck, type OperationCase } from './cases/case.ts';
import { convCases } from './cases/conv2d.ts';
import { halved } from './cases/half.ts';
import { linearCases, matmulCases } from './cases/matmul.ts';
import { forcing } from './forcing.ts';
import { gpu, gpuTest, onDevice } from './gpu.ts';

/** Made once, so that the oracle computes each case once for all variants. */
const made = new Map<OperationCase, Check>();

/** Runs the cases, with the bounds of the variant that is forced, if so. */
async function checkAll(cases: readonly OperationCase[], variant = ''): Promise<void> {
  for (const one of cases) {
    const check = made.get(one) ?? one.make();
    made.set(one, check);
    await gradcheck({ ...check, ...one.boundsFor?.(variant), what: one.what });
  }
}

const plainCases = [...convCases, ...matmulCases, ...linearCases];
const halfCases = halved(plainCases);
/** f16 as well, where the adapter has it. */
const matrixCases = gpu.adapter.features.has('shader-f16') ? [...plainCases, ...halfCases] : plainCases;

const full = process.env.DAWNGRAD_TEST === 'full';
const LIMIT_MS = full ? 900_000 : 180_000;

const families = [products, forwards, dgrads, wgrads];
const all = [...new Set(families.flatMap(({ variants }): string[] => variants.map(({ name }) => name)))].filter(
  // tensorcores.test.ts has those.
  (name) => !name.startsWith('tensor '),
);
// A software driver takes seconds to compile each kernel with workgroup memory: tile.test.ts gives those fewer cases.
const names = full ? all : all.filter((name) => !name.startsWith('tile '));

// The variants that an adapter takes unasked pass the same cases in the operations' own tests.
for (const name of names) {
  gpuTest(
    `the matrix kernels called "${name}" pass the cases where they fit`,
    () => forcing(name, () => checkAll(matrixCases, name)),
    LIMIT_MS,
  );
}

/** The adapter that kernels see, with these facts changed. */
const pretend = (other: Gpu, facts: Partial<Adapter>): void => {
  Object.defineProperty(other, 'adapter', { value: { ...other.adapter, ...facts } });
};

const disguises: [string, Partial<Adapter>][] = [];
if (full) disguises.push(['of a hardware adapter', { software: false }]);
if (full) disguises.push(['of a software adapter without subgroups', { software: true, features: new Set<string>() }]);
// Lanes of a team exchange values within a subgroup: a team of 4 runs in subgroups of any size from 4 on.
if (full && gpu.device.features.has('subgroups')) {
  for (const kind of ['lavapipe', 'swiftshader'] as const)
    disguises.push([`of ${kind} with subgroups of 4`, { kind, software: true, subgroupSizes: { min: 4, max: 4 } }]);
}
for (const [whose, facts] of disguises) {
  gpuTest(
    `the matrix kernels ${whose} pass the cases on this one`,
    () =>
      onDevice({}, async (other) => {
        pretend(other, facts);
        await checkAll(matrixCases);
      }),
    LIMIT_MS,
  );
}

/** Values one by one and in fours, edges of tiles, strides, taps that lie in one run, parts that are summed. */
const telling = /odd everything|VGG’s first|tiles of phases|odd number of pixels|(a·b|aᵀ·b|a·bᵀ) (65×33×130|9×132×13)/;

gpuTest(
  'the kernels called "lanes" and "outer" pass a few cases as they are on hardware',
  () =>
    onDevice({}, async (other) => {
      pretend(other, { software: false });
      const few = plainCases.filter(({ what }) => telling.test(what));
      await forcing('lanes', () => checkAll(few));
      await forcing('outer', () => checkAll(few.filter(({ op }) => op === 'matmul')));
    }),
  LIMIT_MS,
);

gpuTest('the matrix kernels of every kind of adapter compile on the null backend', async () => {
  const features = new Set(['subgroups']);
  const kinds: Partial<Adapter>[] = [
    { software: false },
    { software: true, features: new Set<string>() },
    { kind: 'lavapipe', software: true, features, subgroupSizes: { min: 4, max: 4 } },
    { kind: 'swiftshader', software: true, features, subgroupSizes: { min: 4, max: 4 } },
    { software: true, features, subgroupSizes: { min: 8, max: 8 } },
  ];
  for (const facts of kinds) {
    await onDevice({ adapter: 'null' }, async (other) => {
      pretend(other, facts);
      for (const { make } of [...plainCases, ...halfCases]) {
        const { op, inputs, dtypes } = make();
        const tensors = inputs.map(({ shape }, i) => Tensor.full(shape, 1, dtypes?.[i]));
        for (const tensor of tensors) tensor.requiresGrad = true;
        const y = op(tensors);
        y.backward(y.emptyLike());
        await other.stream.flush();
      }
      assert.ok(other.pipelines.size > 30, `${other.pipelines.size} pipelines`);
    });
  }
});

const subgroups = new Set(['subgroups']);

test('rows go round by what is fast on the adapter: on lavapipe by broadcasts, elsewhere by swaps, on hardware not at all', () => {
  const teamOn = (kind: Adapter['kind'], min: number, facts: Partial<Adapter> = {}) => {
    const usual = { software: true, features: subgroups, subgroupSizes: { min, max: 64 } };
    const team = teamKind({ ...gpu.adapter, kind, ...usual, ...facts });
    return [team.include, team.lanes];
  };
  assert.equal(teamOn('lavapipe', 8), ['lib/lanes_broadcast.wgsl', 8]);
  assert.equal(teamOn('lavapipe', 4), ['lib/lanes_broadcast.wgsl', 4]);
  assert.equal(teamOn('swiftshader', 4), ['lib/lanes4.wgsl', 4]);
  assert.equal(teamOn('software', 4), ['lib/lanes4.wgsl', 4]);
  const alone = ['lib/lanes1.wgsl', 8];
  assert.equal(teamOn('software', 2), alone, 'subgroups may be too small');
  assert.equal(teamOn('software', 8, { features: new Set<string>() }), alone);
  assert.equal(teamOn('hardware', 32, { software: false }), alone);
});

test('a team is as high as the rows fill', () => {
  const adapter = { ...gpu.adapter, software: true, features: subgroups, subgroupSizes: { min: 8, max: 8 } };
  const rowsFor = (height: number): number =>
    teamFor({ storage: { gpu: { adapter } } } as unknown as Tensor, height).consts.ROWS;
  assert.equal([1, 8, 9, 16, 17, 32, 33, 1000].map(rowsFor), [8, 8, 16, 16, 32, 32, 32, 32]);
});

test.run();
