import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { pcg4d } from '../src/core/random.ts';
import { step } from '../src/core/step.ts';
import { nextDraw, setSeed, setStepCounter } from '../src/core/stepbuffer.ts';
import { Tensor } from '../src/core/tensor.ts';
import {
  AUGMENTATIONS,
  type Augmentation,
  type AugmentationName,
  abilities,
  drawViews,
  type Framing,
  frameOf,
  inputSide,
  isExact,
  tenCrops,
  VIEW_FLOATS,
} from '../src/data/augment.ts';
import { Batches } from '../src/data/batches.ts';
import type { ImageSet } from '../src/data/dataset.ts';
import { gpuTest, onDevice } from './gpu.ts';
import { type FastaiDraw, type FerDraw, fastaiView, ferView, type ShiftDraw, shiftView } from './reference/views.ts';

interface Fixture {
  side: number;
  size: number;
  gray: number[];
  rgb: number[];
  fastai: { draw: FastaiDraw; gray: number[] }[];
  fastaiRgb: { draw: FastaiDraw; rgb: number[] };
  fer: { draw: FerDraw; gray: number[] }[];
  shift: { draw: ShiftDraw; gray: number[] }[];
  whole: number[];
  corners: number[];
}

const torch = JSON.parse(readFileSync(new URL('fixtures/augment.json', import.meta.url), 'utf8')) as Fixture;
const { side, size } = torch;

const unit = { mean: [0], std: [1] };
const setOf = (pixels: readonly number[], channels: 1 | 3, sideOf = side): ImageSet => {
  const count = pixels.length / (sideOf * sideOf * channels);
  return { pixels: Uint8Array.from(pixels), labels: new Uint8Array(count), count, side: sideOf, channels };
};
const grays = (count: number, sideOf: number): ImageSet =>
  setOf(
    Array.from({ length: count * sideOf * sideOf }, (_, i) => (i * 37 + ((i * i) % 101)) & 255),
    1,
    sideOf,
  );

/** What the network would get of the first image, not normalised, through given views. */
async function through(set: ImageSet, augmentation: Augmentation, view: readonly number[]): Promise<Float32Array> {
  const batches = new Batches(set, { batch: 1, size, channels: set.channels, normalisation: unit });
  const views = Tensor.from(Float32Array.from(view), [1, VIEW_FLOATS]);
  const frame = frameOf(augmentation.framing, side, size);
  const x = await step(() => {
    batches.choose([0]);
    return batches.see(frame, views, abilities(augmentation, side, size)).x;
  });
  return x.read();
}

/** A place is off by some u of the side, and neighbouring pixels differ by up to 1; PyTorch's numbers have seven digits. */
const CLOSE = 8 * side * 2 ** -24 * 4 + 1e-7;

function assertClose(got: ArrayLike<number>, want: readonly number[], what: string): void {
  assert.is(got.length, want.length, what);
  for (const [i, value] of want.entries()) {
    assert.ok(Math.abs(got[i]! - value) <= CLOSE, `${what}, ${i}: ${got[i]}, PyTorch has ${value}`);
  }
}

gpuTest('aug_transforms: given draws give what PyTorch gives', async () => {
  for (const { draw, gray } of torch.fastai) {
    const got = await through(setOf(torch.gray, 1), AUGMENTATIONS.fastai, fastaiView(draw, side, size));
    assertClose(got, gray, JSON.stringify(draw));
  }
  const { draw, rgb } = torch.fastaiRgb;
  assertClose(await through(setOf(torch.rgb, 3), AUGMENTATIONS.fastai, fastaiView(draw, side, size)), rgb, 'RGB');
});

gpuTest('fer: given draws give what the steps one by one give in PyTorch', async () => {
  for (const { draw, gray } of torch.fer) {
    const view = ferView(draw, side, size, inputSide(AUGMENTATIONS.fer, side));
    assertClose(await through(setOf(torch.gray, 1), AUGMENTATIONS.fer, view), gray, JSON.stringify(draw));
  }
});

gpuTest('crop: mirrored and moved into the mirror image, as PyTorch reflects', async () => {
  for (const { draw, gray } of torch.shift) {
    const got = await through(setOf(torch.gray, 1), AUGMENTATIONS.crop, shiftView(draw, side, size));
    assertClose(got, gray, JSON.stringify(draw));
  }
});

