import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Tensor } from '../src/core/tensor.ts';
import * as ops from '../src/ops/index.ts';
import { linearWithin } from '../src/ops/linear.ts';
import { linearCases, matmulCases } from './cases/matmul.ts';
import { equalAtSamples, exactOnIntegers, pattern, patternAt } from './exact.ts';
import { forcing } from './forcing.ts';
import { gpuTest, gradcheckAll, messageOf } from './gpu.ts';
import * as ref from './reference.ts';

gradcheckAll([...matmulCases, ...linearCases]);

for (const [M, N, K] of [
  [2, 3, 4],
  [67, 5, 33],
] as const) {
  gpuTest(`matmul and linear of ${M}×${N}×${K} are exact on whole numbers`, async () => {
    await exactOnIntegers(
      ([a, b]) => ops.matmul(a!, b!),
      ([a, b]) => ref.matmul(a!, b!),
      [
        [M, K],
        [K, N],
      ],
    );
    await exactOnIntegers(
      ([x, w, b]) => ops.linear(x!, w!, b!),
      ([x, w, b]) => ref.linear(x!, w!, b!),
      [[M, K], [N, K], [N]],
    );
  });
}

gpuTest('a linear layer too large for one binding is worked through in slices', () =>
  exactOnIntegers(
    ([x, w, b]) => linearWithin(x!, w!, b!, 64 * 4 * 8),
    ([x, w, b]) => ref.linear(x!, w!, b!),
    [[3, 8], [150, 8], [150]],
  ),
);

gpuTest('few outer products are exact on whole numbers by "outer", and what it does not fit by others', () =>
  forcing('outer', async () => {
    for (const [M, N, K] of [
      [5, 8, 13],
      [5, 8, 16],
      [5, 8, 17],
      [5, 7, 3],
    ] as const) {
      await exactOnIntegers(
        ([a, b]) => ops.matmul(a!, b!),
        ([a, b]) => ref.matmul(a!, b!),
        [
          [M, K],
          [K, N],
        ],
      );
    }
  }),
);

gpuTest('an outer product larger than caches is exact on whole numbers', async () => {
  const [M, N, K] = [2051, 4100, 3];
  const a = Float32Array.from({ length: M * K }, (_, i) => (i % 17) - 8);
  const b = Float32Array.from({ length: K * N }, (_, i) => (i % 13) - 6);
  const c = await ops.matmul(Tensor.from(a, [M, K]), Tensor.from(b, [K, N])).read();
  const wrong = c.findIndex((value, i) => {
    const [m, n] = [Math.floor(i / N), i % N];
    return value !== a[m * K]! * b[n]! + a[m * K + 1]! * b[N + n]! + a[m * K + 2]! * b[2 * N + n]!;
  });
  assert.is(wrong, -1);
});

gpuTest('a product of more tiles than a row of a grid has workgroups is exact on whole numbers', async () => {
  const [row, N] = [[1, -2, 3, -4, 2, -1, 4, -3], 65_540 * 32];
  const b = Tensor.from(pattern(row.length * N), [row.length, N]);
  const c = await ops.matmul(Tensor.from(row, [1, row.length]), b).read();
  equalAtSamples(c, (n) => row.reduce((sum, a, k) => sum + a * patternAt(k * N + n), 0));
});

gpuTest('a matrix times itself gets both gradients', () =>
  exactOnIntegers(
    ([a]) => ops.matmul(a!, a!),
    ([a]) => ref.matmul(a!, a!),
    [[5, 5]],
  ),
);

gpuTest('shapes that do not fit are refused', async () => {
  const [a, b] = [Tensor.zeros([2, 3]), Tensor.zeros([4, 5])];
  assert.match(await messageOf(() => ops.matmul(a, b)), /^matmul: op\(a\) is \[2,3\] but op\(b\) is \[4,5\]/);
  assert.match(await messageOf(() => ops.matmul(Tensor.zeros([3]), b)), /both must be matrices/);
  assert.match(await messageOf(() => ops.linear(a, b, null)), /^linear: w \[4,5\] takes \[N,5\] but x is \[2,3\]/);
  const message = await messageOf(() => ops.linear(a, Tensor.zeros([4, 3]), Tensor.zeros([3])));
  assert.match(message, /gives 4 features but b is \[3\]/);
});

test.run();
