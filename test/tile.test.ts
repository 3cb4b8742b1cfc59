import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Tensor } from '../src/core/tensor.ts';
import { readShader } from '../src/gpu/node.ts';
import { type Pipeline, PipelineCache } from '../src/gpu/pipeline.ts';
import { loadShader } from '../src/gpu/shader.ts';
import * as ops from '../src/ops/index.ts';
import { forwards, wgrads } from '../src/ops/matrix/convolve.ts';
import { multiply } from '../src/ops/matrix/multiply.ts';
import type { Extents, Product } from '../src/ops/matrix/problem.ts';
import { inSplits } from '../src/ops/matrix/splits.ts';
import { tileDgrads, tileProducts } from '../src/ops/matrix/tile.ts';
import {
  MAX_SPLITS,
  planTile,
  type TileSize,
  tileBytes,
  tileName,
  tileSizes,
  tileThreads,
} from '../src/ops/matrix/tileplan.ts';
import { candidatesFor, compute } from '../src/ops/matrix/variant.ts';
import { gradcheck, type OperationCase } from './cases/case.ts';
import { type ConvShape, convCases, convCasesOf } from './cases/conv2d.ts';
import { linearCasesOf, matmulCasesOf } from './cases/matmul.ts';
import { checkSpoilt, forcing } from './forcing.ts';
import { gpu, gpuTest, halfTest, onDevice } from './gpu.ts';

const SMALL: TileSize = tileSizes.find(({ BM }) => BM === 32)!;
const LARGE: TileSize = tileSizes[0]!;

// They share kernels where they can, which take seconds to compile: 20 or more channels are one kernel, 3 another.
const convShapes: readonly ConvShape[] = [
  { what: 'several tiles each way, dgrad in parts', x: [2, 6, 7, 20], w: [72, 3, 3], padding: 1, bias: true },
  { what: '5×5, stride 2, four phases, all in parts', x: [3, 19, 18, 20], w: [44, 5, 5], padding: 2, stride: 2 },
  { what: '3×3, stride 2, even sides', x: [2, 8, 6, 20], w: [20, 3, 3], padding: 1, stride: 2, bias: true },
  { what: '3×3, stride 2, odd sides, not padded', x: [2, 7, 9, 20], w: [20, 3, 3], stride: 2 },
  { what: '1×1, stride 2, phases without taps', x: [2, 7, 6, 20], w: [20, 1, 1], stride: 2 },
  { what: '2×2, stride 3, columns skipped', x: [1, 8, 7, 20], w: [20, 2, 2], stride: 3 },
  { what: 'stride beyond the image', x: [1, 3, 2, 20], w: [20, 2, 2], stride: 4 },
  { what: 'strides 1 and 2, padding 2 and 0', x: [2, 5, 7, 20], w: [20, 2, 3], stride: [1, 2], padding: [2, 0] },
  { what: 'padding wider than the image', x: [1, 2, 2, 20], w: [20, 5, 5], padding: 4, bias: true },
  { what: '24 channels: steps that cross taps', x: [1, 5, 5, 24], w: [40, 3, 3], padding: 1 },
  {
    what: 'a phase of fewer steps than its parts hold',
    x: [1, 2, 1, 20],
    w: [376, 7, 1],
    stride: [2, 1],
    padding: [3, 0],
  },
  { what: '3 channels', x: [2, 6, 7, 3], w: [8, 3, 3], padding: 1, bias: true },
  { what: '3 channels, 7×7, stride 2', x: [1, 13, 12, 3], w: [8, 7, 7], stride: 2, padding: 3 },
  { what: '3 channels, wgrad in parts', x: [1, 47, 23, 3], w: [8, 3, 3], padding: 1 },
  { what: '3 to 5 channels, stride 2, odd sides', x: [2, 7, 9, 3], w: [5, 3, 3], stride: 2, padding: 1, bias: true },
  { what: '20 to 7 channels', x: [1, 4, 5, 20], w: [7, 3, 3], padding: 1, bias: true },
  { what: '7 to 20 channels', x: [1, 4, 5, 7], w: [20, 3, 3], padding: 1 },
];

// K of 260 is summed in two parts.
const products = [
  [65, 33, 130],
  [40, 72, 260],
] as const;
const productCases = [...matmulCasesOf(products), ...linearCasesOf(ops.linear, products)];

