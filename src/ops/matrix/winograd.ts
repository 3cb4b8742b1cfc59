import { kernel } from '../../core/kernel.ts';
import { Tensor } from '../../core/tensor.ts';
import type { AdapterKind } from '../../gpu/adapters.ts';
import type { Adapter } from '../../gpu/gpu.ts';
import { lanesMultiplyBatch } from './lanes.ts';
import { allF32, type Batch, type ConvDgrad, type ConvForward, type ConvShape, type ConvWgrad } from './problem.ts';
import { makesTiles, tileMultiplyBatch } from './tile.ts';
import type { Variant } from './variant.ts';

const transformData = kernel('winograd', 'data');
const transformWeights = kernel('winograd', 'weights');
const transformResults = kernel('winograd', 'results');
const transformResultGradient = kernel('winograd', 'resultGradient');
const transformWeightGradient = kernel('winograd', 'weightGradient');

/** F(out×out, 3×3): how many results a tile has on a side. */
type Out = 2 | 4;

/** Products of a tile. */
const placesOf = (out: Out): number => (out + 2) ** 2;

/** A 3×3 convolution of stride 1 whose results are [N,P,Q,to] and whose data is [N,H,W,from]: forward or dgrad. */
interface Convolution {
  N: number;
  H: number;
  W: number;
  P: number;
  Q: number;
  padH: number;
  padW: number;
  from: number;
  to: number;
}

const forwardConvolution = ({ N, H, W, C, K, P, Q, padH, padW }: ConvShape): Convolution => ({
  ...{ N, H, W, P, Q, padH, padW, from: C, to: K },
});

/** The gradient of the data: dy is the data, and what was padding is cut off. */
const dgradConvolution = ({ N, H, W, C, K, P, Q, padH, padW }: ConvShape): Convolution => ({
  ...{ N, H: P, W: Q, P: H, Q: W, padH: 2 - padH, padW: 2 - padW, from: K, to: C },
});

/** What makes the products: `lanes` on software adapters, tiles on GPUs. */
interface Products {
  /** What the variant's name has of it. */
  suffix: '' | ' tile';
  software: boolean;
  /**
   * Bytes that the transform of a group's data or results takes: a processor's cache is to hold them; on a GPU a group's products
   * are to fill it, and a training step of VGG16_bn (batch 64, 48 px) still to fit 0.8 GB.
   */
  groupBytes: number;
  multiply(a: Tensor, b: Tensor, c: Tensor, batch: Batch): void;
}

const byLanes: Products = { suffix: '', software: true, groupBytes: 4 * 2 ** 20, multiply: lanesMultiplyBatch };
const byTiles: Products = { suffix: ' tile', software: false, groupBytes: 6 * 2 ** 20, multiply: tileMultiplyBatch };

/** The most bytes that the transform of one image's data or results, or of the weights, may take. */
const MOST_BYTES = { image: 16 * 2 ** 20, weights: 32 * 2 ** 20 };

/** A temporary. Sizes are powers of four, up to 16 MiB, so that the layers of a network share a few buffers. */
const scratch = (size: number): Tensor => Tensor.empty([size > 2 ** 22 ? size : 4 ** Math.ceil(Math.log2(size) / 2)]);

/** One for what is transformed of a group: on GPUs of one size, but where one image, or its last tiles, take more. */
const groupScratch = (size: number, { software, groupBytes }: Products): Tensor =>
  software ? scratch(size) : Tensor.empty([Math.max(size, groupBytes / 4)]);

/** Some of a batch's images. */
interface Group {
  first: number;
  images: number;
  down: number;
  across: number;
  /** Tiles of all images, rounded up to a multiple of 4. */
  tiles: number;
}

const tilesOf = ({ P, Q }: { P: number; Q: number }, out: Out): { down: number; across: number } => ({
  down: Math.ceil(P / out),
  across: Math.ceil(Q / out),
});

/** Bytes of the transform of an image's data or results, whichever is larger. */
function imageBytes(convolution: Convolution, out: Out): number {
  const { down, across } = tilesOf(convolution, out);
  return 4 * down * across * placesOf(out) * Math.max(convolution.from, convolution.to);
}

/** The images in groups whose transforms take no more than `groupBytes` each, one image at least. */
function groupsOf(convolution: Convolution, out: Out, { groupBytes }: Products): Group[] {
  const { N } = convolution;
  const { down, across } = tilesOf(convolution, out);
  const wanted = Math.ceil(N / Math.max(1, Math.floor(groupBytes / imageBytes(convolution, out))));
  const most = Math.ceil(N / wanted);
  return Array.from({ length: Math.ceil(N / most) }, (_, i) => {
    const images = Math.min(most, N - i * most);
    return { first: i * most, images, down, across, tiles: 4 * Math.ceil((images * down * across) / 4) };
  });
}