gpuTest('what is not augmented is resized as PyTorch does with and without align_corners', async () => {
  for (const framing of ['whole', 'corners'] as const) {
    const batches = new Batches(setOf(torch.gray, 1), { batch: 1, size, normalisation: unit, framing });
    assertClose(await (await step(() => batches.take([0]).x)).read(), torch[framing], framing);
  }
});

gpuTest('the centre of 48 pixels is 40 of them, pixel by pixel, and so are the ten crops', async () => {
  const set = grays(1, 48);
  assert.is(inputSide(AUGMENTATIONS.fer, 48), 40);
  const batches = new Batches(set, { batch: 1, size: 40, normalisation: unit, framing: 'centre' });
  const cut = (left: number, top: number, mirrored: boolean) =>
    Array.from({ length: 1600 }, (_, i) => {
      const column = mirrored ? 39 - (i % 40) : i % 40;
      return set.pixels[48 * (top + Math.floor(i / 40)) + left + column]! / 255;
    });
  const look = async (frame?: Parameters<Batches['gather']>[0]) => {
    const x = await step(() => {
      batches.choose([0]);
      return batches.gather(frame).x;
    });
    return x.read();
  };
  assertClose(await look(), cut(4, 4, false), 'centre');
  const frames = tenCrops(48, 40);
  const corners = [
    [0, 0],
    [8, 0],
    [0, 8],
    [8, 8],
    [4, 4],
  ] as const;
  assert.is(frames.length, 10);
  for (const [i, frame] of frames.entries()) {
    assert.ok(isExact(frame));
    const [left, top] = corners[i % 5]!;
    assertClose(await look(frame), cut(left, top, i >= 5), `crop ${i}`);
  }
});

test('ten crops of images that are not larger than the input are five sixths of them, enlarged', () => {
  const [first, , , last] = tenCrops(48, 96);
  assert.equal(first, { scaleX: 40 / 96, offsetX: 20 / 96 - 0.5, scaleY: 40 / 96, offsetY: 20 / 96 - 0.5 });
  const near = (a: number, b: number) => assert.ok(Math.abs(a - b) < 1e-12, `${a}, ${b}`);
  near(last!.offsetX, 8 + 20 / 96 - 0.5);
  const [, , , , , mirror] = tenCrops(48, 96);
  near(mirror!.offsetX + 95 * mirror!.scaleX, first!.offsetX);
});

// What is drawn ---------------------------------------------------------------------------------------------------------

const SEED = 11;
const STEP = 5;
const MANY = 4096;

/** Views of so many images as the GPU draws them, in step STEP. */
async function drawnViews(augmentation: Augmentation, sideOf: number, sizeOf: number): Promise<Float32Array> {
  setSeed(SEED);
  setStepCounter(STEP - 1);
  const views = await step(() => drawViews(augmentation, MANY, sideOf, sizeOf)!);
  return views.read();
}

const uniforms = (draw: number, n: number): number[] =>
  pcg4d(SEED, STEP, draw, n).map((word) => (word >>> 8) / 2 ** 24);
const centred = (u: number): number => 2 * u - 1;

function fastaiDraw(n: number): FastaiDraw {
  const { rotateRad, zoom, warp, lighting, pAffine, pLighting } = AUGMENTATIONS.fastai;
  const [a, b, c, d] = [0, 1, 2, 3].map((draw) => uniforms(draw, n)) as [number[], number[], number[], number[]];
  const turned = (mask: number, value: number, most: number) => (mask < pAffine ? most * centred(value) : 0);
  return {
    flip: a[0]! < 0.5,
    angleRad: turned(a[1]!, a[2]!, rotateRad),
    zoom: a[3]! < pAffine ? 1 + (zoom - 1) * b[0]! : 1,
    centre: [b[1]!, b[2]!],
    warp: [turned(c[0]!, c[1]!, warp), turned(c[2]!, c[3]!, warp)],
    brightness: b[3]! < pLighting ? 0.5 * (1 + lighting * centred(d[0]!)) : 0.5,
    contrast: d[1]! < pLighting ? Math.exp(-Math.log(1 - lighting) * centred(d[2]!)) : 1,
  };
}

/** Halves are rounded to even, as WGSL and Python do; sets `near` where f32 might round the other way. */
let near = false;
function rounded(v: number): number {
  if (Math.abs(v - Math.floor(v) - 0.5) < 1e-4) near = true;
  return Math.round(v);
}
const whole = (u: number, most: number): number => Math.min(Math.floor(Math.fround(u * (most + 1))), most);

