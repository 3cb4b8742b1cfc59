import { nhwc, type Pair, pair, type Values, values } from './values.ts';

/** First and one-past-last position of a window along one side, within the image. */
type Range = readonly [from: number, to: number];

const ranges = (extent: number, kernel: number, stride: number, padding: number): Range[] =>
  Array.from({ length: Math.floor((extent + 2 * padding - kernel) / stride) + 1 }, (_, p) => [
    Math.max(p * stride - padding, 0),
    Math.min(p * stride - padding + kernel, extent),
  ]);

/** PyTorch's adaptive windows: output p of P covers ⌊p·H/P⌋ to ⌈(p+1)·H/P⌉; they may overlap, or repeat when P > H. */
const adaptiveRanges = (extent: number, outputs: number): Range[] =>
  Array.from({ length: outputs }, (_, p) => [
    Math.floor((p * extent) / outputs),
    Math.ceil(((p + 1) * extent) / outputs),
  ]);

/** y[n,p,q,c] = `finish`(fold of x[n,h,w,c] over h in rows[p], w in columns[q], number of terms). */
function pool(
  x: Values,
  rows: readonly Range[],
  columns: readonly Range[],
  initial: number,
  fold: (total: number, value: number) => number,
  finish: (total: number, terms: number) => number,
): Values {
  const [N, H, W, C] = nhwc('pool', x);
  const y = values([N, rows.length, columns.length, C]);
  let to = 0;
  for (let n = 0; n < N; n++) {
    for (const [top, bottom] of rows) {
      for (const [left, right] of columns) {
        for (let c = 0; c < C; c++) {
          let total = initial;
          for (let h = top; h < bottom; h++) {
            for (let w = left; w < right; w++) total = fold(total, x.data[((n * H + h) * W + w) * C + c]!);
          }
          y.data[to++] = finish(total, (bottom - top) * (right - left));
        }
      }
    }
  }
  return y;
}

const largest = (x: Values, rows: readonly Range[], columns: readonly Range[]): Values =>
  pool(x, rows, columns, Number.NEGATIVE_INFINITY, Math.max, (total) => total);

const average = (x: Values, rows: readonly Range[], columns: readonly Range[], divisor?: number): Values =>
  pool(
    x,
    rows,
    columns,
    0,
    (total, value) => total + value,
    (total, terms) => total / (divisor ?? terms),
  );

interface PoolOptions {
  kernel: Pair;
  stride?: Pair;
  padding?: Pair;
}

function windows(x: Values, { kernel, stride = kernel, padding = 0 }: PoolOptions): [Range[], Range[], number] {
  const [, H, W] = nhwc('pool', x);
  const [R, S] = pair(kernel);
  const [strideH, strideW] = pair(stride);
  const [padH, padW] = pair(padding);
  return [ranges(H, R, strideH, padH), ranges(W, S, strideW, padW), R * S];
}

/** Maximum over kernel windows of x [N,H,W,C]; padding counts as −∞. */
export function maxPool2d(x: Values, options: PoolOptions): Values {
  const [rows, columns] = windows(x, options);
  return largest(x, rows, columns);
}

/** Mean over kernel windows of x [N,H,W,C]; padding counts as zeros, and in the divisor if `countIncludePad`. */
export function avgPool2d(
  x: Values,
  { countIncludePad = true, ...options }: PoolOptions & { countIncludePad?: boolean },
): Values {
  const [rows, columns, area] = windows(x, options);
  return average(x, rows, columns, countIncludePad ? area : undefined);
}

/** Mean over P×Q adaptive windows: x [N,H,W,C] → [N,P,Q,C]. */
export function adaptiveAvgPool2d(x: Values, size: Pair): Values {
  const [, H, W] = nhwc('adaptiveAvgPool2d', x);
  const [P, Q] = pair(size);
  return average(x, adaptiveRanges(H, P), adaptiveRanges(W, Q));
}

/** Maximum over P×Q adaptive windows: x [N,H,W,C] → [N,P,Q,C]. */
export function adaptiveMaxPool2d(x: Values, size: Pair): Values {
  const [, H, W] = nhwc('adaptiveMaxPool2d', x);
  const [P, Q] = pair(size);
  return largest(x, adaptiveRanges(H, P), adaptiveRanges(W, Q));
}

/** y[n,p,q,c] = x[n, ⌊p/factor⌋, ⌊q/factor⌋, c]. */
export function upsampleNearest2d(x: Values, factor: Pair): Values {
  const [N, H, W, C] = nhwc('upsampleNearest2d', x);
  const [fh, fw] = pair(factor);
  const y = values([N, H * fh, W * fw, C]);
  let to = 0;
  for (let n = 0; n < N; n++) {
    for (let p = 0; p < H * fh; p++) {
      for (let q = 0; q < W * fw; q++) {
        const from = ((n * H + Math.floor(p / fh)) * W + Math.floor(q / fw)) * C;
        for (let c = 0; c < C; c++) y.data[to++] = x.data[from + c]!;
      }
    }
  }
  return y;
}
