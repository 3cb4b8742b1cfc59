// The kernels for tensor cores. Where the adapter has none, all but the products themselves is run with an emulation of those, and
// what runs on tensor cores is compiled on Dawn's null backend.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Tensor } from '../src/core/tensor.ts';
import type { Adapter, Gpu } from '../src/gpu/gpu.ts';
import { readShader } from '../src/gpu/node.ts';
import { PipelineCache } from '../src/gpu/pipeline.ts';
import { type Consts, loadShader, type ShaderSource } from '../src/gpu/shader.ts';
import { matmul } from '../src/ops/index.ts';
import { planOf } from '../src/ops/matrix/plan.ts';
import { prepare } from '../src/ops/matrix/prepare.ts';
import {
  emulateTensorCores,
  hasTensorCores,
  MATRICES,
  type Matrices,
  phasesOf,
  tensorDgrads,
  tensorMultiplies,
  tensorNames,
} from '../src/ops/matrix/tensor.ts';
import { gradcheck, type OperationCase } from './cases/case.ts';
import { convCases, convCasesOf } from './cases/conv2d.ts';
import { halved } from './cases/half.ts';
import { linearCases, matmulCases } from './cases/matmul.ts';
import { checkSpoilt, forcing } from './forcing.ts';
import { gpu, gpuTest, halfTest, onDevice } from './gpu.ts';

const LIMIT_MS = 600_000;
/** Where a phase sums more terms than one part takes at least twice. */
const phases = { what: 'stride 2, many terms', x: [1, 4, 4, 8], w: [136, 3, 3], stride: 2, padding: 1 } as const;
const uneven = { x: [2, 6, 9, 8], w: [16, 3, 4], stride: [2, 3], padding: [2, 0], bias: true } as const;
const added = [phases, { what: 'eights, nothing the same down and across', ...uneven }];
const cases = halved([...convCases, ...convCasesOf(added), ...matmulCases, ...linearCases]);
const full = process.env.DAWNGRAD_TEST === 'full';

const [large] = MATRICES;
const called = ({ M, N, K }: Matrices): string => `${M}×${N}×${K}`;

/** Those of Intel's GPUs. */
const intel = new Set(['8×16×16', '8×8×16']);

/** What an adapter says that multiplies such matrices. */
const tensorCores = (matrices: Matrices): Partial<Adapter> => ({
  software: false,
  features: new Set(['shader-f16', 'subgroups', 'subgroup-size-control', 'chromium-experimental-subgroup-matrix']),
  subgroupSizes: { min: (matrices.M * matrices.N) / 8, max: 32 },
  subgroupMatrixConfigs: [{ componentType: 'f16', resultComponentType: 'f32', ...matrices }],
});

/** The adapter that kernels see, with these facts changed. */
const pretend = (other: Gpu, facts: Partial<Adapter>): void => {
  Object.defineProperty(other, 'adapter', { value: { ...other.adapter, ...facts } });
};

/** Runs `fn` on a checked device where such products are emulated. */
const emulating = (matrices: Matrices, fn: (other: Gpu) => Promise<void>): Promise<void> =>
  onDevice({}, async (other) => {
    emulateTensorCores(matrices);
    try {
      await fn(other);
    } finally {
      emulateTensorCores(null);
    }
  });

/** Pipelines of kernels for tensor cores that a device has made. */
const made = ({ pipelines }: Gpu): string[] => labelsOf(pipelines).filter((label) => /_tensor\.main/.test(label));
const labelsOf = (pipelines: object): string[] => [
  ...(pipelines as { pipelines: ReadonlyMap<string, unknown> }).pipelines.keys(),
];

/** Rows of any length and of eights, edges, taps, strides, a bias, several parts. */
const telling =
  /a·bᵀ (65×33×130|8×12×16)|VGG’s first|stride 2, (even sides|eights|many terms)|deep: 136|nothing the same/;
const odd = /a·bᵀ 65×33×130/;