function ferDraw(n: number, sideOf: number, sizeOf: number): FerDraw {
  const { area, ratio, shift, rotateRad, erasedArea, erasedRatio } = AUGMENTATIONS.fer;
  const [a, b, c] = [0, 1, 2].map((draw) => uniforms(draw, n)) as [number[], number[], number[]];
  let part = [0, 0, sideOf, sideOf];
  for (let i = 9; i >= 0; i--) {
    const u = uniforms(3 + i, n);
    const pixels = sideOf * sideOf * (area[0] + (area[1] - area[0]) * u[0]!);
    const wide = Math.exp(Math.log(ratio) * centred(u[1]!));
    const [width, height] = [rounded(Math.sqrt(pixels * wide)), rounded(Math.sqrt(pixels / wide))];
    if (width <= sideOf && height <= sideOf)
      part = [whole(u[2]!, sideOf - width), whole(u[3]!, sideOf - height), width, height];
  }
  let hole = [0, 0, 0, 0];
  for (let i = 9; i >= 0 && c[0]! < 0.5; i--) {
    const u = uniforms(13 + i, n);
    const pixels = sizeOf * sizeOf * (erasedArea[0] + (erasedArea[1] - erasedArea[0]) * u[0]!);
    const [low, high] = erasedRatio.map(Math.log) as [number, number];
    const tall = Math.exp(low + (high - low) * u[1]!);
    const [width, height] = [rounded(Math.sqrt(pixels / tall)), rounded(Math.sqrt(pixels * tall))];
    if (width >= sizeOf || height >= sizeOf) continue;
    const [left, top] = [whole(u[2]!, sizeOf - width), whole(u[3]!, sizeOf - height)];
    hole = [left, top, left + width, top + height];
  }
  const window = inputSide(AUGMENTATIONS.fer, sideOf);
  const moved = (u: number) => (a[1]! < 0.5 ? rounded(shift * sideOf * centred(u)) : 0);
  return {
    part,
    shift: [moved(a[2]!), moved(a[3]!)],
    flip: a[0]! < 0.5,
    angleRad: b[0]! < 0.5 ? rotateRad * centred(b[1]!) : 0,
    corner: [whole(b[2]!, sideOf - window), whole(b[3]!, sideOf - window)],
    hole,
  };
}

function shiftDraw(n: number): ShiftDraw {
  const u = uniforms(0, n);
  const { shift } = AUGMENTATIONS.crop;
  return { flip: u[0]! < 0.5, shift: [shift * centred(u[2]!), shift * centred(u[1]!)] };
}

gpuTest('views are those of what the twin on the CPU draws', async () => {
  const cases: [Augmentation, number, number, (n: number) => number[]][] = [
    [AUGMENTATIONS.fastai, 48, 160, (n) => fastaiView(fastaiDraw(n), 48, 160)],
    [AUGMENTATIONS.fer, 48, 40, (n) => ferView(ferDraw(n, 48, 40), 48, 40, 40)],
    [AUGMENTATIONS.fer, 48, 96, (n) => ferView(ferDraw(n, 48, 96), 48, 96, 40)],
    [AUGMENTATIONS.crop, 48, 64, (n) => shiftView(shiftDraw(n), 48, 64)],
  ];
  for (const [augmentation, sideOf, sizeOf, viewOf] of cases) {
    const views = await drawnViews(augmentation, sideOf, sizeOf);
    let skipped = 0;
    for (let n = 0; n < MANY; n++) {
      near = false;
      const want = viewOf(n);
      if (near) {
        skipped++;
        continue;
      }
      for (const [i, value] of want.entries()) {
        const got = views[VIEW_FLOATS * n + i]!;
        // WGSL grants sine and cosine an error of 2⁻¹¹; the last number of a row is about as many of them as the side has pixels.
        const places = i === 2 || i === 6 || i >= 16 ? sideOf : 1;
        const close = Math.abs(got - value) <= Math.max(2 ** -11 * places, 2 ** -20 * Math.abs(value));
        assert.ok(close, `${augmentation.draw}, image ${n}, number ${i}: ${got}, expected ${value}`);
      }
    }
    assert.ok(skipped < MANY / 100, `${skipped} could not be compared`);
  }
});