async function checkAll(cases: readonly OperationCase[]): Promise<void> {
  for (const { what, make } of cases) await gradcheck({ ...make(), what });
}

const full = process.env.DAWNGRAD_TEST === 'full';
const LIMIT_MS = 240_000;

/** The cases, computed by tiles of a size. */
const passes = (size: TileSize, what: string, cases: readonly OperationCase[]): void =>
  gpuTest(`${tileName(size)}: ${what}`, () => forcing(tileName(size), () => checkAll(cases)), LIMIT_MS);

passes(SMALL, 'products pass the cases', productCases);

passes(SMALL, 'convolutions of 20 channels and more pass the cases', convCasesOf(convShapes.slice(0, 11)));
passes(SMALL, 'convolutions of few or odd channels pass the cases', convCasesOf(convShapes.slice(11)));

for (const size of tileSizes.filter((one) => one !== SMALL)) {
  const oddProduct = productCases.filter(({ what }) => what.includes('a·bᵀ 65×33×130'));
  passes(size, 'a product of odd extents passes', oddProduct);
  if (size !== LARGE && !full) continue;
  const severalTiles = convCases.filter(({ what }) => what.includes('more than a tile'));
  passes(size, 'a convolution of several tiles passes', severalTiles);
}

const integers = (shape: readonly [number, number, ...number[]], factor: number): Float32Array =>
  Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => ((i * factor) % 7) - 3);

gpuTest('what is not finite is in no sum but those that it is a term of', () =>
  forcing(tileName(SMALL), async () => {
    const [x, w] = [new Float32Array(65 * 5).fill(1), new Float32Array(33 * 5).fill(1)];
    x[1 * 5 + 4] = Number.POSITIVE_INFINITY;
    w[2 * 5 + 4] = Number.POSITIVE_INFINITY;
    const c = await ops.matmul(Tensor.from(x, [65, 5]), Tensor.from(w, [33, 5]), { transposeB: true }).read();
    const infinite = (i: number): boolean => Math.floor(i / 33) === 1 || i % 33 === 2;
    assert.ok(c.every((value, i) => value === (infinite(i) ? Number.POSITIVE_INFINITY : 5)));
    for (const channels of [3, 20]) await checkSpoilt(channels);
  }),
);

gpuTest('pixels are decoded before any invocation reads them, in whatever order those run', () =>
  onDevice({ flags: 'fast' }, async (other) => {
    const mixed = (path: string): string =>
      readShader(path).replace(
        '(jobOf(workgroup, grid), local)',
        '(jobOf(workgroup, grid), (37u * local + 11u) % THREADS)',
      );
    Object.defineProperty(other, 'pipelines', { value: new PipelineCache(other.device, mixed, other.adapter.name) });
    const extents = { N: 1, H: 12, W: 12, C: 20, K: 20, R: 3, S: 3, P: 12, Q: 12 };
    const shape = { ...extents, strideH: 1, strideW: 1, padH: 1, padW: 1 };
    const [x, y] = [5, 11].map((factor) => Tensor.from(integers([1, 12, 12, 20], factor), [1, 12, 12, 20])) as [
      Tensor,
      Tensor,
    ];
    const w = Tensor.from(integers([20, 3, 3, 20], 3), [20, 3, 3, 20]);
    const results: number[][][] = [];
    for (const name of [tileName(SMALL), 'lanes']) {
      const [out, dw] = [Tensor.empty([1, 12, 12, 20]), Tensor.empty([20, 3, 3, 20])];
      await forcing(name, async () => {
        compute(forwards, { x, w, bias: null, y: out, shape });
        compute(wgrads, { x, dy: y, dw, shape });
      });
      results.push([[...(await out.read())], [...(await dw.read())]]);
    }
    assert.equal(results[0], results[1]);
  }),
);