/** Holds the variant called `name` against the reference, on a device where it fits. */
async function pass(name: string, other: Gpu, chosen: readonly OperationCase[], pipelines: number): Promise<void> {
  await forcing(name, async () => {
    for (const { what, make } of chosen) await gradcheck({ ...make(), what });
    if (full) for (const channels of [3, 8]) await checkSpoilt(channels, 'f16');
  });
  assert.ok(made(other).length >= pipelines, `${made(other).length} pipelines`);
  const others = labelsOf(other.pipelines).filter(
    (label) => /^(matmul|conv2d)/.test(label) && !made(other).includes(label),
  );
  assert.equal(others, [], 'nothing but the variant has computed');
}

for (const matrices of MATRICES) {
  const names = tensorNames(matrices);
  const smallest = names.at(-1);
  // They take lavapipe long to compile. Of the other sizes of matrices one tile is run, and all are compiled below, for tensor cores.
  for (const name of matrices === large || full ? names : [smallest!]) {
    const few = (name === smallest && matrices.N > 8) || full ? telling : odd;
    const chosen = name === smallest && full ? cases : cases.filter(({ what }) => few.test(what));
    halfTest(
      `"${name}" passes ${chosen.length} of the f16 cases of matmul, linear and conv2d, its products emulated`,
      () => emulating(matrices, (other) => pass(name, other, chosen, few === odd ? 3 : 8)),
      LIMIT_MS,
    );
  }
  if (!hasTensorCores(gpu.adapter, matrices)) continue;
  for (const name of names) {
    for (const flags of ['checked', 'fast'] as const) {
      gpuTest(
        `"${name}" passes the f16 cases on the adapter's own tensor cores, with the ${flags} flags`,
        () => onDevice({ flags }, (other) => pass(name, other, cases, 8)),
        LIMIT_MS,
      );
    }
  }
}

/** Records a case forward and backward. */
function recordCase({ make }: OperationCase): void {
  const { op, inputs, dtypes } = make();
  const tensors = inputs.map(({ shape }, i) => Tensor.full(shape, 1, dtypes?.[i]));
  for (const tensor of tensors) tensor.requiresGrad = true;
  const y = op(tensors);
  y.backward(y.emptyLike());
}

/** Errors of a shader's text, without making a pipeline of it. */
async function errorsIn({ device }: Gpu, name: string, consts: Consts): Promise<string[]> {
  const module = device.createShaderModule({ code: loadShader(name, consts, readShader).code });
  const { messages } = await module.getCompilationInfo();
  return messages.map(({ message }) => message);
}

/**
 * Registers that an invocation needs for the sums, for what it loads ahead, and for the matrices that are being multiplied. Compiled by
 * Mesa 26.2 for Intel's GPUs, kernels spilled from 72 on, of the 128 that a thread has.
 */
function registersOf({ M, N, K }: Matrices, consts: Consts): number {
  const [rows, across, columns, products] = (['SUBGROUPS_M', 'SUBGROUPS_N', 'COLUMNS', 'PRODUCTS'] as const).map(
    (name) => Number(consts[name]),
  ) as [number, number, number, number];
  const lanes = (M * N) / 8;
  const chunks = (products * K * 2) / (N * across) + (products * K * columns) / (M * rows);
  const operands = ((2 * M + N) * K) / 2;
  return 2 * columns * 8 + 4 * chunks + operands / lanes;
}

for (const [matrices, name] of MATRICES.flatMap((each) => tensorNames(each).map((name) => [each, name] as const))) {
  gpuTest(`every specialisation of "${name}" compiles for tensor cores`, () =>
    onDevice({ adapter: 'null' }, async (other) => {
      // The null backend makes no pipeline whose workgroup takes more than 16 KiB, as the larger tiles do: as modules they are
      // whole, as pipelines they have a part of their subgroups.
      pretend(other, tensorCores(matrices));
      const limits = { ...limitsOf(other), maxComputeWorkgroupStorageSize: 48 << 10 };
      Object.defineProperty(other, 'limits', { value: limits });
      const asked: [string, Consts][] = [];
      const get = other.pipelines.get.bind(other.pipelines);
      other.pipelines.get = (shader, entry, consts) => {
        if (!shader.endsWith('_tensor')) return get(shader, entry, consts);
        asked.push([shader, consts]);
        const part = { SUBGROUPS_M: 32 / matrices.M, SUBGROUPS_N: consts.COLUMNS === 4 ? 1 : 2 };
        return get(shader, entry, { ...consts, ...part });
      };
      await forcing(name, async () => {
        for (const one of cases) {
          recordCase(one);
          await other.stream.flush();
        }
      });
      assert.ok(made(other).length >= 16, `${made(other).length} pipelines`);
      const different = new Map(asked.map((one) => [JSON.stringify(one), one]));
      for (const [, { SIZE }] of different.values()) assert.is(SIZE, 'lib/subgroup_size_lanes.wgsl');
      if (intel.has(called(matrices)))
        for (const [, consts] of different.values())
          assert.ok(registersOf(matrices, consts) < 72, JSON.stringify(consts));
      for (const one of different.values()) assert.equal(await errorsIn(other, ...one), [], JSON.stringify(one));
    }),
  );
}

