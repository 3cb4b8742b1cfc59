import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { pair } from '../src/core/shape.ts';
import { record } from '../src/core/tape.ts';
import { Tensor } from '../src/core/tensor.ts';
import type { Adapter, Gpu } from '../src/gpu/gpu.ts';
import type { ConvShape } from '../src/ops/convolve.ts';
import { foldInto } from '../src/ops/fold.ts';
import type * as ops from '../src/ops/index.ts';
import { plainDgrad, plainForward, plainMultiply, plainWgrad } from '../src/ops/plain.ts';
import { gradcheck, type OperationCase } from './cases/case.ts';
import { convCases, convCasesOf } from './cases/conv2d.ts';
import { linearCases, matmulCases, matmulCasesOf } from './cases/matmul.ts';
import { gpu, gpuTest, onDevice } from './gpu.ts';

/** `conv2d` by the plain kernels: the definition that the fast ones share the cases with. */
const plainConv2d: typeof ops.conv2d = (x, w, b, { stride = 1, padding = 0 } = {}) => {
  const [N, H, W, C] = x.shape as [number, number, number, number];
  const [K, R, S] = w.shape as [number, number, number, number];
  const [[strideH, strideW], [padH, padW]] = [pair(stride), pair(padding)];
  const P = Math.floor((H + 2 * padH - R) / strideH) + 1;
  const Q = Math.floor((W + 2 * padW - S) / strideW) + 1;
  const shape: ConvShape = { N, H, W, C, K, R, S, P, Q, strideH, strideW, padH, padW };
  const y = Tensor.empty([N, P, Q, K]);
  plainForward(x, w, b, y, shape);
  return record(y, [x, w, b], (dy) => {
    const [dx, dw] = [x.emptyLike(), w.emptyLike()];
    plainDgrad(dy, w, dx, shape);
    plainWgrad(x, dy, dw, shape);
    return [dx, dw, b && foldInto(b.emptyLike(), dy, [0, 1, 2])];
  });
};

/** `matmul` by the plain kernel, forward only; the gradient is the engine's own product. */
const plainMatmul: typeof ops.matmul = (a, b, { transposeA = false, transposeB = false } = {}) => {
  const [M, K] = (transposeA ? [...a.shape].reverse() : a.shape) as [number, number];
  const N = b.shape[transposeB ? 0 : 1]!;
  const product = (
    left: Tensor,
    right: Tensor,
    rows: number,
    columns: number,
    terms: number,
    tA: boolean,
    tB: boolean,
  ) =>
    plainMultiply(left, right, null, Tensor.empty([rows, columns]), {
      M: rows,
      N: columns,
      K: terms,
      transposeA: tA,
      transposeB: tB,
    });
  return record(product(a, b, M, N, K, transposeA, transposeB), [a, b], (dc) => [
    transposeA ? product(b, dc, K, M, N, transposeB, true) : product(dc, b, M, K, N, false, !transposeB),
    transposeB ? product(dc, a, N, K, M, true, transposeA) : product(a, dc, K, N, M, !transposeA, false),
  ]);
};

async function checkAll(cases: readonly OperationCase[]): Promise<void> {
  for (const { what, make } of cases) await gradcheck({ ...make(), what });
}

const LIMIT_MS = 180_000;

gpuTest('the plain convolution passes the cases of the fast one', () => checkAll(convCasesOf(plainConv2d)), LIMIT_MS);
gpuTest(
  'the plain matrix product passes the cases of the fast one',
  () => checkAll(matmulCasesOf(plainMatmul)),
  LIMIT_MS,
);

/** The adapter that kernels see, with these facts changed. */
const pretend = (other: Gpu, facts: Partial<Adapter>): void => {
  Object.defineProperty(other, 'adapter', { value: { ...other.adapter, ...facts } });
};

const matrixCases = [...convCases, ...matmulCases, ...linearCases];

const disguises: [string, Partial<Adapter>][] = [['of a hardware adapter', { software: false }]];
const full = process.env.DAWNGRAD_TEST === 'full';
if (full) disguises.push(['of a software adapter without subgroups', { software: true, features: new Set<string>() }]);
// Lanes of a team exchange values within a subgroup: a team of 4 runs in subgroups of any size from 4 on.
if (full && gpu.device.features.has('subgroups')) {
  disguises.push(['of a software adapter with subgroups of 4', { software: true, subgroupSizes: { min: 4, max: 4 } }]);
}
for (const [whose, facts] of disguises) {
  gpuTest(
    `the matrix kernels ${whose} pass the cases on this one`,
    () =>
      onDevice({ flags: 'checked' }, async (other) => {
        pretend(other, facts);
        await checkAll(matrixCases);
      }),
    LIMIT_MS,
  );
}

gpuTest('the matrix kernels of every kind of adapter compile on the null backend', async () => {
  const features = new Set(['subgroups']);
  const kinds: Partial<Adapter>[] = [
    { software: false },
    { software: true, features: new Set<string>() },
    { software: true, features, subgroupSizes: { min: 4, max: 4 } },
    { software: true, features, subgroupSizes: { min: 8, max: 8 } },
  ];
  for (const facts of kinds) {
    await onDevice({ adapter: 'null', flags: 'checked' }, async (other) => {
      pretend(other, facts);
      for (const { make } of matrixCases) {
        const { op, inputs } = make();
        const tensors = inputs.map(({ shape }) => Tensor.full(shape, 1));
        for (const tensor of tensors) tensor.requiresGrad = true;
        const y = op(tensors);
        y.backward(Tensor.full(y.shape, 1));
        await other.stream.flush();
      }
      assert.ok(other.pipelines.size > 30, `${other.pipelines.size} pipelines`);
    });
  }
});

test.run();
