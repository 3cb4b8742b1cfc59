import { ShapeError } from '../core/errors.ts';
import type { Pipeline } from './pipeline.ts';
import { byteSize, type PoolBuffer } from './pool.ts';
import type { UniformCache, UniformSlot } from './uniforms.ts';

/** A range of a storage buffer. Offset and size are multiples of 4; the offset of a bound range is a multiple of 256. */
export interface BufferRange {
  readonly pool: PoolBuffer;
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

export interface Binding {
  readonly binding: number;
  readonly range: BufferRange;
}

/** A pipeline with all that it binds. Equal ones are one object, until the cache forgets it. */
export interface Bound {
  readonly pipeline: Pipeline;
  readonly bindings: readonly Binding[];
  /** The words of `Params`; none where the shader has none. */
  readonly params: Uint32Array;
  readonly slot: UniformSlot | null;
  /** Made when it is first encoded: by then the pipeline is compiled. */
  group: GPUBindGroup | null;
  /** What was asked for after this one, the last time. */
  next: Bound | null;
}

const MAX_BOUND = 20_000;

/**
 * Bind groups by what they bind. A training step asks for the same ones in the same order, so each remembers the one that
 * followed it: as a rule that one is asked for again, and to see that it is takes no key.
 */
export class BindGroupCache {
  private readonly known = new Map<string, Bound>();
  private last: Bound | null = null;
  private readonly device: GPUDevice;
  private readonly uniforms: UniformCache;

  constructor(device: GPUDevice, uniforms: UniformCache) {
    this.device = device;
    this.uniforms = uniforms;
  }

  /** The pipeline that is asked for next, if all goes as it did the last time. */
  get expected(): Pipeline | null {
    return this.last?.next?.pipeline ?? null;
  }

  /** The pipeline that was asked for last. */
  get latest(): Pipeline | null {
    return this.last?.pipeline ?? null;
  }

  /** Neither array is kept: `params` may be changed after the call. Throws ShapeError for a range that is too large to bind. */
  get(pipeline: Pipeline, bindings: readonly Binding[], params: Uint32Array): Bound {
    const expected = this.last?.next;
    if (expected && matches(expected, pipeline, bindings, params)) {
      this.last = expected;
      return expected;
    }
    const bound = this.find(pipeline, bindings, params);
    if (this.last) this.last.next = bound;
    this.last = bound;
    return bound;
  }

  /** The GPU's object. */
  groupOf(bound: Bound): GPUBindGroup {
    if (bound.group) return bound.group;
    const { pipeline, bindings, slot } = bound;
    const entries: GPUBindGroupEntry[] = bindings.map(({ binding, range }) => ({
      binding,
      resource: { buffer: range.pool.buffer, offset: range.offsetBytes, size: range.sizeBytes },
    }));
    if (slot) {
      const { buffer, offsetBytes: offset, sizeBytes: size } = slot;
      entries.push({ binding: pipeline.shader.paramsBinding, resource: { buffer, offset, size } });
    }
    const layout = pipeline.handle!.getBindGroupLayout(0);
    bound.group = this.device.createBindGroup({ label: pipeline.label, layout, entries });
    return bound.group;
  }

  /** Called when pool buffers are destroyed. */
  forget(): void {
    this.known.clear();
    this.last = null;
  }

  private find(pipeline: Pipeline, bindings: readonly Binding[], params: Uint32Array): Bound {
    let key = `${pipeline.id}|${params.join()}`;
    for (const { binding, range } of bindings) {
      key += `|${binding}:${range.pool.id}:${range.offsetBytes}:${range.sizeBytes}`;
    }
    const before = this.known.get(key);
    if (before) return before;
    this.checkFits(pipeline, bindings);
    if (this.known.size >= MAX_BOUND) this.forget();
    const bound: Bound = {
      pipeline,
      bindings: [...bindings],
      params: params.slice(),
      slot: params.length > 0 ? this.uniforms.slot(params) : null,
      group: null,
      next: null,
    };
    this.known.set(key, bound);
    return bound;
  }

  /** What an adapter does with a larger binding is undefined where Dawn does not validate. */
  private checkFits({ name, entry, shader }: Pipeline, bindings: readonly Binding[]): void {
    const limit = this.device.limits.maxStorageBufferBindingSize;
    for (const { binding, range } of bindings) {
      if (range.sizeBytes <= limit) continue;
      const [variable] = [...shader.bindings].find(([, declared]) => declared.binding === binding)!;
      throw new ShapeError(
        `${name}.${entry}: '${variable}' takes ${byteSize(range.sizeBytes)} and the adapter binds at most ${byteSize(limit)}. Use a smaller batch, size or width.`,
      );
    }
  }
}

function matches(bound: Bound, pipeline: Pipeline, bindings: readonly Binding[], params: Uint32Array): boolean {
  if (bound.pipeline !== pipeline || bound.bindings.length !== bindings.length) return false;
  if (bound.params.length !== params.length) return false;
  for (let i = 0; i < params.length; i++) if (bound.params[i] !== params[i]) return false;
  for (let i = 0; i < bindings.length; i++) {
    const a = bound.bindings[i]!;
    const b = bindings[i]!;
    if (a.binding !== b.binding || !sameRange(a.range, b.range)) return false;
  }
  return true;
}

export const sameRange = (a: BufferRange, b: BufferRange): boolean =>
  a.pool === b.pool && a.offsetBytes === b.offsetBytes && a.sizeBytes === b.sizeBytes;
