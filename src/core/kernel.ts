import { debugLevel } from '../gpu/debug.ts';
import { currentGpu, type Gpu } from '../gpu/gpu.ts';
import type { Pipeline } from '../gpu/pipeline.ts';
import type { Work } from '../gpu/profile.ts';
import type { Consts } from '../gpu/shader.ts';
import type { Binding, BufferRange, Grid } from '../gpu/stream.ts';
import { holds } from './dtype.ts';
import { GpuError, UsageError } from './errors.ts';
import { showShape } from './shape.ts';
import type { Tensor } from './tensor.ts';

/** A tensor that a shader reads as `array<vec4u>`, whatever its type: words of one element each, or of two. */
export interface Words {
  words: Tensor;
}

/** What a kernel binds: a tensor, its words, or a bare range of memory such as the step buffer. */
export type Operand = Tensor | Words | BufferRange;

/**
 * Records one run of a compute shader.
 *
 * @param consts   values for the shader's `const NAME: T` lines: what changes the code
 * @param operands tensors by the names that the shader's bindings have: exactly those that the entry point mentions, also where
 *                 a constant keeps it from reading them (any tensor stands in there)
 * @param params   values for the fields of `struct Params`: what changes only numbers
 * @param threads  invocations wanted, spread over a one-dimensional grid; or the grid itself in workgroups
 * @param flops    multiplications and additions, for profiles; where it is not given they show bytes alone
 */
export type Kernel = (
  consts: Consts,
  operands: Readonly<Record<string, Operand>>,
  params: Readonly<Record<string, number>>,
  threads: number | Grid,
  flops?: number,
) => void;

/** Workgroups on a side of a grid at most. */
export const MAX_GROUPS = 65_535;

/**
 * A compute shader as a function: `shaders/NAME.wgsl`, or the WGSL text `code` under a name of its own; entry point `entry`. The
 * text declares the interface: `@group(0) @binding(0) var<uniform> params: Params`, storage bindings, and `const`s to specialise.
 */
export function kernel(name: string, entry: string, code?: string): Kernel {
  return (consts, operands, params, threads, flops = 0) => {
    const gpu = currentGpu();
    if (code !== undefined) gpu.pipelines.define(name, code);
    const pipeline = gpu.pipelines.get(name, entry, consts, gpu.stream.expected);
    const bindings = bind(gpu, pipeline, operands);
    const grid = typeof threads === 'number' ? spread(threads, pipeline.workgroup[0]) : threads;
    if (!grid.every((groups) => groups >= 1 && groups <= MAX_GROUPS)) {
      throw new GpuError(`${pipeline.label}: a grid of ${grid.join('×')} workgroups; each side is 1 to ${MAX_GROUPS}.`);
    }
    const work = gpu.stream.profile && workOf(operands, bindings, flops);
    gpu.stream.dispatch(pipeline, bindings, pack(pipeline, params), grid, work);
  };
}

/** What a profile is told of a dispatch. An operand that stands in for another is counted once. */
function workOf(operands: Readonly<Record<string, Operand>>, bindings: readonly Binding[], flops: number): Work {
  const ranges = new Map(bindings.map(({ range }) => [`${range.pool.id} ${range.offsetBytes}`, range.sizeBytes]));
  const bytes = [...ranges.values()].reduce((sum, sizeBytes) => sum + sizeBytes, 0);
  if (debugLevel < 3) return { bytes, flops, shapes: '' };
  const named = Object.entries(operands).map(([name, operand]) => `${name}${shapeOf(operand)}`);
  return { bytes, flops, shapes: named.join(' ') };
}

const shapeOf = (operand: Operand): string => {
  const tensor = tensorOf(operand);
  return tensor ? showShape(tensor.shape) : `[${(operand as BufferRange).sizeBytes} B]`;
};

/** A grid of at least `groups` workgroups, along x, spilling into y above the limit of a side; `depth` times along z. */
export function gridOf(groups: number, depth = 1): Grid {
  const rows = Math.ceil(groups / MAX_GROUPS);
  return [Math.ceil(groups / rows), rows, depth];
}

/** Workgroups for `threads` invocations. */
export const spread = (threads: number, groupSize: number): Grid => gridOf(Math.max(1, Math.ceil(threads / groupSize)));

const isWords = (operand: Operand): operand is Words => 'words' in operand;

/** The tensor that an operand is or is read from; null for a bare range. */
const tensorOf = (operand: Operand): Tensor | null =>
  isWords(operand) ? operand.words : 'dtype' in operand ? operand : null;

