// Kernels of the `tile` and `tensor` tiers load whether there is something to load or not, from an address that must be a valid one:
// past the end of a reduction, in the padding, in phases without taps, for invocations that are left over. In other tests
// nobody sees one that is not, whether Dawn guards it or not; here a guard is written into the shaders, and spoils the result. The kernels of
// software adapters clamp and skip what is past an edge in the same way, and are looked at alike.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { step } from '../src/core/step.ts';
import { Tensor } from '../src/core/tensor.ts';
import type { Gpu } from '../src/gpu/gpu.ts';
import { readShader } from '../src/gpu/node.ts';
import { PipelineCache } from '../src/gpu/pipeline.ts';
import * as ops from '../src/ops/index.ts';
import { lanesMultiplyBatch } from '../src/ops/matrix/lanes.ts';
import { emulateTensorCores, MATRICES } from '../src/ops/matrix/tensor.ts';
import { AdamW } from '../src/optim/index.ts';
import { gradcheck, type OperationCase } from './cases/case.ts';
import { type ConvShape, convCases, convCasesOf } from './cases/conv2d.ts';
import { halved } from './cases/half.ts';
import { linearCasesOf, matmulCasesOf } from './cases/matmul.ts';
import { forcing } from './forcing.ts';
import { gpuTest, halfTest, messageOf, onDevice } from './gpu.ts';

/** Indices that a shader's text takes an array at, replaced by `guard(index, length)`; `name` finds an array and its `[`. */
function guarded(text: string, name: RegExp, lengthOf: (array: string) => string): string {
  const found = name.exec(text);
  if (!found) return text;
  const open = found.index + found[0].length;
  let depth = 1;
  let close = open;
  for (; depth > 0; close++) depth += Number(text[close] === '[') - Number(text[close] === ']');
  const index = guarded(text.slice(open, close - 1), name, lengthOf);
  const rest = guarded(text.slice(close), name, lengthOf);
  return `${text.slice(0, open)}guard(${index}, ${lengthOf(found[0].slice(0, -1))})]${rest}`;
}

/** Kernels without workgroup memory: what `lanes`, `outer` and `winograd` run. */
const ALONE = /^(matmul|conv2d|conv2d_small|conv2d_wgrad|matmul_outer|splits|winograd)\.wgsl$/;

/** Kernels that walk over the blocks of an arena. */
const BLOCKS = /^(optimizer|clip|lib\/blocks)\.wgsl$/;

