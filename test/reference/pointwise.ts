import { coordinates, map, stridesOf, type Values, values } from './values.ts';

const unary =
  (f: (x: number) => number) =>
  (x: Values): Values =>
    map(x, (value) => f(value));

/** Another storage type: the same value, up to a rounding that the tolerance allows. */
export const cast = unary((x) => x);

export const sigmoidOf = (x: number): number => 1 / (1 + Math.exp(-x));

export const relu = unary((x) => Math.max(x, 0));
export const sigmoid = unary(sigmoidOf);
export const tanh = unary(Math.tanh);
export const exp = unary(Math.exp);
export const log = unary(Math.log);
export const sqrt = unary(Math.sqrt);
export const abs = unary(Math.abs);
export const neg = unary((x) => -x);
export const square = unary((x) => x * x);
/** x·σ(x). */
export const silu = unary((x) => x * sigmoidOf(x));
/** ½·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))): PyTorch's gelu(approximate='tanh'). WGSL has no erf. */
export const gelu = unary((x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))));
/** ln(1 + eˣ), without overflow. */
export const softplus = unary((x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))));

/** The shape that numpy's rule gives: aligned at the last axis, an extent of 1 stretches. Throws when none fits. */
export function broadcastShape(a: readonly number[], b: readonly number[]): number[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, axis) => {
    const extentA = a[axis - rank + a.length] ?? 1;
    const extentB = b[axis - rank + b.length] ?? 1;
    if (extentA !== extentB && extentA !== 1 && extentB !== 1) throw new Error(`[${a}] and [${b}] do not broadcast`);
    return extentA === 1 ? extentB : extentA;
  });
}

/** x repeated along its axes of extent 1 to fill `shape`. */
export function broadcastTo(x: Values, shape: readonly number[]): Values {
  const strides = stridesOf(x.shape);
  const missing = shape.length - x.shape.length;
  const y = values(shape);
  for (let i = 0; i < y.data.length; i++) {
    const at = coordinates(i, shape);
    let from = 0;
    for (let axis = 0; axis < x.shape.length; axis++) {
      if (x.shape[axis] !== 1) from += at[axis + missing]! * strides[axis]!;
    }
    y.data[i] = x.data[from]!;
  }
  return y;
}

const binary =
  (f: (a: number, b: number) => number) =>
  (a: Values, b: Values): Values => {
    const shape = broadcastShape(a.shape, b.shape);
    const wideA = broadcastTo(a, shape);
    const wideB = broadcastTo(b, shape);
    return map(wideA, (value, i) => f(value, wideB.data[i]!));
  };

export const add = binary((a, b) => a + b);
export const sub = binary((a, b) => a - b);
export const mul = binary((a, b) => a * b);
export const div = binary((a, b) => a / b);
export const maximum = binary(Math.max);
export const minimum = binary(Math.min);