/** Computes a product of whole numbers by the small tile, and compares it with their sums. */
async function checkWhole(product: Product, dtype: 'f32' | 'f16'): Promise<void> {
  const { M, N, K, transposeA, transposeB } = product;
  const [x, w] = [integers([M, K], 5), integers([N, K], 11)];
  const a = Tensor.from(x, transposeA ? [K, M] : [M, K], { dtype });
  const b = Tensor.from(w, transposeB ? [N, K] : [K, N], { dtype });
  const c = Tensor.empty([M, N], dtype);
  await forcing(tileName(SMALL), async () => multiply(a, b, null, c, product));
  const dot = (i: number): number => {
    const [m, n] = [Math.floor(i / N), i % N];
    const term = (k: number) => x[transposeA ? k * M + m : m * K + k]! * w[transposeB ? n * K + k : k * N + n]!;
    return Array.from({ length: K }, (_, k) => term(k)).reduce((p, q) => p + q);
  };
  assert.equal(
    [...(await c.read())],
    Array.from({ length: M * N }, (_, i) => dot(i)),
  );
}

halfTest('f16 operands are read as such, and sums kept in f32', () =>
  checkWhole({ M: 36, N: 68, K: 40, transposeA: false, transposeB: true }, 'f16'),
);

gpuTest('one operand is read in fours, the other one by one', async () => {
  await checkWhole({ M: 40, N: 33, K: 20, transposeA: false, transposeB: false }, 'f32');
  await checkWhole({ M: 33, N: 40, K: 20, transposeA: true, transposeB: false }, 'f32');
});

gpuTest('any number of parts is summed with the bias, and nothing that lies after them', async () => {
  for (const splits of [2, 3, 4, 5, 7]) {
    for (const columns of [3, 4]) {
      const [y, bias] = [Tensor.empty([64, columns]), Tensor.from([10, 20, 30, 40].slice(0, columns))];
      inSplits(y, bias, splits, (into, add) => {
        assert.is(add, null);
        into.write(Float32Array.from({ length: into.size }, (_, i) => (i < splits * y.size ? i : Number.NaN)));
      });
      const sum = (i: number) => splits * i + (y.size * splits * (splits - 1)) / 2 + 10 * ((i % columns) + 1);
      assert.equal(
        [...(await y.read())],
        Array.from({ length: y.size }, (_, i) => sum(i)),
      );
    }
  }
});

test('the cases split what they say', () => {
  const splitsOf = (extents: Extents, phases = 1): number => planTile({ ...extents, phases }, SMALL, 1000).splits;
  assert.ok(splitsOf({ M: 40, N: 72, K: 260 }) > 1);
  assert.ok(splitsOf({ M: 2 * 6 * 7, N: 20, K: 72 * 9 }) > 1);
  assert.ok(splitsOf({ M: 3 * 10 * 9, N: 20, K: (44 * 25) / 4 }, 4) > 1);
  assert.ok(splitsOf({ M: 44, N: 20 * 25, K: 3 * 10 * 9 }) > 1);
  assert.ok(splitsOf({ M: 8, N: 27, K: 47 * 23 }) > 1);
  // Three taps are 71 steps: nine parts of eight steps leave none to the tenth.
  assert.is(splitsOf({ M: 1, N: 20, K: (376 * 7) / 2 }, 2), 10);
});

test('tiles keep to the rules of lib/staged.wgsl', () => {
  for (const size of tileSizes) {
    const { BM, BN, BK, QUADS_N } = size;
    const threads = tileThreads(size);
    assert.is(threads % 32, 0);
    assert.ok(threads <= 256);
    assert.ok(threads >= BM && threads >= ((BM + BN) * BK) / 16, tileName(size));
    // Warps are eight invocations across and four down, and operands change between warps.
    assert.is((BN / (4 * QUADS_N)) % 8, 0);
    assert.is(((BM * BK) / 16) % 32, 0);
    assert.is(threads % BK, 0);
  }
  const spare = tileSizes.filter((size) => tileBytes(size) <= 16_384);
  assert.ok(
    spare.some(({ BM, BN }) => BM * BN === 64 * 64),
    'the least that WebGPU grants is enough for a tile of 64×64',
  );
});

const plan = (extents: Extents, size: TileSize): number => planTile(extents, size, 1000).splits;
const cheapest = (extents: Extents): string =>
  tileName([...tileSizes].sort((a, b) => planTile(extents, a, 1000).cost - planTile(extents, b, 1000).cost)[0]!);

