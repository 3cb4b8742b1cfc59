import { copyValues } from './copyvalues.ts';
import {
  bitsOf,
  type DType,
  decodeFloats,
  dtypeOf,
  elementBytes,
  encode,
  isWhole,
  type Numbers,
  wgslType,
} from './dtype.ts';
import { ShapeError, UsageError } from './errors.ts';
import { rewritten } from './halfcopy.ts';
import { INSPECT } from './inspect.ts';
import { kernel } from './kernel.ts';
import { inParts } from './parts.ts';
import { isShape, type Shape, sameShape, showShape, sizeOf } from './shape.ts';
import { inStep, isKept, moveTensor, registerTensor, unregisterTensor } from './step.ts';
import { Storage } from './storage.ts';
import { asGradient, backward, type Node } from './tape.ts';
import { HostValue } from './trace.ts';
import { walkOver } from './walk.ts';

const fill = kernel('fill', 'fill');

export interface TensorOptions {
  requiresGrad?: boolean;
}

/**
 * An n-dimensional array in GPU memory: contiguous, last dimension fastest, images channels last (NHWC).
 *
 * Created inside `step(() => …)` it lives until the step ends, or until `backward` is done with it; created outside, until it is
 * collected. `keep` makes one of the first kind one of the second. JavaScript's collector sees no GPU memory, and gives nothing back
 * before the program awaits: a loop that computes outside of a step may hold all that it has made.
 */
export class Tensor {
  readonly shape: Shape;
  readonly dtype: DType;
  /** How many tensors were made up to this one. */
  readonly serial: number;
  /** The operation that made this tensor, while a tape records. */
  node: Node | null = null;
  private memory: Storage;
  private readonly wanted: HostValue<boolean>;
  private readonly gradient = new HostValue<Tensor | null>(null);
  private freedBy: string | null = null;

  constructor(memory: Storage, shape: Shape, dtype: DType = 'f32', { requiresGrad = false }: TensorOptions = {}) {
    this.memory = memory;
    this.shape = shape;
    this.dtype = dtype;
    this.wanted = new HostValue(requiresGrad);
    this.serial = registerTensor(this, memory);
  }

  /** A tensor whose content is garbage until a kernel writes all of it. */
  static empty(shape: Shape, dtype: DType = 'f32'): Tensor {
    if (!isShape(shape)) {
      throw new ShapeError(`Tensor: extents are whole numbers from 1 on, not ${showShape(shape)}.`);
    }
    return new Tensor(Storage.acquire(elementBytes(dtype) * sizeOf(shape)), [...shape], dtype);
  }

  static zeros(shape: Shape, dtype: DType = 'f32'): Tensor {
    const tensor = Tensor.empty(shape, dtype);
    tensor.storage.gpu.stream.clear(tensor.storage);
    return tensor;
  }

  /**
   * Copies `data` to the GPU. A plain array becomes f32, `dtype: 'f16'` rounds. The default shape is [length]. Throws ShapeError for
   * other arrays, where their length is not the shape's, and for whole numbers that are to have a gradient.
   */
  static from(
    data: Numbers | readonly number[],
    shape?: Shape,
    options: TensorOptions & { dtype?: 'f32' | 'f16' } = {},
  ): Tensor {
    const plain = Array.isArray(data);
    // A hole is found, too, which `some` passes over.
    if (plain && data.findIndex((value) => typeof value !== 'number') >= 0)
      throw new ShapeError('Tensor.from: a plain array is one of numbers; flatten it and give the shape.');
    const values = plain ? Float32Array.from(data) : (data as Numbers);
    const given = dtypeOf('Tensor.from', values);
    if (options.dtype && given !== 'f32') {
      throw new ShapeError(`Tensor.from: ${given} values do not become ${options.dtype}; give it a Float32Array.`);
    }
    const extents = shape ?? [values.length];
    if (values.length !== sizeOf(extents)) {
      throw new ShapeError(
        `Tensor.from: ${values.length} values do not fill ${showShape(extents)}, which takes ${sizeOf(extents)}.`,
      );
    }
    const tensor = Tensor.empty(extents, given === 'f32' ? (options.dtype ?? 'f32') : given);
    tensor.requiresGrad = options.requiresGrad ?? false;
    tensor.write(values);
    return tensor;
  }

