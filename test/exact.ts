import * as assert from 'uvu/assert';
import { Tensor } from '../src/core/tensor.ts';
import { gradient, integers } from './check.ts';
import type { Values } from './reference.ts';

/** Values and gradients of an operation on small whole numbers, dy included: in f32 all of it is exact, whatever the order. */
export async function exactOnIntegers(
  op: (inputs: Tensor[]) => Tensor,
  reference: (inputs: Values[]) => Values,
  shapes: readonly (readonly number[])[],
): Promise<void> {
  const inputs = shapes.map((shape, i) => integers(shape, 200 + i, -4, 5));
  const tensors = inputs.map((x) => fromValues(x, true));
  const y = op(tensors);
  const want = reference(inputs);
  assert.equal([...(await y.read())], [...want.data]);
  const dy = integers(want.shape, 300, -4, 5);
  y.backward(fromValues(dy));
  for (const [i, tensor] of tensors.entries()) {
    const slopes = gradient(reference, inputs, i, dy, { step: 1 }).map(({ slope }) => slope);
    assert.equal([...(await tensor.grad!.read())].map(withoutSign0), slopes.map(withoutSign0), `gradient ${i}`);
  }
}

const withoutSign0 = (value: number): number => value + 0;

/** The oracle's values on the GPU. */
export const fromValues = (x: Values, requiresGrad = false): Tensor =>
  Tensor.from(Float32Array.from(x.data), x.shape, { requiresGrad });

/** More elements than 65,535 workgroups of 64 reach, so that the grid has a second row. */
export const BEYOND_ONE_ROW = 65_535 * 64 + 3_001;

/** Element i of the pattern that fills such a tensor. */
export const patternAt = (i: number): number => ((i * 7) % 251) - 125;

export const pattern = (size: number): Float32Array => new Float32Array(size).map((_, i) => patternAt(i));

/** First and last elements, those around the end of the grid's rows, and some between. */
export const samplesOf = (size: number): number[] => {
  const row = 64 * Math.ceil(Math.ceil(size / 64) / 2);
  const places = [0, 1, row - 1, row, row + 1, 65_535 * 64 - 1, 65_535 * 64, size - 2, size - 1];
  return [...places, ...Array.from({ length: 1000 }, (_, i) => (i * 7919 * 61) % size)].filter((i) => i < size);
};

/** Throws unless got[i] is want(i) at all samples. */
export function equalAtSamples(got: ArrayLike<number>, want: (i: number) => number): void {
  for (const i of samplesOf(got.length)) {
    if (!Object.is(got[i]! + 0, want(i) + 0)) throw new Error(`element ${i} is ${got[i]}, want ${want(i)}`);
  }
}