/** Asserts that a share of so many draws is what it should be, within four standard deviations. */
function assertShare(what: string, holds: readonly boolean[], p: number): void {
  const share = holds.filter(Boolean).length / holds.length;
  const deviation = Math.sqrt((p * (1 - p)) / holds.length);
  assert.ok(Math.abs(share - p) <= 4 * deviation, `${what}: ${share}, expected ${p} ± ${deviation}`);
}

/** Asserts that values lie in a range, come near its ends, and have its middle as their mean. */
function assertUniform(what: string, values: readonly number[], low: number, high: number): void {
  const width = high - low;
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  assert.ok(
    Math.min(...values) >= low && Math.min(...values) < low + 0.02 * width,
    `${what}: from ${Math.min(...values)}`,
  );
  assert.ok(
    Math.max(...values) <= high && Math.max(...values) > high - 0.02 * width,
    `${what}: to ${Math.max(...values)}`,
  );
  assert.ok(Math.abs(mean - (low + high) / 2) <= (4 * width) / Math.sqrt(12 * values.length), `${what}: mean ${mean}`);
}

const all = Array.from({ length: MANY }, (_, n) => n);

test('aug_transforms draws each kind by itself, as often and as far as fast.ai', () => {
  const draws = all.map(fastaiDraw);
  const masks: Record<string, [boolean[], number]> = {
    flip: [draws.map(({ flip }) => flip), 0.5],
    rotation: [draws.map(({ angleRad }) => angleRad !== 0), 0.75],
    zoom: [draws.map(({ zoom }) => zoom !== 1), 0.75],
    warpX: [draws.map(({ warp }) => warp[0] !== 0), 0.75],
    warpY: [draws.map(({ warp }) => warp[1] !== 0), 0.75],
    brightness: [draws.map(({ brightness }) => brightness !== 0.5), 0.75],
    contrast: [draws.map(({ contrast }) => contrast !== 1), 0.75],
  };
  for (const [what, [holds, p]] of Object.entries(masks)) {
    assertShare(what, holds, p);
    for (const [other, [others, q]] of Object.entries(masks)) {
      if (other === what) continue;
      const both = all.map((n) => holds[n]! && others[n]!);
      assertShare(`${what} and ${other}`, both, p * q);
    }
  }
  const degrees = draws.map(({ angleRad }) => (180 / Math.PI) * angleRad).filter((angle) => angle !== 0);
  assertUniform('degrees', degrees, -10, 10);
  assertUniform(
    'zoom',
    draws.map(({ zoom }) => zoom).filter((zoom) => zoom !== 1),
    1,
    1.1,
  );
  assertUniform(
    'centre',
    draws.map(({ centre }) => centre[0]),
    0,
    1,
  );
  assertUniform(
    'warp',
    draws.map(({ warp }) => warp[1]).filter((warp) => warp !== 0),
    -0.2,
    0.2,
  );
  assertUniform(
    'brightness',
    draws.map(({ brightness }) => brightness).filter((b) => b !== 0.5),
    0.4,
    0.6,
  );
  const logs = draws.map(({ contrast }) => Math.log(contrast)).filter((log) => log !== 0);
  assertUniform('log contrast', logs, Math.log(0.8), -Math.log(0.8));
});

test('fer draws as often and as far as Khaireddin and Chen', () => {
  const draws = all.map((n) => ferDraw(n, 48, 40));
  assertShare(
    'flip',
    draws.map(({ flip }) => flip),
    0.5,
  );
  assertShare(
    'rotation',
    draws.map(({ angleRad }) => angleRad !== 0),
    0.5,
  );
  assertShare(
    'erased',
    draws.map(({ hole }) => hole[2]! > 0),
    0.5,
  );
  assertShare(
    'shifted',
    draws.map(({ shift }) => shift[0] !== 0 || shift[1] !== 0),
    0.5 * (1 - 1 / 19 ** 2),
  );
  for (const corner of [0, 4, 8])
    assertShare(
      `corner ${corner}`,
      draws.map((draw) => draw.corner[0] === corner),
      1 / 9,
    );
  const shifts = draws.map(({ shift }) => shift[1]!);
  assert.is(Math.max(...shifts), 10);
  assert.is(Math.min(...shifts), -10);
  for (const { part, hole } of draws) {
    const [left, top, width, height] = part as [number, number, number, number];
    assert.ok(left >= 0 && top >= 0 && left + width <= 48 && top + height <= 48);
    assert.ok(width * height >= 0.75 * 48 * 48 && width / height < 1.4 && height / width < 1.4, `${part}`);
    const [x, y, right, bottom] = hole as [number, number, number, number];
    assert.ok(x >= 0 && y >= 0 && right <= 40 && bottom <= 40);
    assert.ok(
      right === 0 || ((right - x) * (bottom - y) >= 0.015 * 1600 && (right - x) * (bottom - y) <= 0.345 * 1600),
    );
  }
});