  /** A tensor of one value, written by the GPU itself. */
  static full(shape: Shape, value: number, dtype: 'f32' | 'f16' = 'f32'): Tensor {
    return Tensor.empty(shape, dtype).fill(value);
  }

  /** Overwrites all elements with one value, on the GPU. Returns it. Throws ShapeError for one that the type does not have. */
  fill(value: number): this {
    const bits = bitsOf('Tensor.fill', value, this.dtype);
    const Word = this.dtype === 'f16' ? 'f32' : this.dtype;
    inParts({ out: this }, (operands, count) => {
      const { consts, n, threads } = walkOver(count, this.dtype);
      fill({ ...consts, Vec: wgslType(Word, count % 4 === 0 ? 4 : 1), Word }, operands, { n, bits }, threads);
    });
    rewritten(this);
    return this;
  }

  /**
   * Set for parameters, and for whatever else a `grad` is wanted of, computed tensors too. Throws ShapeError for whole numbers, which
   * have none.
   */
  get requiresGrad(): boolean {
    return this.wanted.get();
  }

  set requiresGrad(wanted: boolean) {
    if (wanted && isWhole(this.dtype))
      throw new ShapeError(`requiresGrad: ${this.dtype} values have no gradient; make the tensor of a Float32Array.`);
    this.wanted.set(wanted);
  }

  /**
   * ∂loss/∂this after `backward`, summed over calls; null before. May be set: to null, which forgets it, or to another of the same shape
   * and type (throws ShapeError), which an optimizer then goes by.
   */
  get grad(): Tensor | null {
    return this.gradient.get();
  }

  set grad(gradient: Tensor | null) {
    this.gradient.set(asGradient(this, gradient));
  }

  get size(): number {
    return sizeOf(this.shape);
  }

  /** Where the data is. Throws UsageError when it was freed, or its GPU closed. */
  get storage(): Storage {
    if (this.freedBy) {
      // One that was kept was overwritten by a repeated step, which keeping does not change.
      const keeping = isKept(this) ? '' : ', or keep it with `keep(tensor)`';
      const adding =
        this.freedBy === 'backward()' ? '; losses that share it are to be added before one backward()' : '';
      throw new UsageError(
        `a tensor ${showShape(this.shape)} was freed by ${this.freedBy}. Use it before${keeping}${adding}.`,
      );
    }
    if (this.memory.gpu.closed) throw new UsageError(`a tensor ${showShape(this.shape)} was on a GPU that is closed.`);
    return this.memory;
  }

  get alive(): boolean {
    return this.freedBy === null;
  }

  /**
   * Replaces the content, by numbers or by what another tensor holds at that time, which is copied on the GPU: for a state that each
   * step hands on (in a repeated step, from the body), or a network that follows another. An f16 tensor takes the nearest of given
   * numbers. No gradient goes back through it. Throws ShapeError for values of another type or number, or a tensor of another shape or type.
   */
  write(data: Numbers | Tensor): void {
    if (data instanceof Tensor) {
      this.take(data);
      return;
    }
    if (data.length !== this.size) {
      throw new ShapeError(`Tensor.write: ${data.length} values do not fill ${showShape(this.shape)}.`);
    }
    this.storage.gpu.stream.write(this.storage, encode('Tensor.write', data, this.dtype));
    rewritten(this);
  }

  private take(other: Tensor): void {
    const show = ({ dtype, shape }: Tensor) => `${dtype} ${showShape(shape)}`;
    if (other.dtype !== this.dtype || !sameShape(other.shape, this.shape))
      throw new ShapeError(
        `Tensor.write: a tensor ${show(other)} is not like the one that it is to fill, ${show(this)}.`,
      );
    if (other.storage.gpu !== this.storage.gpu)
      throw new UsageError(
        'Tensor.write: the tensors are on two GPUs. Read the one, and write its values to the other.',
      );
    copyValues(other, this);
    rewritten(this);
  }

  /** The values of a floating-point tensor, in the order of the shape. Throws ShapeError for whole numbers. */
  read(): Promise<Float32Array> {
    return this.reading(async () => {
      if (isWhole(this.dtype)) {
        const signed = this.dtype === 'i32' ? ', whose words are the bits: new Int32Array(words.buffer)' : '';
        throw new ShapeError(`read: the tensor is ${this.dtype}; take readInts()${signed}.`);
      }
      return decodeFloats(await this.readBytes(), this.dtype, this.size);
    });
  }

