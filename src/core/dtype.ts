import { Float16Array } from '@petamoriken/float16';
import { currentGpu } from '../gpu/gpu.ts';
import { ConfigError, ShapeError } from './errors.ts';

export type DType = 'f32' | 'f16' | 'u32' | 'i32';

/** Numbers as JavaScript has them; it has no f16 of its own on every Node that is supported. */
export type Numbers = Float32Array | Uint32Array | Int32Array;

/** By its name, for a type of another realm is no instance of this one's. */
const TYPES: Readonly<Record<string, DType>> = { Float32Array: 'f32', Uint32Array: 'u32', Int32Array: 'i32' };
const nameOf = (values: unknown): string => Object.prototype.toString.call(values).slice(8, -1);

/** The type of the elements of an array that `op` is given. Throws ShapeError where tensors have none such. */
export function dtypeOf(op: string, values: Numbers): DType {
  const dtype = TYPES[nameOf(values)];
  if (dtype) return dtype;
  throw new ShapeError(`${op}: it takes a ${Object.keys(TYPES).join(', ')}, not ${nameOf(values)}.`);
}

export const isWhole = (dtype: DType): boolean => dtype === 'u32' || dtype === 'i32';

export const elementBytes = (dtype: DType): number => (dtype === 'f16' ? 2 : 4);

/** The type that WGSL has for one element, or for a vector of four. */
export function wgslType(dtype: DType, width: 1 | 4 = 1): string {
  if (width === 1) return dtype;
  return `vec4${dtype === 'f16' ? 'h' : dtype[0]}`;
}

const VECTORS: Readonly<Record<DType, RegExp>> = {
  f32: /^(vec\d|mat\dx\d)f$/,
  f16: /^(vec\d|mat\dx\d)h$/,
  u32: /^(vec\d|mat\dx\d)u$/,
  i32: /^(vec\d|mat\dx\d)i$/,
};

/** True where a shader that declares `array<element>` reads the type rightly: `f32` and `vec4f` hold f32, `atomic<u32>` u32. */
export const holds = (element: string, dtype: DType): boolean =>
  element.includes(dtype) || VECTORS[dtype].test(element);

/**
 * The bytes of `values` as elements of `dtype`, in whole words: f16 takes the nearest value, ties to even. Throws ShapeError for
 * numbers of another type.
 */
export function encode(op: string, values: Numbers, dtype: DType): Uint8Array<ArrayBuffer> {
  const given = dtypeOf(op, values);
  if (given !== (dtype === 'f16' ? 'f32' : dtype)) {
    throw new ShapeError(`${op}: the tensor is ${dtype} but the values are ${given}, ${nameOf(values)}; convert them.`);
  }
  if (dtype !== 'f16') {
    // A copy, and never of shared memory, which Dawn does not take.
    const copy = new Uint8Array(values.byteLength);
    copy.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    return copy;
  }
  const bytes = new Uint8Array(Math.ceil(values.length / 2) * 4);
  new Float16Array(bytes.buffer).set(values);
  return bytes;
}

/** The bits of `value` as f32 or, in a whole-number type, as that. Throws ShapeError for a number that such a type does not have. */
export function bitsOf(op: string, value: number, dtype: DType): number {
  if (!isWhole(dtype)) return new Uint32Array(Float32Array.of(value).buffer)[0]!;
  const kept = dtype === 'u32' ? value >>> 0 : value | 0;
  if (kept !== value) throw new ShapeError(`${op}: the tensor is ${dtype}, which has no ${value}.`);
  return value >>> 0;
}

/** The `size` floating-point numbers in `bytes`. */
export function decodeFloats(bytes: ArrayBuffer, dtype: DType, size: number): Float32Array {
  return dtype === 'f16' ? Float32Array.from(new Float16Array(bytes, 0, size)) : new Float32Array(bytes, 0, size);
}

/** Throws ConfigError, about `what`, where the adapter does not compute in f16. */
export function checkHalf(what: string, instead = 'f32'): void {
  const { adapter } = currentGpu();
  if (adapter.features.has('shader-f16')) return;
  throw new ConfigError(
    `${what}: ${adapter.name} has no shader-f16. Use ${instead}, or an adapter that has it (\`dawngrad info\` lists features).`,
  );
}