const transformOf = (out: Out) => ({ TRANSFORM: out === 2 ? 'lib/winograd2.wgsl' : 'lib/winograd4.wgsl' });

/** What a kernel has no use for. */
const untold = { first: 0, height: 0, width: 0, padH: 0, padW: 0, biased: 0, turned: 0 };

/** What is the same for every tile of a tensor [K,3,3,C]. Turned, its channels change places. */
function weightParams({ C, K }: ConvShape, turned = false) {
  const [channels, tiles] = turned ? [K, C] : [C, K];
  return { ...untold, images: 1, down: 1, across: tiles, channels, tiles, turned: Number(turned) };
}

function putData(
  x: Tensor,
  to: Tensor,
  { first, images, down, across, tiles }: Group,
  convolution: Convolution,
  out: Out,
): void {
  const { H: height, W: width, from: channels, padH, padW } = convolution;
  const place = { first, images, height, width, channels, down, across, tiles, padH: padH >>> 0, padW: padW >>> 0 };
  transformData(transformOf(out), { source: x, result: to }, { ...untold, ...place }, tiles * channels);
}

/** y = x ⋆ w (+ bias), w as it lies or turned round with its channels' roles exchanged. */
function convolve(
  x: Tensor,
  w: Tensor,
  bias: Tensor | null,
  y: Tensor,
  shape: ConvShape,
  out: Out,
  products: Products,
  turned: boolean,
): void {
  const convolution = turned ? dgradConvolution(shape) : forwardConvolution(shape);
  const { from, to, P: height, Q: width } = convolution;
  const { C, K } = shape;
  const places = placesOf(out);
  const u = scratch(places * C * K);
  transformWeights(transformOf(out), { source: w, result: u }, weightParams(shape, turned), C * K);
  const groups = groupsOf(convolution, out, products);
  const v = groupScratch(places * groups[0]!.tiles * from, products);
  const m = groupScratch(places * groups[0]!.tiles * to, products);
  for (const group of groups) {
    const { first, images, down, across, tiles } = group;
    putData(x, v, group, convolution, out);
    const product = { K: from, transposeA: false, transposeB: true, count: places };
    if (products === byTiles || tilesAreRows(tiles, to)) products.multiply(v, u, m, { ...product, M: tiles, N: to });
    else lanesMultiplyBatch(u, v, m, { ...product, M: to, N: tiles, transposeC: true });
    transformResults(
      transformOf(out),
      { source: m, bias: bias ?? w, result: y },
      { ...untold, first, images, height, width, channels: to, down, across, tiles, biased: Number(bias !== null) },
      tiles * to,
    );
  }
  for (const temporary of [u, v, m]) temporary.free('conv2d');
}

/** Products are [tiles,to]. A few tiles are the rows of `lanes`, whose own tiles may be low but not narrow. */
const tilesAreRows = (tiles: number, to: number): boolean => tiles < 32 && to >= 32;

/** dw from x and dy, summed over the groups in order. */
function weightGradient(x: Tensor, dy: Tensor, dw: Tensor, shape: ConvShape, out: Out, products: Products): void {
  const convolution = forwardConvolution(shape);
  const { C, K, P: height, Q: width } = shape;
  const places = placesOf(out);
  const groups = groupsOf(convolution, out, products);
  const v = groupScratch(places * groups[0]!.tiles * C, products);
  const m = groupScratch(places * groups[0]!.tiles * K, products);
  const u = scratch(places * C * K);
  for (const group of groups) {
    const { first, images, down, across, tiles } = group;
    putData(x, v, group, convolution, out);
    transformResultGradient(
      transformOf(out),
      { source: dy, result: m },
      { ...untold, first, images, height, width, channels: K, down, across, tiles },
      tiles * K,
    );
    const product = { M: K, N: C, K: tiles, transposeA: true, transposeB: false };
    products.multiply(m, v, u, { ...product, count: places, accumulate: first > 0 });
  }
  transformWeightGradient(transformOf(out), { source: u, result: dw }, weightParams(shape), C * K);
  for (const temporary of [u, v, m]) temporary.free('conv2d');
}