const limitsOf = ({ limits: { maxStorageBufferBindingSize, maxComputeInvocationsPerWorkgroup } }: Gpu) => ({
  maxStorageBufferBindingSize,
  maxComputeInvocationsPerWorkgroup,
});

/** Gives a device a kernel source of its own. */
function reading(other: Gpu, source: ShaderSource): void {
  const pipelines = new PipelineCache(other.device, source, other.adapter.name);
  Object.defineProperty(other, 'pipelines', { value: pipelines });
}

/** A product of f16 matrices, large enough for a tile. */
function multiplyHalves(): void {
  const [a, b] = [Tensor.full([64, 64], 1, 'f16'), Tensor.full([64, 64], 1, 'f16')];
  matmul(a, b);
}

const computedBy = (other: Gpu): string[] => [...planOf(other).used().values()];

halfTest('operands of another GPU are refused, though they are read as words', async () => {
  const there = Tensor.full([64, 64], 1, 'f16');
  await emulating(large, () =>
    forcing('tensor 64×64×32', async () => {
      assert.throws(() => matmul(there, there), /^matmul_tensor.* 'a' is on another GPU/);
    }),
  );
});

/** On a device with f16 and workgroup memory for the smallest tile alone, whose products are emulated. */
const withSmallTiles = (fn: (other: Gpu) => Promise<void>): Promise<void> =>
  emulating(large, async (other) => {
    Object.defineProperty(other, 'limits', { value: { ...limitsOf(other), maxComputeWorkgroupStorageSize: 16 << 10 } });
    await fn(other);
  });

halfTest(
  'a kernel for tensor cores is taken once it was verified right on the device, not before, and is then not checked again',
  async () => {
    const verified = new Map<string, readonly string[]>();
    await withSmallTiles(async (other) => {
      multiplyHalves();
      assert.equal(computedBy(other), ['lanes']);
      const { checked, warnings } = await prepare(other, multiplyHalves, { verified });
      assert.equal({ checked, warnings }, { checked: 1, warnings: [] });
      multiplyHalves();
      assert.equal(computedBy(other), ['tensor 64×64×32']);
      assert.equal([...verified.values()], [['tensor 64×64×32']]);
    });
    await withSmallTiles(async (other) => {
      assert.is((await prepare(other, multiplyHalves, { verified })).checked, 0);
      multiplyHalves();
      assert.equal(computedBy(other), ['tensor 64×64×32']);
    });
  },
  LIMIT_MS,
);

halfTest(
  'one that multiplies wrongly is found out, and never taken',
  () =>
    withSmallTiles(async (other) => {
      const right = 'total.high += x * rightAt(at.y + 4u * nextColumn)';
      reading(other, (path) => {
        const text = readShader(path);
        assert.is(text.includes(right), path === 'lib/mma_emulated.wgsl');
        return text.replace(right, 'total.high += x * rightAt(at.y + 3u * nextColumn)');
      });
      const verified = new Map<string, readonly string[]>();
      const { checked, warnings } = await prepare(other, multiplyHalves, { verified });
      assert.equal([checked, warnings.length], [1, 1]);
      assert.match(
        warnings[0]!,
        /^The kernel 'tensor 64×64×32' is not used on .*: for matmul 64×64×64.* it is off by /,
      );
      assert.is(verified.size, 0, 'to be checked, and warned of, each time');
      multiplyHalves();
      assert.equal(computedBy(other), ['lanes']);
    }),
  LIMIT_MS,
);