/** Shader sources where an access outside of a binding makes NaN of what its workgroup stores. `spare` elements count as outside. */
const instrumented =
  (spare: number) =>
  (path: string): string => {
    const lines = readShader(path).split('\n');
    const length = (array: string) => `arrayLength(&${array})`;
    const text = lines.map((line) => {
      if (/^\s*\/\/|@binding/.test(line)) return line;
      if (path.startsWith('lib/load_')) return guarded(line, /\(\*operand\)\[/, () => 'arrayLength(operand)');
      if (/^(matmul|conv2d|conv2d_wgrad)_(tile|tensor)\.wgsl$/.test(path))
        return guarded(line, /(?<![.\w])(a|b|x|w|dy)\[/, length);
      if (/^lib\/(bias|tensor)\.wgsl$/.test(path)) return guarded(line, /(?<![.\w])bias\[/, length);
      if (ALONE.test(path)) {
        const array = /(?<![.\w])(a|b|x|w|dy|bias|biasScalar|part|partScalar|source|(c|y|dw)(Scalar)?|result)\[/;
        // In those lines `b` is a matrix.
        if (line.includes('chain(')) return line;
        return guarded(line, array, length).replace(
          /^(\s*(?:c|y|dw|result)(?:Scalar)?\[.* = )(.*);/,
          '$1$2 + poison();',
        );
      }
      if (BLOCKS.test(path))
        return guarded(line, /(?<![.\w])(gradient|groupOf|sums|parts|[pmv])\[/, length).replace(
          /^(\s*[pmv]\[.* = )(.*);/,
          '$1$2 + poison();',
        );
      if (!path.startsWith('lib/store_')) return line;
      return guarded(line, /(?<![.\w])out\[/, length)
        .replace(/= OutVector\((\w+)\)/, '= OutVector($1 + poison())')
        .replace(/= OutScalar\((.*)\);/, '= OutScalar($1 + poison());');
    });
    if (!/^(lib\/panels|lib\/blocks|matmul_outer|splits|winograd)\.wgsl$/.test(path)) return text.join('\n');
    return `${text.join('\n')}
var<workgroup> outside: atomic<u32>;
fn guard(i: u32, n: u32) -> u32 {
  if (i >= n - ${spare}u) { atomicStore(&outside, 1u); }
  return min(i, n - 1u);
}
fn poison() -> f32 { return bitcast<f32>(atomicLoad(&outside) * 0x7fc00000u); }
`;
  };

/** What is left over of steps of four pixels. */
const left: ConvShape = { what: '15 pixels', x: [1, 3, 5, 3], w: [4, 3, 3], padding: 1 };
const shapes: readonly ConvShape[] = [
  { what: 'three channels', x: [2, 6, 7, 3], w: [5, 3, 3], padding: 1, bias: true },
  { what: 'padding wider than the image', x: [1, 2, 2, 20], w: [20, 5, 5], padding: 4, bias: true },
  { what: 'phases without taps', x: [2, 7, 6, 8], w: [16, 1, 1], stride: 2 },
  { what: 'a stride beyond the image', x: [1, 3, 2, 8], w: [16, 2, 2], stride: 4 },
  { what: 'the end of a tap within a step', x: [1, 2, 2, 136], w: [8, 3, 3], padding: 1 },
];
const products = [
  [1, 1, 1],
  [16, 24, 40],
  [65, 33, 130],
] as const;
const all = [...matmulCasesOf(products), ...linearCasesOf(ops.linear, products), ...convCasesOf(shapes)];

/** What there is not time for each day takes `npm run test:full`: each case is up to three kernels to compile. */
const telling = /a·bᵀ (16×24×40|65×33×130)|phases without taps/;
const cases = process.env.DAWNGRAD_TEST === 'full' ? all : all.filter(({ what }) => telling.test(what));

/** Runs `fn` on a device of such shaders. */
const guarding = (spare: number, fn: (other: Gpu) => Promise<void>): Promise<void> =>
  onDevice({ flags: 'checked' }, async (other: Gpu) => {
    const pipelines = new PipelineCache(other.device, instrumented(spare), other.adapter.name);
    Object.defineProperty(other, 'pipelines', { value: pipelines });
    await fn(other);
  });

/** Runs cases by the variant called `name`, out of such shaders. */
const run = (name: string, some: readonly OperationCase[], spare = 0): Promise<void> =>
  guarding(spare, async () => {
    emulateTensorCores(name.startsWith('tensor') ? MATRICES[0] : null);
    try {
      await forcing(name, async () => {
        for (const { what, make, boundsFor } of some) await gradcheck({ ...make(), ...boundsFor?.(name), what });
      });
    } finally {
      emulateTensorCores(null);
    }
  });

const LIMIT_MS = 600_000;
const few = cases.filter(({ what }) => what.includes('a·bᵀ 16×24×40'));

gpuTest('tiles read and write nothing outside of their bindings', () => run('tile 32×64×16', cases), LIMIT_MS);
halfTest('nor do tensor cores’ kernels', () => run('tensor 64×64×32', halved(cases)), LIMIT_MS);

/** Values one by one and in fours, lines, phases, small maps, parts that are summed; what is left over of tiles. */
const edges = [
  ...cases.filter(({ op, what }) => op === 'matmul' && what.includes('65×33×130')),
  ...matmulCasesOf([
    [9, 132, 13],
    [9, 96, 2],
  ]).filter(({ what }) => what.includes('aᵀ·b ')),
  ...convCases.filter(({ what }) =>
    /odd everything|pixels in fours|tiles of phases|maps, several|odd number/.test(what),
  ),
  ...linearCasesOf(ops.linear, [[9, 132, 13]]).slice(0, 1),
  ...convCasesOf([left]),
];
for (const [name, some] of [
  ['lanes', edges],
  ['outer', edges.filter(({ op }) => op === 'matmul')],
  ['winograd 4×4', edges.filter(({ what }) => /pixels in fours|maps, several/.test(what))],
] as const) {
  gpuTest(`nor do the kernels called "${name}"`, () => run(name, some), LIMIT_MS);
}

gpuTest('nor do groups of images, of which the last has fewer', () =>
  guarding(0, () =>
    forcing('winograd 2×2', async () => {
      const [x, w] = [Tensor.full([5, 64, 64, 16], 1), Tensor.full([24, 3, 3, 16], 1)];
      for (const tensor of [x, w]) tensor.requiresGrad = true;
      const y = ops.conv2d(x, w, null, { padding: 1 });
      y.backward(Tensor.full(y.shape, 1));
      for (const tensor of [y, x.grad!, w.grad!]) assert.ok((await tensor.read()).every(Number.isFinite));
    }),
  ),
);

gpuTest('nor do products of a batch that are stored the other way round', () =>
  guarding(0, async () => {
    const [a, b, c] = [2 * 8 * 4, 2 * 12 * 4, 2 * 8 * 12].map((size) => Tensor.full([size], 1)) as [
      Tensor,
      Tensor,
      Tensor,
    ];
    const product = { M: 8, N: 12, K: 4, transposeA: false, transposeB: true };
    lanesMultiplyBatch(a, b, c, { ...product, transposeC: true, count: 2 });
    assert.ok((await c.read()).every((value) => value === 4));
  }),
);

gpuTest('nor do updates, clipped or not, of arenas that end within the share of a workgroup', async () => {
  const update = async (spare: number): Promise<number[]> => {
    const values: number[] = [];
    await guarding(spare, async () => {
      const params = [7, 300, 65].map((size) => Tensor.full([size], 1));
      for (const p of params) p.requiresGrad = true;
      const optimizer = new AdamW(params, { clip: 1 });
      await step(() => {
        for (const p of params) ops.sum(p).backward();
        optimizer.step({ lr: 0.1 });
      });
      for (const p of params) values.push(...(await p.read()));
    });
    return values;
  };
  assert.ok((await update(0)).every(Number.isFinite));
  assert.not((await update(1)).every(Number.isFinite), 'an access outside would be seen');
});

for (const name of ['tile 32×64×16', 'lanes']) {
  gpuTest(
    `an access outside would be seen, of "${name}"`,
    async () => {
      assert.match(await messageOf(() => run(name, few, 1)), /NaN/);
    },
    LIMIT_MS,
  );
}

test.run();
