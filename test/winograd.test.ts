import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Tensor } from '../src/core/tensor.ts';
import type { Adapter } from '../src/gpu/gpu.ts';
import * as ops from '../src/ops/index.ts';
import { forwards } from '../src/ops/matrix/convolve.ts';
import { candidatesFor } from '../src/ops/matrix/variant.ts';
import { gradcheck } from './cases/case.ts';
import { integers, uniform } from './check.ts';
import { exactOnIntegers, fromValues } from './exact.ts';
import { forcing } from './forcing.ts';
import { gpuTest, onDevice } from './gpu.ts';
import { turned, winogradConv2d, winograds, winogradWeightGradient } from './reference/winograd.ts';
import * as ref from './reference.ts';
import { winogradBounds } from './winogradbounds.ts';

const outs = [2, 4] as const;
/** With ' tile' the products are made as on GPUs, in tiles of workgroup memory. */
const kinds = ['', ' tile'] as const;
const nameOf = (out: 2 | 4, kind: (typeof kinds)[number] = ''): string => `winograd ${out}×${out}${kind}`;

const dot = (a: ref.Values, b: ref.Values): number => a.data.reduce((sum, value, i) => sum + value * b.data[i]!, 0);

for (const out of outs) {
  test(`F(${out}×${out}, 3×3) is the convolution and its gradients, in f64`, () => {
    const algorithm = winograds[out];
    for (const padding of [0, 1, 2, [2, 0]] as const) {
      const [x, w] = [uniform([2, 7, 6, 4], 1), uniform([3, 3, 3, 4], 2)];
      const want = ref.conv2d(x, w, null, { padding });
      const near = (got: number, wanted: number) =>
        assert.ok(Math.abs(got - wanted) < 1e-12 * (1 + Math.abs(wanted)), `${got}, not ${wanted}`);
      for (const [i, value] of winogradConv2d(algorithm, x, w, padding).data.entries()) near(value, want.data[i]!);
      // Σ dy·y is linear in w and in x: its gradient times them is itself.
      const dy = uniform(want.shape, 3);
      const [padH, padW] = ref.pair(padding);
      near(dot(winogradWeightGradient(algorithm, x, dy, padding), w), dot(dy, want));
      near(dot(winogradConv2d(algorithm, dy, turned(w), [2 - padH, 2 - padW]), x), dot(dy, want));
    }
  });
}

interface Shape {
  what: string;
  x: readonly [number, number, number, number];
  K: number;
  padding?: ref.Pair;
  bias?: boolean;
}

/** Sides of every remainder by 4, every padding, one tile, more tiles than a kernel's row of them, few and many channels. */
const shapes: readonly Shape[] = [
  { what: 'one result', x: [1, 3, 3, 4], K: 4 },
  { what: 'one pixel, most of it padding', x: [3, 1, 1, 8], K: 4, padding: 1, bias: true },
  { what: 'one pixel, padding 2', x: [1, 1, 1, 4], K: 8, padding: 2 },
  { what: 'sides of 5 and 6', x: [2, 5, 6, 8], K: 12, padding: 1, bias: true },
  { what: 'sides of 7 and 8 without padding', x: [1, 7, 8, 12], K: 8 },
  { what: 'sides of 4 and 9, paddings 2 and 0', x: [2, 4, 9, 4], K: 4, padding: [2, 0], bias: true },
  { what: 'VGG’s last block', x: [2, 3, 3, 64], K: 72, padding: 1 },
  { what: 'many tiles, few channels', x: [2, 25, 27, 4], K: 20, padding: 1, bias: true },
  { what: 'many channels', x: [1, 6, 6, 128], K: 40, padding: 1, bias: true },
];

/**
 * What random inputs stay within, in units of u·W: a fraction of the worst case that the other tests allow, and still several
 * times what was seen. An error in a coefficient is thousands of these.
 */
const RANDOM_ULPS = 1;

/** Those that differ for tiles: in the transforms nothing does. */
const forTiles = /5 and 6|last block|many/;

for (const name of outs.flatMap((out) => kinds.map((kind) => nameOf(out, kind)))) {
  const out = name.includes('4×4') ? 4 : 2;
  for (const { what, x, K, padding = 0, bias = false } of shapes) {
    if (name.endsWith('tile') && !forTiles.test(what)) continue;
    gpuTest(`${name}, ${what}: value and gradients within the bound`, () =>
      forcing(name, () => {
        const inputs = [uniform(x, 61), uniform([K, 3, 3, x[3]], 62), ...(bias ? [uniform([K], 63)] : [])];
        const [image, weight, b] = inputs as [ref.Values, ref.Values, ref.Values?];
        return gradcheck({
          op: ([t, w, b]) => ops.conv2d(t!, w!, b ?? null, { padding }),
          reference: ([t, w, b]) => ref.conv2d(t!, w!, b ?? null, { padding }),
          inputs,
          ...winogradBounds(out, [image, weight, b], padding, RANDOM_ULPS),
          step: 1,
          count: 12,
          what: `conv2d ${what}`,
        });
      }),
    );
  }
}

/** A convolution's value and gradients on small whole numbers, by the kernels called `name`. */
const onIntegers = (name: string, x: ref.Values, w: ref.Values): Promise<Float32Array[]> =>
  forcing(name, async () => {
    const [image, weight] = [fromValues(x, true), fromValues(w, true)];
    const y = ops.conv2d(image, weight, null, { padding: 1 });
    y.backward(fromValues(integers(y.shape, 73, -2, 3)));
    return Promise.all([y, image.grad!, weight.grad!].map((tensor) => tensor.read()));
  });