test('only products of f16 with sums in f32, in subgroups of the size that they take, are taken for tensor cores', () => {
  for (const one of MATRICES) {
    const its = { ...gpu.adapter, ...tensorCores(one) };
    assert.equal(MATRICES.filter((each) => hasTensorCores(its, each)).map(called), [called(one)]);
  }
  const facts = tensorCores(large);
  const adapter = { ...gpu.adapter, ...facts };
  const [config] = facts.subgroupMatrixConfigs!;
  const without = (feature: string) => new Set([...facts.features!].filter((one) => one !== feature));
  const lacking: Partial<Adapter>[] = [
    { subgroupMatrixConfigs: [] },
    { subgroupMatrixConfigs: [{ ...config!, resultComponentType: 'f16' }] },
    { subgroupMatrixConfigs: [{ ...config!, M: 8 }] },
    { features: without('chromium-experimental-subgroup-matrix') },
    { features: without('shader-f16') },
    { subgroupSizes: { min: 64, max: 64 } },
    { subgroupSizes: { min: 32, max: 64 }, features: without('subgroup-size-control') },
  ];
  for (const lack of lacking) assert.not(hasTensorCores({ ...adapter, ...lack }, large), JSON.stringify(lack));
  assert.ok(hasTensorCores({ ...adapter, subgroupSizes: { min: 32, max: 64 } }, large), 'a size can be asked for');
  assert.ok(hasTensorCores({ ...adapter, features: without('subgroup-size-control') }, large), 'there is one size');
});

gpuTest('a tile is offered for f16 operands, and where its workgroup memory is to be had', () =>
  onDevice({ adapter: 'null' }, async (other) => {
    pretend(other, tensorCores(large));
    const product = { M: 64, N: 64, K: 64, transposeA: false, transposeB: false };
    const offered = (dtype: 'f32' | 'f16'): string[] => {
      const [a, b] = [Tensor.empty([64, 64], dtype), Tensor.empty([64, 64], dtype)];
      const problem = { a, b, bias: null, c: Tensor.empty([64, 64]), product };
      return tensorMultiplies.filter(({ fits }) => fits(problem, other.adapter)).map(({ name }) => name);
    };
    assert.equal(offered('f16'), ['tensor 64×64×32'], 'in 16 KiB');
    assert.equal(offered('f32'), []);
    const usual = limitsOf(other);
    const limited = (facts: object) => {
      Object.defineProperty(other, 'limits', { value: { ...usual, ...facts }, configurable: true });
      return offered('f16').length;
    };
    limited({ maxComputeWorkgroupStorageSize: 32 << 10 });
    assert.equal(offered('f16'), tensorNames(large));
    // Of 128×128×32: operands whose lines are eight elements longer, and a matrix of sums whose lines are four longer a subgroup.
    const bytes = 2 * 2 * 128 * (32 + 8) + 4 * 8 * 16 * (16 + 4);
    assert.equal(
      [bytes - 1, bytes].map((maxComputeWorkgroupStorageSize) => limited({ maxComputeWorkgroupStorageSize })),
      [2, 3],
    );
    const invocations = [127, 128, 255, 256].map((maxComputeInvocationsPerWorkgroup) =>
      limited({ maxComputeInvocationsPerWorkgroup, maxComputeWorkgroupStorageSize: bytes }),
    );
    assert.equal(invocations, [0, 2, 2, 3]);
  }),
);

