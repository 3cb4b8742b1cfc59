import * as assert from 'uvu/assert';
import { Tensor } from '../src/core/tensor.ts';
import * as ops from '../src/ops/index.ts';
import { forceVariant } from '../src/ops/matrix/variant.ts';

/** Runs `fn` with the variant called `name` wherever it fits. */
export async function forcing<T>(name: string, fn: () => Promise<T>): Promise<T> {
  forceVariant(name);
  try {
    return await fn();
  } finally {
    forceVariant(null);
  }
}

/** Checks that an element of an image which is not a number spoils what a 3×3 convolution makes around it, and nothing else. */
export async function checkSpoilt(channels: number, dtype: 'f32' | 'f16' = 'f32'): Promise<void> {
  const [side, at, out] = [6, 3, 8];
  const pixels = new Float32Array(side * side * channels).fill(1);
  pixels[(at * side + at) * channels] = Number.NaN;
  const image = Tensor.from(pixels, [1, side, side, channels], { dtype });
  const y = await ops.conv2d(image, Tensor.full([out, 3, 3, channels], 1, dtype), null, { padding: 1 }).read();
  const near = (place: number): boolean => Math.abs(place - at) <= 1;
  y.forEach((value, i) => {
    const pixel = Math.floor(i / out);
    const spoilt = near(Math.floor(pixel / side)) && near(pixel % side);
    assert.is(Number.isNaN(value), spoilt, `${channels} channels: [${Math.floor(pixel / side)}, ${pixel % side}]`);
  });
}
