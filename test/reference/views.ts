/** How augmented images are seen, in f64: the 20 numbers of a view (shaders/lib/view.wgsl) from what was drawn. */

type Matrix = readonly [Row, Row, Row];
type Row = readonly [number, number, number];

const identity: Matrix = [
  [1, 0, 0],
  [0, 1, 0],
  [0, 0, 1],
];

/** First b, then a. */
const times = (a: Matrix, b: Matrix): Matrix =>
  a.map((row) => [0, 1, 2].map((j) => row[0] * b[0][j]! + row[1] * b[1][j]! + row[2] * b[2][j]!)) as unknown as Matrix;

const chain = (...steps: readonly Matrix[]): Matrix => steps.reduce((all, step) => times(step, all), identity);
const scaleAndMove = (x: number, dx: number, y = x, dy = dx): Matrix => [
  [x, 0, dx],
  [0, y, dy],
  [0, 0, 1],
];

/** Solves A·x = b by Gauss's elimination with pivots. */
function solve(a: number[][], b: number[]): number[] {
  const rows = a.map((row, i) => [...row, b[i]!]);
  for (let k = 0; k < rows.length; k++) {
    const pivot = rows
      .slice(k)
      .reduce((best, row, i) => (Math.abs(row[k]!) > Math.abs(rows[best]![k]!) ? i + k : best), k);
    [rows[k], rows[pivot]] = [rows[pivot]!, rows[k]!];
    for (const [i, row] of rows.entries()) {
      if (i === k) continue;
      const factor = row[k]! / rows[k]![k]!;
      for (let j = k; j < row.length; j++) row[j]! -= factor * rows[k]![j]!;
    }
  }
  return rows.map((row, k) => row.at(-1)! / row[k]!);
}

/** fast.ai's `find_coeffs`: from the corners of the warped square to those of the square. */
function warp([x, y]: readonly [number, number]): Matrix {
  const pairs = [
    [-1 - y, -1 - x, -1, -1],
    [-1 + y, 1 + x, -1, 1],
    [1 + y, -1 + x, 1, -1],
    [1 - y, 1 - x, 1, 1],
  ] as const;
  const a = pairs.flatMap(([u, v, p, q]) => [
    [u, v, 1, 0, 0, 0, -p * u, -p * v],
    [0, 0, 0, u, v, 1, -q * u, -q * v],
  ]);
  const to = pairs.flatMap(([, , p, q]) => [p, q]);
  const c = solve(a, to);
  return [
    [c[0]!, c[1]!, c[2]!],
    [c[3]!, c[4]!, c[5]!],
    [c[6]!, c[7]!, 1],
  ];
}

const view = (m: Matrix, brightness: number, contrast: number, hole: readonly number[], bounds: readonly number[]) => [
  ...[...m[0], brightness, ...m[1], contrast, ...m[2], 0],
  ...[...hole, ...bounds],
];

const NOWHERE = [0, 0, 0, 0];
const EVERYWHERE = [-1e30, -1e30, 1e30, 1e30];

export interface FastaiDraw {
  flip: boolean;
  angleRad: number;
  /** 1 to 1.1: how much larger things are. */
  zoom: number;
  /** Shares of the side. */
  centre: readonly [number, number];
  warp: readonly [number, number];
  /** 0.5 is none. */
  brightness: number;
  /** A factor. */
  contrast: number;
}

export function fastaiView(
  { flip, angleRad, zoom, centre, warp: by, brightness, contrast }: FastaiDraw,
  side: number,
  size: number,
) {
  const [c, s] = [Math.cos(angleRad), Math.sin(angleRad)];
  const [x, y] = centre.map((share) => (1 - 1 / zoom) * (2 * share - 1)) as [number, number];
  const matrix = chain(
    scaleAndMove(2 / (size - 1), -1),
    scaleAndMove(1 / zoom, x, 1 / zoom, y),
    [
      [c, s, 0],
      [-s, c, 0],
      [0, 0, 1],
    ],
    scaleAndMove(flip ? -1 : 1, 0, 1, 0),
    warp(by),
    scaleAndMove((side - 1) / 2, (side - 1) / 2),
  );
  return view(matrix, Math.log(brightness / (1 - brightness)), contrast, NOWHERE, EVERYWHERE);
}

export interface FerDraw {
  /** left, top, width, height of what is enlarged to the canvas */
  part: readonly number[];
  /** columns and rows by which the canvas is moved */
  shift: readonly number[];
  flip: boolean;
  angleRad: number;
  /** first column and row of the crop */
  corner: readonly number[];
  /** left, top, right, bottom in output pixels */
  hole: readonly number[];
}

export function ferView(
  { part, shift, flip, angleRad, corner, hole }: FerDraw,
  side: number,
  size: number,
  window: number,
) {
  const [c, s] = [Math.cos(angleRad), Math.sin(angleRad)];
  const middle = (side - 1) / 2;
  const [left, top, width, height] = part as [number, number, number, number];
  const [dx, dy] = shift as [number, number];
  const step = window / size;
  const [shrinkX, shrinkY] = [width / side, height / side];
  const enlarged = scaleAndMove(shrinkX, left + 0.5 * shrinkX - 0.5, shrinkY, top + 0.5 * shrinkY - 0.5);
  const matrix = chain(
    scaleAndMove(step, 0.5 * step - 0.5 + corner[0]! - middle, step, 0.5 * step - 0.5 + corner[1]! - middle),
    [
      [c, -s, 0],
      [s, c, 0],
      [0, 0, 1],
    ],
    scaleAndMove(1, middle),
    flip ? scaleAndMove(-1, side - 1, 1, 0) : identity,
    scaleAndMove(1, -dx, 1, -dy),
    enlarged,
  );
  const place = (x: number, y: number) => [enlarged[0][0] * x + enlarged[0][2], enlarged[1][1] * y + enlarged[1][2]];
  const low = place(Math.max(-0.5, -0.5 - dx), Math.max(-0.5, -0.5 - dy));
  const high = place(Math.min(side - 0.5, side - 0.5 - dx), Math.min(side - 0.5, side - 0.5 - dy));
  return view(matrix, 0, 1, hole, [...low, ...high]);
}

/** Mirrored or not, and moved by shares of the side. */
export interface ShiftDraw {
  flip: boolean;
  shift: readonly number[];
}

export function shiftView({ flip, shift }: ShiftDraw, side: number, size: number) {
  const scale = side / size;
  const matrix = chain(
    scaleAndMove(scale, 0.5 * scale - 0.5),
    flip ? scaleAndMove(-1, side - 1, 1, 0) : identity,
    scaleAndMove(1, side * shift[0]!, 1, side * shift[1]!),
  );
  return view(matrix, 0, 1, NOWHERE, EVERYWHERE);
}