gpuTest('a long reduction is cut where the tiles would leave an adapter idle, in parts of eight steps or more', () =>
  onDevice({ adapter: 'null' }, async (other) => {
    pretend(other, tensorCores(large));
    const tile = tensorMultiplies.find(({ name }) => name === 'tensor 64×64×32')!;
    const partsOf = (M: number, K: number): number => {
      const [a, b, c] = [Tensor.empty([M, K], 'f16'), Tensor.empty([K, 64], 'f16'), Tensor.empty([M, 64])];
      const product = { M, N: 64, K, transposeA: false, transposeB: false };
      const [first] = other.stream.capture(() => tile.run({ a, b, bias: null, c, product }));
      assert.is(first!.kind, 'dispatch');
      return first!.kind === 'dispatch' ? first!.grid[2] : 0;
    };
    assert.equal([partsOf(64, 64), partsOf(64, 15 * 32), partsOf(64, 16 * 32), partsOf(64, 4096)], [1, 1, 2, 16]);
    assert.is(partsOf(64 * 132, 4096), 2);
    assert.is(partsOf(64 * 133, 4096), 1);
  }),
);

test('a phase of a data gradient has the rows and the taps that meet', () => {
  for (const [extent, taps, stride, padding] of [
    [7, 3, 2, 1],
    [8, 5, 2, 2],
    [9, 1, 2, 0],
    [6, 2, 3, 0],
    [2, 3, 4, 1],
    [5, 4, 3, 3],
    [4, 3, 1, 2],
  ] as const) {
    const met: string[] = [];
    for (const phase of phasesOf(extent, taps, stride, padding)) {
      assert.ok(phase.taps >= 0);
      for (let i = 0; i < phase.extent; i++)
        for (let tap = 0; tap < phase.taps; tap++)
          met.push(`${phase.phase + i * stride} ${phase.first + tap * stride} ${phase.top + i - tap}`);
    }
    const expected: string[] = [];
    for (let row = 0; row < extent; row++)
      for (let tap = 0; tap < taps; tap++)
        if ((row + padding - tap) % stride === 0) expected.push(`${row} ${tap} ${(row + padding - tap) / stride}`);
    assert.equal(met.sort(), expected.sort(), `${[extent, taps, stride, padding]}`);
  }
});

test('large products take large tiles, small ones small tiles, and tiny ones none', () => {
  const best = (M: number, N: number, K: number): string | undefined => {
    const problem = { product: { M, N, K, transposeA: false, transposeB: false } } as never;
    const adapter = { ...gpu.adapter, ...tensorCores(large) };
    const ofLarge = tensorMultiplies.filter(({ name }) => tensorNames(large).includes(name));
    const ranked = ofLarge.map(({ name, rank }) => ({ name, rank: rank(problem, adapter) }));
    return ranked.filter(({ rank }) => rank < 1).sort((a, b) => a.rank - b.rank)[0]?.name;
  };
  assert.is(best(4096, 4096, 4096), 'tensor 128×128×32');
  assert.is(best(147_456, 64, 576), 'tensor 128×64×32');
  assert.is(best(512, 512, 64), 'tensor 64×64×32');
  assert.is(best(64, 7, 512), undefined);
  assert.is(best(64, 64, 15), undefined);
  assert.is(best(16, 16, 16), 'tensor 64×64×32');
});

test('tensor cores are for hardware, and for data gradients of few phases, each of which is one part', () => {
  const adapter = { ...gpu.adapter, ...tensorCores(large) };
  const rankOf = (stride: number, facts: Partial<Adapter> = {}): number => {
    const extents = { N: 64, H: 64, W: 64, C: 64, K: 64, R: 5, S: 5, P: 64 / stride, Q: 64 / stride };
    const shape = { ...extents, strideH: stride, strideW: stride, padH: 0, padW: 0 };
    return tensorDgrads[0]!.rank({ shape } as never, { ...adapter, ...facts });
  };
  assert.ok(rankOf(1) < 1 && rankOf(4) < 1);
  const small = { N: 1, H: 16, W: 16, C: 64, K: 512, R: 5, S: 5, P: 8, Q: 8, strideH: 2, strideW: 2, padH: 2, padW: 2 };
  const tile = tensorDgrads.find(({ name }) => name === 'tensor 64×64×32')!;
  // One of the 264 workgroups that keep an adapter busy.
  assert.ok(Math.abs(tile.rank({ shape: small } as never, adapter) - (1 - 0.7 / 264)) < 1e-12);
  assert.is(rankOf(5), Number.POSITIVE_INFINITY);
  assert.is(rankOf(1, { software: true }), Number.POSITIVE_INFINITY);
});

test.run();
