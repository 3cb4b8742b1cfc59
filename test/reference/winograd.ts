import { nhwc, type Pair, pair, type Values, values } from './values.ts';

/** A matrix as its rows. */
export type Matrix = readonly (readonly number[])[];

/** y = Aᵀ[(G g) ⊙ (Bᵀ d)]: `out` results of a filter of three from out + 2 data, in one dimension. */
export interface Winograd {
  readonly out: number;
  readonly AT: Matrix;
  readonly G: Matrix;
  readonly BT: Matrix;
}

/** Coefficients of Π (x − p), lowest first. */
function withRoots(roots: readonly number[]): number[] {
  let c = [1];
  for (const p of roots) c = [0, ...c].map((value, k) => value - p * (c[k] ?? 0));
  return c;
}

/**
 * F(m, 3) by Toom and Cook: both polynomials are evaluated at `points` and at infinity, multiplied there, and interpolated; the
 * transpose of that is a correlation (Lavin & Gray, §4.1; Blahut, Fast Algorithms for Signal Processing, §5.2). There are m + 1
 * points.
 */
export function winograd(points: readonly number[]): Winograd {
  const out = points.length - 1;
  const last = (length: number) => Array.from({ length }, (_, i) => (i === length - 1 ? 1 : 0));
  const others = points.map((p) => points.filter((q) => q !== p));
  return {
    out,
    AT: Array.from({ length: out }, (_, i) => [...points.map((p) => p ** i), last(out)[i]!]),
    G: [
      ...points.map((p, i) => {
        const scale = others[i]!.reduce((product, q) => product * (p - q), 1);
        return [1 / scale, p / scale, (p * p) / scale];
      }),
      last(3),
    ],
    BT: [...others.map((roots) => [...withRoots(roots), 0]), withRoots(points)],
  };
}

/** The engine's F(2×2, 3×3) and F(4×4, 3×3), by the points of `shaders/lib/winograd*.wgsl`. */
export const winograds: Readonly<Record<2 | 4, Winograd>> = {
  2: winograd([0, 1, -1]),
  4: winograd([0, 0.75, -0.75, 1.5, -1.5]),
};

export const transpose = (m: Matrix): Matrix => m[0]!.map((_, j) => m.map((row) => row[j]!));

export const absolutes = ({ out, AT, G, BT }: Winograd): Winograd => {
  const absolute = (m: Matrix): Matrix => m.map((row) => row.map(Math.abs));
  return { out, AT: absolute(AT), G: absolute(G), BT: absolute(BT) };
};

const product = (a: Matrix, b: Matrix): Matrix =>
  a.map((row) => b[0]!.map((_, j) => row.reduce((sum, value, k) => sum + value * b[k]![j]!, 0)));

/** M·X·Mᵀ: a transform in both dimensions. */
const both = (m: Matrix, x: Matrix): Matrix => product(product(m, x), transpose(m));

const square = (side: number, at: (i: number, j: number) => number): Matrix =>
  Array.from({ length: side }, (_, i) => Array.from({ length: side }, (_, j) => at(i, j)));

const addProduct = (sum: number[][], a: Matrix, b: Matrix): void => {
  for (const [i, row] of sum.entries()) for (const j of row.keys()) row[j]! += a[i]![j]! * b[i]![j]!;
};

const zeros = (side: number): number[][] => Array.from({ length: side }, () => new Array<number>(side).fill(0));

/** The square of `side` pixels of channel c from (y, x) on, zero outside of the image. */
function windowOf(x: Values, side: number, n: number, top: number, left: number, c: number): Matrix {
  const [, H, W, C] = nhwc('winograd', x);
  return square(side, (i, j) => {
    const [y, column] = [top + i, left + j];
    return y < 0 || y >= H || column < 0 || column >= W ? 0 : x.data[((n * H + y) * W + column) * C + c]!;
  });
}

/** Every tile of N images of P×Q results: image, first row, first column. */
function* tilesOf(N: number, P: number, Q: number, out: number): Generator<[number, number, number]> {
  for (let n = 0; n < N; n++) for (let p = 0; p < P; p += out) for (let q = 0; q < Q; q += out) yield [n, p, q];
}

/** y of a 3×3 convolution of stride 1, x [N,H,W,C], w [K,3,3,C], by `algorithm`. */
export function winogradConv2d(algorithm: Winograd, x: Values, w: Values, padding: Pair = 0): Values {
  const { out, AT, G, BT } = algorithm;
  const [N, H, W, C] = nhwc('winograd', x);
  const K = w.shape[0]!;
  const [padH, padW] = pair(padding);
  const [P, Q] = [H + 2 * padH - 2, W + 2 * padW - 2];
  const filters = Array.from({ length: K * C }, (_, i) => {
    const [k, c] = [Math.floor(i / C), i % C];
    return both(
      G,
      square(3, (r, s) => w.data[((k * 3 + r) * 3 + s) * C + c]!),
    );
  });
  const y = values([N, P, Q, K]);
  for (const [n, p, q] of tilesOf(N, P, Q, out)) {
    const data = Array.from({ length: C }, (_, c) => both(BT, windowOf(x, out + 2, n, p - padH, q - padW, c)));
    for (let k = 0; k < K; k++) {
      const sum = zeros(out + 2);
      for (let c = 0; c < C; c++) addProduct(sum, filters[k * C + c]!, data[c]!);
      for (const [i, row] of both(AT, sum).entries()) {
        for (const [j, value] of row.entries()) {
          if (p + i < P && q + j < Q) y.data[((n * P + p + i) * Q + q + j) * K + k] = value;
        }
      }
    }
  }
  return y;
}

/** dw [K,3,3,C] of the same from x and dy: the transpose of the algorithm. */
export function winogradWeightGradient(algorithm: Winograd, x: Values, dy: Values, padding: Pair = 0): Values {
  const { out, AT, G, BT } = algorithm;
  const [N, P, Q, K] = nhwc('winograd', dy);
  const C = x.shape[3]!;
  const [padH, padW] = pair(padding);
  const sums = Array.from({ length: K * C }, () => zeros(out + 2));
  for (const [n, p, q] of tilesOf(N, P, Q, out)) {
    const data = Array.from({ length: C }, (_, c) => both(BT, windowOf(x, out + 2, n, p - padH, q - padW, c)));
    for (let k = 0; k < K; k++) {
      const gradient = both(transpose(AT), windowOf(dy, out, n, p, q, k));
      for (let c = 0; c < C; c++) addProduct(sums[k * C + c]!, gradient, data[c]!);
    }
  }
  const dw = values([K, 3, 3, C]);
  for (const [i, sum] of sums.entries()) {
    const [k, c] = [Math.floor(i / C), i % C];
    for (const [r, row] of both(transpose(G), sum).entries()) {
      for (const [s, value] of row.entries()) dw.data[((k * 3 + r) * 3 + s) * C + c] = value;
    }
  }
  return dw;
}

/** w [K,3,3,C] as the gradient of the data needs it: turned by half a turn, the channels' roles exchanged, [C,3,3,K]. */
export function turned(w: Values): Values {
  const [K, , , C] = nhwc('winograd', w);
  const y = values([C, 3, 3, K]);
  for (let k = 0; k < K; k++)
    for (let tap = 0; tap < 9; tap++)
      for (let c = 0; c < C; c++) y.data[(c * 9 + 8 - tap) * K + k] = w.data[(k * 9 + tap) * C + c]!;
  return y;
}