test('plans fill a large GPU, and split no more than that', () => {
  const batch = 64;
  const layer = (side: number, C: number, K: number): Extents => ({
    M: batch * side * side,
    N: K,
    K: 9 * C,
  });
  assert.is(plan(layer(48, 64, 64), LARGE), 1);
  assert.is(plan(layer(24, 128, 128), LARGE), 1);
  assert.ok(plan(layer(3, 512, 512), LARGE) >= 8, 'few pixels, many channels');
  assert.ok(plan({ M: 64, N: 576, K: batch * 48 * 48 }, LARGE) >= 16, 'few weights, many pixels');
  assert.is(planTile(layer(3, 512, 512), LARGE, 3).splits, 3);
  assert.is(plan({ M: 4096, N: 4096, K: 64 }, LARGE), 1);
  assert.is(plan({ M: 256, N: 512, K: 4096 }, LARGE), 32, 'a core with one workgroup waits');
  assert.equal(
    [255, 256, 2 ** 22].map((K) => plan({ M: 64, N: 64, K }, SMALL)),
    [1, 2, MAX_SPLITS],
  );
  assert.is(planTile({ M: 64, N: 64, K: 4096, phases: 100 }, SMALL, 1000).splits, 3);
});

test('large tiles for large products, narrow ones for narrow', () => {
  assert.is(cheapest({ M: 4096, N: 4096, K: 4096 }), 'tile 128×128×16');
  assert.is(cheapest({ M: 147_456, N: 64, K: 576 }), 'tile 128×64×8');
  assert.is(cheapest({ M: 64, N: 576, K: 147_456 }), 'tile 64×64×16');
  assert.is(cheapest({ M: 100_000, N: 24, K: 576 }), 'tile 64×32×16');
  assert.is(cheapest({ M: 16, N: 4096, K: 512 }), 'tile 32×64×16');
});

gpuTest('hardware takes a tile before anything else, software never', async () => {
  const namesOn = (software: boolean): string[] => {
    const [x, w, y] = [Tensor.zeros([1, 8, 8, 64]), Tensor.zeros([64, 3, 3, 64]), Tensor.zeros([1, 8, 8, 64])];
    assert.is(y.storage.gpu.adapter.software, software);
    const shape = {
      ...{ N: 1, H: 8, W: 8, C: 64, K: 64, R: 3, S: 3, P: 8, Q: 8 },
      strideH: 1,
      strideW: 1,
      padH: 1,
      padW: 1,
    };
    return candidatesFor(forwards, { x, w, bias: null, y, shape }).map(({ name }) => name);
  };
  await onDevice({ adapter: 'null' }, () => {
    const names = namesOn(false);
    const tiles = names.filter((name) => name.startsWith('tile '));
    assert.ok(tiles.length >= 1 && tiles.length <= 4, names.join(', '));
    assert.equal(names.slice(0, tiles.length), tiles);
  });
  if (gpu.adapter.software) assert.not(namesOn(true).some((name) => name.startsWith('tile ')));
});

gpuTest(
  'a tile fits where its invocations and its workgroup memory are to be had, and its phases in a grid',
  async () => {
    // Of the largest: four groups of lines of both operands, each two vectors longer than its rows, and one for each invocation.
    const bytes = 16 * (2 * 4 * (128 + 2) + 256);
    const usual = {
      maxStorageBufferBindingSize: 2 ** 27,
      maxComputeInvocationsPerWorkgroup: 256,
      maxComputeWorkgroupSizeX: 256,
      maxComputeWorkgroupStorageSize: bytes,
    };
    const product = { M: 64, N: 64, K: 64, transposeA: false, transposeB: false };
    const fitting = (limits: Partial<typeof usual>, stride = [1, 1]): Promise<number[]> =>
      onDevice({ adapter: 'null' }, (other) => {
        Object.defineProperty(other, 'limits', { value: { ...usual, ...limits } });
        const c = Tensor.empty([64, 64]);
        const extents = { N: 1, H: 64, W: 64, C: 1, K: 1, R: 1, S: 1, P: 2, Q: 2, padH: 0, padW: 0 };
        const shape = { ...extents, strideH: stride[0]!, strideW: stride[1]! };
        return [
          tileProducts.filter(({ fits }) => fits({ a: c, b: c, bias: null, c, product }, other.adapter)).length,
          tileDgrads.filter(({ fits }) => fits({ dy: c, w: c, dx: c, shape }, other.adapter)).length,
        ];
      });
    assert.equal(await fitting({}), [5, 5]);
    assert.equal(await fitting({ maxComputeWorkgroupStorageSize: bytes - 1 }), [4, 4]);
    assert.equal(await fitting({ maxComputeInvocationsPerWorkgroup: 255 }), [4, 4]);
    assert.equal(await fitting({ maxComputeWorkgroupSizeX: 255 }), [4, 4]);
    assert.equal(await fitting({}, [33, 31]), [5, 5]);
    assert.equal(await fitting({}, [32, 32]), [5, 0]);
  },
);

