import { ConfigError, DataError } from '../core/errors.ts';
import { INSPECT } from '../core/inspect.ts';
import { type Shape, showShape, sizeOf } from '../core/shape.ts';
import { Tensor } from '../core/tensor.ts';
import { HostValue } from '../core/trace.ts';
import { within } from '../core/within.ts';
import { counted } from '../core/words.ts';

/** A tensor of a module's state under its file name, torchvision's. */
export interface StateEntry {
  tensor: Tensor;
  /** Trained, or carried along (running statistics). */
  kind: 'parameter' | 'buffer';
  /**
   * Set where memory is channels last: the extents [A, H, W, C] as which the tensor lies in memory, [A, C, H, W] in a file.
   * Convolution weights, and a Linear that follows a flatten of H×W > 1.
   */
  channelsLast?: readonly [number, number, number, number];
  /** The shape in a file. */
  fileShape: Shape;
}

/** A module with the name that files know it by. */
export type NamedModule = readonly [name: string, module: Module];

/** The modules and tensors that a field holds: itself, or what is in a collection or a plain object, however deep. */
function* partsOf(value: unknown): Iterable<Module | Tensor> {
  for (const part of within(value)) if (part instanceof Module || part instanceof Tensor) yield part;
}

/** A layer or network: a function of one tensor with parameters, and modules inside. */
export abstract class Module {
  readonly #training = new HostValue(true);
  #switching = false;

  /** Batch norm and dropout behave differently while training. */
  get training(): boolean {
    return this.#training.get();
  }

  set training(training: boolean) {
    this.#training.set(training);
  }

  abstract forward(x: Tensor): Tensor;

  /** Modules inside, by the names that files know them by, in order. What it leaves out is not trained or saved. */
  children(): readonly (readonly [string, Module])[] {
    return [];
  }

  /**
   * The modules inside in groups, from the input to the head, that are frozen together and share a learning rate; each with the
   * name that its tensors' names begin with. All in one group where a network says nothing else.
   */
  layerGroups(): readonly (readonly NamedModule[])[] {
    return [[['', this]]];
  }

  /** This module's own tensors by name; not those of its children. */
  own(): Readonly<Record<string, StateEntry>> {
    return {};
  }

  /**
   * All tensors of this module and those inside, by torchvision's names: `features.0.weight`. Throws ConfigError for a
   * module that has a layer or a trained tensor in a field, or in a collection there, which is not among them, where two have one
   * name, and where the shape in a file has more or fewer values than the tensor.
   */
  state(prefix = ''): Map<string, StateEntry> {
    const tensors = this.tensors();
    for (const module of [this, ...this.inside()]) module.checkFields(tensors);
    const state = new Map<string, StateEntry>();
    for (const [name, entry] of this.tensorsByName(prefix)) {
      if (state.has(name))
        throw new ConfigError(
          `${this.constructor.name}: there are two tensors '${name}'; give children names of their own.`,
        );
      const { tensor, fileShape, channelsLast = fileShape } = entry;
      for (const [what, shape] of Object.entries({ fileShape, channelsLast })) {
        if (sizeOf(shape) === tensor.size) continue;
        const flattened = what === 'channelsLast' ? ' (of a Linear, `flattened`)' : '';
        throw new ConfigError(
          `${this.constructor.name}: '${name}' is ${showShape(tensor.shape)}, but its ${what} ${showShape(shape)}${flattened}; they must have as many values.`,
        );
      }
      state.set(name, entry);
    }
    return state;
  }

  private *tensorsByName(prefix: string): Iterable<[string, StateEntry]> {
    for (const [name, entry] of Object.entries(this.own())) yield [prefix + name, entry];
    for (const [name, child] of this.children()) yield* child.tensorsByName(`${prefix}${name}.`);
  }

  /** The trained tensors by name. */
  parameters(): Map<string, Tensor> {
    return new Map([...this.state()].filter(([, e]) => e.kind === 'parameter').map(([name, e]) => [name, e.tensor]));
  }

  private *inside(): Iterable<Module> {
    for (const [, child] of this.children()) yield* [child, ...child.inside()];
  }

  private tensors(): Set<Tensor> {
    return new Set(Array.from(this.tensorsByName(''), ([, { tensor }]) => tensor));
  }

  /**
   * Refuses layers and trained tensors in fields that `children()` and `own()` do not name, so that they are not among `tensors`: they
   * would silently stay untrained. A field may refer to the module that this one is inside of.
   */
  private checkFields(tensors: ReadonlySet<Tensor>): void {
    const inside = new Set(this.inside());
    for (const [field, value] of Object.entries(this)) {
      for (const part of partsOf(value)) {
        const missing =
          part instanceof Module
            ? !inside.has(part) &&
              ![...part.inside()].includes(this) &&
              [...part.tensors()].some((one) => !tensors.has(one))
            : part instanceof Tensor && part.requiresGrad && !tensors.has(part);
        if (!missing) continue;
        const [method, what] = part instanceof Module ? ['children()', 'layer'] : ['own()', 'tensor'];
        throw new ConfigError(
          `${this.constructor.name}: ${method} does not name the ${what} '${field}', which would be neither trained nor saved. ` +
            'Name it there, or keep what is only referenced in a #private field.',
        );
      }
    }
  }