function bind(gpu: Gpu, pipeline: Pipeline, operands: Readonly<Record<string, Operand>>): Binding[] {
  const { shader, label, mentions } = pipeline;
  const bound: Binding[] = [];
  const accesses: string[] = [];
  for (const name in operands) {
    const operand = operands[name]!;
    const declared = shader.bindings.get(name);
    if (!declared) {
      throw new GpuError(
        `${label}: the shader has no binding '${name}'; it has ${[...shader.bindings.keys()].join(', ')}.`,
      );
    }
    const { binding, access, element } = declared;
    const tensor = tensorOf(operand);
    if (tensor && !(isWords(operand) ? element === 'vec4u' : holds(element, tensor.dtype))) {
      throw new GpuError(`${label}: '${name}' is ${tensor.dtype} but the shader takes ${element}.`);
    }
    const range = tensor ? storageOn(gpu, tensor, label, name) : (operand as BufferRange);
    for (let i = 0; i < bound.length; i++) {
      const other = bound[i]!.range;
      if (other.pool !== range.pool) continue;
      if (accesses[i] !== access || (access === 'read_write' && overlap(other, range)))
        throw sharing(label, name, Object.keys(operands)[i]!, accesses[i] === access);
    }
    if (!mentions.perhaps.has(name)) {
      throw new GpuError(`${label}: '${name}' is given, but the entry point does not mention it; ${takes(pipeline)}.`);
    }
    if (access === 'read_write' && tensor) tensor.storage.written();
    accesses.push(access);
    bound.push({ binding, range });
  }
  for (const name of mentions.surely) {
    const binding = operands[name] ? undefined : shader.bindings.get(name)?.binding;
    if (binding !== undefined && !bound.some((other) => other.binding === binding)) {
      throw new GpuError(`${label}: '${name}' is not given, but the entry point mentions it; ${takes(pipeline)}.`);
    }
  }
  return bound;
}

const overlap = (a: BufferRange, b: BufferRange): boolean =>
  a.offsetBytes < b.offsetBytes + b.sizeBytes && b.offsetBytes < a.offsetBytes + a.sizeBytes;

const sharing = (label: string, name: string, other: string, written: boolean): UsageError => {
  const how = written ? 'overlaps' : 'shares a buffer with';
  const why = written ? 'both are written' : 'one is read and one written';
  return new UsageError(`${label}: '${name}' ${how} '${other}', and ${why}. Write to a new tensor.`);
};

function storageOn(gpu: Gpu, { storage }: Tensor, label: string, name: string): BufferRange {
  if (storage.gpu === gpu) return storage;
  const [its, used] = [storage.gpu.adapter.name, gpu.adapter.name];
  throw new UsageError(
    `${label}: '${name}' is on another GPU, ${its}, than the one in use, ${used}. \`useGpu\` says which that is.`,
  );
}

const takes = ({ shader, mentions }: Pipeline): string =>
  `it takes ${[...shader.bindings.keys()].filter((name) => mentions.perhaps.has(name)).join(', ')}`;

/** Where `Params` are packed before they are looked up. */
const packed = { u32: new Uint32Array(64), i32: new Int32Array(0), f32: new Float32Array(0) };
packed.i32 = new Int32Array(packed.u32.buffer);
packed.f32 = new Float32Array(packed.u32.buffer);

/** The words of `Params`, to be used at once. */
function pack(pipeline: Pipeline, params: Readonly<Record<string, number>>): Uint32Array | null {
  const fields = pipeline.shader.params;
  let given = 0;
  for (const _ in params) given++;
  if (fields.length === 0 && given === 0) return null;
  if (fields.length > packed.u32.length)
    throw new GpuError(
      `${pipeline.label}: Params has ${fields.length} fields; at most ${packed.u32.length} are passed.`,
    );
  for (let i = 0; i < fields.length; i++) {
    const { name, type } = fields[i]!;
    const value = params[name];
    if (value === undefined) throw new GpuError(`${pipeline.label}: parameter '${name}' is missing.`);
    packed[type][i] = value;
    if (type !== 'f32' && packed[type][i] !== value)
      throw new GpuError(`${pipeline.label}: parameter '${name}' is ${value} but the shader takes ${type}.`);
  }
  if (given !== fields.length) {
    const has = fields.length > 0 ? fields.map((f) => f.name).join(', ') : 'none: the shader has no uniform';
    throw new GpuError(`${pipeline.label}: parameters are ${has}, not ${Object.keys(params).join(', ')}.`);
  }
  const { mentions, shader } = pipeline;
  if (!mentions.perhaps.has(shader.paramsName)) return null;
  const words = Math.ceil(fields.length / 4) * 4;
  return packed.u32.fill(0, fields.length, words).subarray(0, words);
}