for (const [kind, what, x, K] of [
  ['', 'tiles that hang over', [2, 9, 10, 8], 12],
  ['', 'images in several groups', [5, 64, 64, 16], 24],
  [' tile', 'tiles that hang over', [2, 9, 10, 8], 12],
  [' tile', 'images in several groups', [3, 64, 64, 128], 4],
] as const) {
  gpuTest(`${nameOf(2, kind)} is exact on whole numbers: ${what}`, async () => {
    const [image, weight] = [integers(x, 71, -2, 3), integers([K, 3, 3, x[3]], 72, -2, 3)];
    const want = await onIntegers('plain', image, weight);
    for (const [i, got] of (await onIntegers(nameOf(2, kind), image, weight)).entries()) {
      const wrong = got.findIndex((value, at) => value !== want[i]![at]);
      assert.is(wrong, -1, `${['y', 'dx', 'dw'][i]}[${wrong}] is ${got[wrong]}, not ${want[i]![wrong]}`);
    }
  });
}

gpuTest('strides other than 1, if only one way, are left to others', () =>
  forcing(nameOf(4), async () => {
    for (const stride of [
      [1, 2],
      [2, 1],
    ] as const) {
      await exactOnIntegers(
        ([x, w]) => ops.conv2d(x!, w!, null, { stride, padding: 1 }),
        ([x, w]) => ref.conv2d(x!, w!, null, { stride, padding: 1 }),
        [
          [1, 5, 6, 4],
          [4, 3, 3, 4],
        ],
      );
    }
  }),
);

/** A problem of one layer, 3×3 with padding 1. */
function layer(N: number, side: number, C: number, K = C) {
  const shape = { N, H: side, W: side, C, K, R: 3, S: 3, P: side, Q: side, strideH: 1, strideW: 1, padH: 1, padW: 1 };
  return {
    x: Tensor.empty([N, side, side, C]),
    w: Tensor.empty([K, 3, 3, C]),
    y: Tensor.empty([N, side, side, K]),
    shape,
  };
}

gpuTest('it comes first only where it was measured to win', () =>
  onDevice({ adapter: 'null' }, (other) => {
    const first = (facts: Partial<Adapter>, ...extents: Parameters<typeof layer>): string => {
      Object.defineProperty(other, 'adapter', { value: { ...other.adapter, ...facts }, configurable: true });
      const { x, w, y, shape } = layer(...extents);
      return candidatesFor(forwards, { x, w, bias: null, y, shape })[0]!.name;
    };
    const lavapipe = { kind: 'lavapipe', software: true } as const;
    assert.is(first(lavapipe, 4, 48, 64), 'winograd 4×4');
    assert.is(first(lavapipe, 8, 6, 512), 'winograd 2×2');
    assert.is(first(lavapipe, 4, 48, 16), 'lanes');
    assert.is(first(lavapipe, 64, 3, 256), 'lanes');
    // The weights of 4×4 would be too large.
    assert.is(first(lavapipe, 4, 20, 512), 'winograd 2×2');
    const swiftshader = { kind: 'swiftshader', software: true } as const;
    assert.is(first(swiftshader, 4, 48, 16), 'winograd 4×4');
    assert.is(first(swiftshader, 8, 6, 64), 'winograd 2×2');
    assert.is(first(swiftshader, 4, 48, 8), 'lanes');
    assert.is(first({ kind: 'software', software: true }, 4, 48, 64), 'lanes');
    assert.not.match(first({ kind: 'hardware', software: false }, 4, 48, 64), /winograd/);
  }),
);

gpuTest('on software its products are made by lanes, on hardware in tiles, to be measured after all others', () =>
  onDevice({ adapter: 'null' }, (other) => {
    const namesOn = (facts: Partial<Adapter>): string[] => {
      Object.defineProperty(other, 'adapter', { value: { ...other.adapter, ...facts }, configurable: true });
      const { x, w, y, shape } = layer(64, 12, 256);
      return candidatesFor(forwards, { x, w, bias: null, y, shape }).map(({ name }) => name);
    };
    const winogradsOn = (facts: Partial<Adapter>) => namesOn(facts).filter((name) => name.startsWith('winograd'));
    assert.equal(winogradsOn({ kind: 'lavapipe', software: true }), ['winograd 4×4']);
    assert.equal(winogradsOn({ kind: 'hardware', software: false }), ['winograd 4×4 tile']);
    assert.is(namesOn({ kind: 'hardware', software: false }).at(-1), 'winograd 4×4 tile');
  }),
);

gpuTest('its temporaries stay below 64 MiB at any batch', () =>
  onDevice({ adapter: 'null' }, (other) => {
    for (const [N, side, C, K] of [
      [128, 48, 64, 64],
      [1, 256, 64, 64],
      [64, 6, 512, 512],
      [4, 3, 512, 256],
      [4, 20, 384, 512],
    ] as const) {
      const { x, w, y, shape } = layer(N, side, C, K);
      for (const variant of forwards.variants.filter(({ name }) => name.startsWith('winograd'))) {
        if (!variant.fits({ x, w, bias: null, y, shape }, other.adapter)) continue;
        const before = other.pool.stats.allocatedBytes;
        variant.run({ x, w, bias: null, y, shape });
        const tookBytes = other.pool.stats.allocatedBytes - before;
        assert.ok(tookBytes <= 2 ** 26, `${variant.name}, ${N}×${side}×${side}×${C} → ${K}: ${tookBytes} bytes`);
      }
    }
  }),
);

test.run();