/** 3×3, stride 1, channels in fours, padding that dgrad can undo, and temporaries that stay small. */
function fits(out: Out, shape: ConvShape): boolean {
  const { C, K, R, S, strideH, strideW, padH, padW } = shape;
  const known = R === 3 && S === 3 && strideH === 1 && strideW === 1 && padH <= 2 && padW <= 2;
  if (!known || C % 4 !== 0 || K % 4 !== 0 || 4 * placesOf(out) * C * K > MOST_BYTES.weights) return false;
  return [forwardConvolution(shape), dgradConvolution(shape)].every(
    (convolution) => imageBytes(convolution, out) <= MOST_BYTES.image,
  );
}

/**
 * From which point on it wins. A tile's transforms are shared by the channels, the fewer of in and out; the weights' transform is paid
 * for by the multiply-adds that are saved for each weight that it makes: 9·N·P·Q / POINTS² − tiles.
 */
type Wins = readonly { channels: number; saved: number }[];

/**
 * Where it beats `lanes` in processor time, forward and both gradients together, over VGG16_bn's layers at widths 1/8 to 1,
 * batches 4 to 64, 48 px: lavapipe (Mesa 25.0.7, AVX2) 1.1 to 2.3 times, 1.5 in the median; SwiftShader up to 2.7 times, 1.5 in the
 * median, and even from 16 to 16 channels. Below, loads and stores of the transforms cost more than the products that are saved.
 */
const wins: Partial<Record<AdapterKind, Record<Out, Wins>>> = {
  lavapipe: {
    4: [
      // From fewer saved on it would win by a quarter, but in layers so small that this does not make up for compiling its kernels.
      { channels: 32, saved: 512 },
      { channels: 64, saved: 128 },
      { channels: 128, saved: 96 },
    ],
    2: [
      { channels: 128, saved: 128 },
      { channels: 256, saved: 80 },
    ],
  },
  swiftshader: {
    4: [{ channels: 16, saved: 40 }],
    2: [{ channels: 32, saved: 40 }],
  },
};

/** Where a GPU may win: worth a measurement, never taken without one. */
const worthTrying: Wins = [{ channels: 64, saved: 40 }];

/** Before `lanes` where it was measured to win, after all others where nothing was measured, and else not at all. */
function rank(out: Out, products: Products, shape: ConvShape, { kind, software }: Adapter): number {
  if (products.software !== software) return Number.POSITIVE_INFINITY;
  const { N, C, K, P, Q } = shape;
  const other = out === 4 ? 2 : 4;
  const productsOf = (side: Out): number =>
    N * tilesOf(shape, side).down * tilesOf(shape, side).across * placesOf(side);
  const [own, others] = [productsOf(out), fits(other, shape) ? productsOf(other) : Number.POSITIVE_INFINITY];
  // Of two sizes that fit the one with fewer products, the more exact one of equals.
  if (own > others || (own === others && out === 4)) return Number.POSITIVE_INFINITY;
  const channels = Math.min(C, K);
  const saved = (9 * N * P * Q - own) / placesOf(out);
  const reached = (least: Wins) => least.some((from) => channels >= from.channels && saved >= from.saved);
  if (!software) return reached(worthTrying) ? 100 : Number.POSITIVE_INFINITY;
  return reached(wins[kind]?.[out] ?? []) ? 5 : Number.POSITIVE_INFINITY;
}

/** Variants for both sizes and both ways of making the products. */
const variantsOf = <P extends { shape: ConvShape }>(
  tensors: (problem: P) => Tensor[],
  run: (problem: P, out: Out, products: Products) => void,
): Variant<P>[] =>
  [byLanes, byTiles].flatMap((products) =>
    ([4, 2] as const).map((out) => ({
      name: `winograd ${out}×${out}${products.suffix}`,
      rank: ({ shape }: P, adapter: Adapter) => rank(out, products, shape, adapter),
      fits: (problem: P) =>
        allF32(...tensors(problem)) &&
        fits(out, problem.shape) &&
        (products === byLanes || makesTiles(tensors(problem)[0]!.storage.gpu)),
      run: (problem: P) => run(problem, out, products),
    })),
  );

export const winogradForwards: readonly Variant<ConvForward>[] = variantsOf(
  ({ x, w, y }) => [x, w, y],
  ({ x, w, bias, y, shape }, out, products) => convolve(x, w, bias, y, shape, out, products, false),
);

export const winogradDgrads: readonly Variant<ConvDgrad>[] = variantsOf(
  ({ dy, w, dx }) => [dy, w, dx],
  ({ dy, w, dx, shape }, out, products) => convolve(dy, w, null, dx, shape, out, products, true),
);

export const winogradWgrads: readonly Variant<ConvWgrad>[] = variantsOf(
  ({ x, dy, dw }) => [x, dy, dw],
  ({ x, dy, dw, shape }, out, products) => weightGradient(x, dy, dw, shape, out, products),
);