  /** Its layers and their tensors, a line each. */
  toString(): string {
    const trained = [...this.tensorsByName('')].filter(([, { kind }]) => kind === 'parameter');
    const count = trained.reduce((sum, [, { tensor }]) => sum + tensor.size, 0);
    return [`${lineOf(this)}: ${counted(count, 'parameter')}`, ...outlineOf(this, '  ')].join('\n');
  }

  /** What is being made, or is wrong, is printed all the same. */
  [INSPECT](): string {
    try {
      return this.toString();
    } catch {
      return this.constructor.name;
    }
  }

  /** How many numbers are trained; of a tensor under several names they count once. */
  parameterCount(): number {
    return [...new Set(this.parameters().values())].reduce((sum, tensor) => sum + tensor.size, 0);
  }

  /** Switches this module and those inside to training or evaluation, those too that have nothing to train and no name. */
  train(training = true): this {
    // Two fields may refer to each other.
    if (this.#switching) return this;
    this.#switching = true;
    try {
      this.training = training;
      for (const module of this.#held()) module.train(training);
    } finally {
      this.#switching = false;
    }
    return this;
  }

  /** The children, and what else is in a field, but for what this one is inside of. */
  #held(): Set<Module> {
    const held = new Set(this.children().map(([, child]) => child));
    for (const value of Object.values(this)) {
      for (const part of partsOf(value)) {
        if (part instanceof Module && ![...part.inside()].includes(this)) held.add(part);
      }
    }
    return held;
  }

  eval(): this {
    return this.train(false);
  }
}

/** A function without parameters has a label, other modules are known by their class. */
function lineOf(module: Module): string {
  const own = Object.entries(module.own()).map(([key, { fileShape }]) => `${key} ${showShape(fileShape)}`);
  const name = 'label' in module ? String(module.label) : module.constructor.name;
  return [name, ...own].join('  ');
}

function* outlineOf(module: Module, indent: string): Iterable<string> {
  for (const [name, child] of module.children()) {
    yield `${indent}${name}: ${lineOf(child)}`;
    yield* outlineOf(child, `${indent}  `);
  }
}

/** Values of a state entry, from channels last in memory to channels first in a file. */
export function toFileLayout(values: Float32Array, entry: StateEntry): Float32Array {
  if (!entry.channelsLast) return values;
  const [a, h, w, c] = entry.channelsLast;
  return transposeInner(values, a, h * w, c);
}

/** The way back. */
export function toMemoryLayout(values: Float32Array, entry: StateEntry): Float32Array {
  if (!entry.channelsLast) return values;
  const [a, h, w, c] = entry.channelsLast;
  return transposeInner(values, a, c, h * w);
}

/** [a, m, n] → [a, n, m]. */
function transposeInner(values: Float32Array, a: number, m: number, n: number): Float32Array {
  const result = new Float32Array(values.length);
  for (let i = 0; i < a; i++) {
    const base = i * m * n;
    for (let j = 0; j < m; j++) {
      for (let k = 0; k < n; k++) result[base + k * m + j] = values[base + j * n + k]!;
    }
  }
  return result;
}

/** Reads all state from the GPU, in file layout. */
export async function readState(module: Module): Promise<Map<string, { shape: Shape; data: Float32Array }>> {
  const result = new Map<string, { shape: Shape; data: Float32Array }>();
  for (const [name, entry] of module.state()) {
    result.set(name, { shape: entry.fileShape, data: toFileLayout(await entry.tensor.read(), entry) });
  }
  return result;
}

/**
 * Replaces a module's state by tensors in file layout. Throws DataError, before anything is written, when one is missing, left
 * over or of another shape; `source` is the file's name in the message, which `mend` ends. `num_batches_tracked` is ignored.
 */
export function writeState(
  module: Module,
  tensors: ReadonlyMap<string, { shape: Shape; data: Float32Array }>,
  source: string,
  mend = 'Build the network with the architecture, width, head, pool and classes of the file.',
): void {
  const state = module.state();
  for (const [name, entry] of state) {
    const found = tensors.get(name);
    if (!found) throw new DataError(`${source}: tensor '${name}' is missing. ${mend}`);
    if (found.shape.join() !== entry.fileShape.join()) {
      throw new DataError(
        `${source}: tensor '${name}' is [${found.shape}] but the network's is [${entry.fileShape}]. ${mend}`,
      );
    }
    if (found.data.length !== entry.tensor.size)
      throw new DataError(`${source}: tensor '${name}' is [${found.shape}] but has ${found.data.length} values.`);
  }
  const extra = [...tensors.keys()].filter((name) => !state.has(name) && !name.endsWith('num_batches_tracked'));
  if (extra.length > 0) {
    throw new DataError(`${source}: tensor '${extra[0]}' is not in this network (${extra.length} such). ${mend}`);
  }
  for (const [name, entry] of state) entry.tensor.write(toMemoryLayout(tensors.get(name)!.data, entry));
}