  /** The 32-bit words of any tensor: the values of u32, and the bits of other types. */
  readInts(): Promise<Uint32Array> {
    return this.reading(async () => new Uint32Array(await this.readBytes()));
  }

  /** The value of a one-element tensor. */
  item(): Promise<number> {
    return this.reading(async () => {
      if (this.size !== 1) throw new ShapeError(`item: ${showShape(this.shape)} has ${this.size} elements, not one.`);
      if (!isWhole(this.dtype)) return (await this.read())[0]!;
      const [value] = await this.readInts();
      return this.dtype === 'i32' ? value! | 0 : value!;
    });
  }

  /** A tensor of the same shape and type whose content is garbage. */
  emptyLike(): Tensor {
    return Tensor.empty(this.shape, this.dtype);
  }

  /**
   * The same memory in another shape; no gradient flows through (see `ops.reshape` for that). An optimizer moves its parameters to memory
   * of its own when it is made: views from before keep the old values.
   */
  view(shape: Shape): Tensor {
    if (sizeOf(shape) !== this.size || !isShape(shape))
      throw new ShapeError(`view: ${showShape(this.shape)} cannot become ${showShape(shape)}.`);
    return new Tensor(this.storage.hold(), [...shape], this.dtype);
  }

  /** A `view` in the same shape: the same values, cut off from the tape. */
  detach(): Tensor {
    return this.view(this.shape);
  }

  /**
   * Adds ∂this/∂p to `p.grad` for every tensor p with `requiresGrad` that this one was made from. `dy` is the gradient to start
   * from, by default 1 for a one-element tensor. Frees what the graph saved, but for this tensor and the direct inputs of the
   * operation that made it (the loss and the logits, as a rule).
   */
  backward(dy?: Tensor): void {
    if (dy && !sameShape(dy.shape, this.shape)) {
      throw new ShapeError(`backward: the gradient is ${showShape(dy.shape)} but the tensor ${showShape(this.shape)}.`);
    }
    if (!dy && this.size !== 1) {
      throw new ShapeError(
        `backward: ${showShape(this.shape)} has ${this.size} elements; reduce it to one (mean, sum) or pass a gradient.`,
      );
    }
    if (dy && dy.dtype !== this.dtype) {
      throw new ShapeError(
        `backward: the gradient is ${dy.dtype} but the tensor ${this.dtype}; compute the loss in f32, of ops.cast(y, 'f32').`,
      );
    }
    backward(this, dy?.detach() ?? Tensor.full(this.shape, 1, this.dtype === 'f16' ? 'f16' : 'f32'));
  }

  /** `Tensor f32 [8,4]`, and what became of it. */
  toString(): string {
    const gone = this.freedBy && `freed by ${this.freedBy}`;
    return ['Tensor', this.dtype, showShape(this.shape), this.requiresGrad && 'requiresGrad', gone]
      .filter(Boolean)
      .join(' ');
  }

  [INSPECT](): string {
    return this.toString();
  }

  /** Gives the memory back now. Steps and `backward` call it; user code need not. */
  free(by: string): void {
    if (this.freedBy) return;
    this.freedBy = by;
    unregisterTensor(this);
    this.memory.release();
  }

  /** Moves the tensor to other memory of the same size, as an arena does with parameters; the content is copied on the GPU. */
  moveTo(memory: Storage): void {
    memory.gpu.stream.copy(this.storage, memory);
    memory.version = this.memory.version;
    this.memory.discard();
    this.memory = memory;
    moveTensor(this, memory);
  }

  /** What `read` gives. One that a capture refuses is thrown by that, and its promise need not be looked at. */
  private reading<T>(read: () => Promise<T>): Promise<T> {
    const values = read();
    if (this.memory.gpu.stream.refusing) values.catch(() => {});
    return values;
  }

  private async readBytes(): Promise<ArrayBuffer> {
    const { gpu, sizeBytes, offsetBytes, pool } = this.storage;
    // What is recorded would be submitted now, and with it numbers that the rest of the step is about to set. A capture refuses by itself.
    if (inStep() && !gpu.stream.capturing)
      throw new UsageError('read: a step reads nothing; return the tensor from it, and read it then.');
    const wanted = Math.min(sizeBytes, Math.ceil((elementBytes(this.dtype) * this.size) / 4) * 4);
    const bytes = await gpu.stream.read({ pool, offsetBytes, sizeBytes: wanted });
    gpu.check();
    return bytes;
  }
}
