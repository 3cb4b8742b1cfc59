import { ShapeError } from '../core/errors.ts';
import type { Random } from '../core/random.ts';
import { isShape, type Shape, showShape, sizeOf } from '../core/shape.ts';
import { Tensor } from '../core/tensor.ts';

let filling = true;

/**
 * Builds a network whose parameters have no values yet: a file's take their place at once. Drawing them takes seconds where a
 * network has 4096 units twice.
 */
export function unfilled<T>(build: () => T): T {
  filling = false;
  try {
    return build();
  } finally {
    filling = true;
  }
}

function parameter(shape: Shape, value: () => number): Tensor {
  if (!isShape(shape))
    throw new ShapeError(`nn: a parameter ${showShape(shape)}; extents are whole numbers from 1 on.`);
  if (!filling) {
    const tensor = Tensor.empty(shape);
    tensor.requiresGrad = true;
    return tensor;
  }
  const values = new Float32Array(sizeOf(shape));
  for (let i = 0; i < values.length; i++) values[i] = value();
  return Tensor.from(values, shape, { requiresGrad: true });
}

/** A parameter drawn from N(0, std²). */
export const normal = (shape: Shape, std: number, random: Random): Tensor =>
  parameter(shape, () => std * random.normal());

/** A parameter drawn evenly from [−bound, bound]. */
export const uniform = (shape: Shape, bound: number, random: Random): Tensor =>
  parameter(shape, () => bound * (2 * random.uniform() - 1));

/** A parameter of one value. */
export const constant = (shape: Shape, value: number): Tensor => parameter(shape, () => value);

/**
 * Standard deviation of He et al. (2015) for layers followed by ReLU: √(2/fan). torchvision takes the fan out for convolutions
 * (K·R·S), fast.ai's head the fan in.
 */
export const kaimingStd = (fan: number): number => Math.sqrt(2 / fan);