gpuTest('draws depend on seed, step and image alone', async () => {
  const set = grays(8, 16);
  const looks = async (name: AugmentationName, seed: number, counter: number) => {
    setSeed(seed);
    setStepCounter(counter);
    const batches = new Batches(set, { batch: 4, size: 24, normalisation: unit, augmentation: AUGMENTATIONS[name] });
    const x = await step(() => batches.take([3, 3, 1, 7]).x);
    return x.read();
  };
  const image = 24 * 24;
  for (const name of ['crop', 'fer', 'fastai'] as const) {
    const first = await looks(name, 1, 6);
    assert.equal(await looks(name, 1, 6), first, name);
    assert.not.equal(await looks(name, 2, 6), first, `${name}: another seed`);
    assert.not.equal(await looks(name, 1, 7), first, `${name}: another step`);
    assert.not.equal(first.slice(0, image), first.slice(image, 2 * image), `${name}: one image twice`);
  }
});

gpuTest('a batch that is not full is empty there, whatever is drawn', async () => {
  for (const name of ['fer', 'fastai'] as const) {
    const batches = new Batches(grays(4, 16), { batch: 3, size: 20, augmentation: AUGMENTATIONS[name] });
    const { x, labels } = await step(() => batches.take([2]));
    assert.ok((await x.read()).subarray(400).every((value) => value === 0));
    assert.equal([...(await labels.readInts())], [0, 0xffffffff, 0xffffffff]);
  }
});

gpuTest('every specialisation compiles', () =>
  onDevice({ adapter: 'null' }, async ({ pipelines, adapter }) => {
    const dtypes = adapter.features.has('shader-f16') ? (['f32', 'f16'] as const) : (['f32'] as const);
    for (const augmentation of Object.values(AUGMENTATIONS)) {
      for (const [i, dtype] of [...dtypes, ...dtypes].entries()) {
        for (const set of [setOf(torch.gray, 1), setOf(torch.rgb, 3)]) {
          const mixup = i < dtypes.length ? 0 : 0.4;
          const batches = new Batches(set, { batch: 1, size: 20, channels: 3, augmentation, mixup, dtype });
          await step(() => batches.take([0]));
        }
      }
    }
    assert.ok(pipelines.size > 10 * dtypes.length, `${pipelines.size} pipelines`);
  }),
);

const framings: Readonly<Record<AugmentationName, Framing>> = {
  ...{ none: 'whole', flip: 'whole', crop: 'whole', fer: 'centre', fastai: 'corners' },
};
test('augmentations say what is seen without them', () => {
  for (const [name, { framing }] of Object.entries(AUGMENTATIONS))
    assert.is(framing, framings[name as AugmentationName]);
  const { fer, flip, crop } = AUGMENTATIONS;
  assert.equal([48, 32, 5].map((side) => inputSide(fer, side)), [40, 27, 4]); // biome-ignore format: pairs
  // Whole pixels are seen where nothing is shifted.
  assert.equal([flip, crop].map((one) => abilities(one, 48, 48).NEAREST), [true, false]); // biome-ignore format: pairs
});

gpuTest('what is drawn after views, in the same step, is drawn from streams of its own', async () => {
  for (const [name, draws] of [['none', 0], ['crop', 1], ['fastai', 4], ['fer', 23]] as const) // biome-ignore format: pairs
    await step(() => {
      const first = nextDraw();
      drawViews(AUGMENTATIONS[name], 2, 48, 48);
      assert.is(nextDraw() - first - 1, draws, name);
    });
});

gpuTest('a batch is a whole number of images', () => {
  for (const batch of [0, 1.5])
    assert.throws(() => new Batches(grays(4, 16), { batch }), /batch is .*; it is a whole number from 1 on/);
});

test.run();