gpuTest('of products that differ in their terms alone, each has the tiles that suit it', () =>
  onDevice({ adapter: 'null' }, ({ adapter }) => {
    const c = Tensor.empty([512, 512]);
    const best = (K: number): string | undefined => {
      const product = { M: 512, N: 512, K, transposeA: false, transposeB: false };
      return tileProducts.find(({ rank }) => rank({ a: c, b: c, bias: null, c, product }, adapter) === 1)?.name;
    };
    assert.equal([64, 65_536].map(best), ['tile 64×32×16', 'tile 128×64×8']);
  }),
);

gpuTest('every size of tile compiles on the null backend in every specialisation of the cases', () =>
  onDevice({ adapter: 'null' }, async (other) => {
    for (const size of tileSizes) {
      await forcing(tileName(size), async () => {
        for (const { make } of [...productCases, ...convCasesOf(convShapes)]) {
          const { op, inputs } = make();
          const tensors = inputs.map(({ shape }) => Tensor.full(shape, 1));
          for (const tensor of tensors) tensor.requiresGrad = true;
          const y = op(tensors);
          y.backward(Tensor.full(y.shape, 1));
          await other.stream.flush();
        }
      });
    }
    assert.ok(other.pipelines.size > 80, `${other.pipelines.size} pipelines`);
  }),
);

for (const narrow of [8, 16]) {
  gpuTest(
    `where ${narrow} invocations share the registers of a thread, tiles ask for so many, and the largest are left out`,
    () =>
      onDevice({ adapter: 'null' }, async (other) => {
        Object.defineProperty(other, 'adapter', { value: { ...other.adapter, narrow } });
        const [a, b, c] = [Tensor.full([64, 64], 1), Tensor.full([64, 64], 1), Tensor.empty([64, 64])];
        const product = { M: 64, N: 64, K: 64, transposeA: false, transposeB: false };
        const fitting = tileProducts.filter((one) => one.fits({ a, b, bias: null, c, product }, other.adapter));
        assert.equal(
          fitting.map(({ name }) => name),
          ['tile 64×64×16', 'tile 64×32×16', 'tile 32×64×16'],
        );
        const used: Pipeline[] = [];
        for (const variant of fitting) {
          variant.run({ a, b, bias: null, c, product });
          used.push(other.stream.latest!);
        }
        await other.stream.flush();
        for (const { shader, handle } of used) {
          assert.match(shader.code, '@subgroup_size(LANES)');
          assert.match(shader.code, new RegExp(`const LANES(: u32)? = ${narrow}u;`));
          assert.ok(handle);
        }
      }),
  );
}

gpuTest('the tile that is too large for the null backend compiles as a module', () =>
  onDevice({ adapter: 'null' }, async ({ device, limits }) => {
    const large = tileSizes.filter((size) => tileBytes(size) > limits.maxComputeWorkgroupStorageSize);
    assert.ok(large.includes(LARGE));
    for (const size of large) {
      const { BM, BN, BK, QUADS_M, QUADS_N } = size;
      for (const name of ['matmul_tile', 'conv2d_tile', 'conv2d_wgrad_tile']) {
        const { code } = loadShader(name, { BM, BN, BK, QUADS_M, QUADS_N, THREADS: tileThreads(size) }, readShader);
        const { messages } = await device.createShaderModule({ code }).getCompilationInfo();
        assert.equal(
          messages.filter(({ type }) => type === 'error'),
          [],
          `${name} ${tileName(size)}`,
        );
      }
    }
  }),
);

test.run();
