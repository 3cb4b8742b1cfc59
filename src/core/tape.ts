import { addInto, sumOf } from './accumulate.ts';
import { copyValues } from './copyvalues.ts';
import { ShapeError, UsageError } from './errors.ts';
import { sameShape, showShape } from './shape.ts';
import { isKept, keep, latestSerial, madeInStep, refuseAsync } from './step.ts';
import type { Tensor } from './tensor.ts';

/**
 * Computes the gradients of an operation's inputs, one each and in their order, from `dy`, the gradient of its output. `needs[i]`
 * says whether input i wants one; null is a fine answer where it does not. What it makes is freed when it has been used; a tensor that
 * was there before stays as it is.
 */
export type BackwardFn = (dy: Tensor, needs: readonly boolean[]) => readonly (Tensor | null)[];

export interface Node {
  /** Rank of creation: a node's inputs have lower ones. */
  readonly order: number;
  readonly output: Tensor;
  /** None once `backward` has run. */
  inputs: readonly (Tensor | null)[];
  /** Which of them wanted a gradient in the forward pass: what was saved is for those. */
  readonly needs: readonly boolean[];
  /** Tensors that only the backward function uses. */
  saved: readonly Tensor[];
  /** Tensors whose values the backward function reads, each with the version that the forward pass read or made. */
  readonly reads: Map<Tensor, number>;
  /** The last kernel of the forward pass, for messages. */
  readonly kernel: string;
  backward: BackwardFn | null;
}

/** Where a parameter's gradient goes when an arena holds it. */
export interface GradientSlot {
  readonly parameter: Tensor;
  /** The parameter's `grad` once this step's gradient has been written. */
  readonly tensor: Tensor;
}

let recording = true;
let created = 0;
const slots = new WeakMap<Tensor, GradientSlot>();
/** The tensors of all slots: their optimizers hold them. */
const slotTensors = new WeakSet<Tensor>();

/**
 * Runs `fn` without recording: what it computes has no gradient. Use it inside the function of a `step`, not around `step`, which may
 * run that function later. Throws UsageError for an async `fn`.
 */
export function noGrad<T>(fn: () => T): T {
  const before = recording;
  recording = false;
  let result: T;
  try {
    result = fn();
  } finally {
    recording = before;
  }
  refuseAsync('noGrad: the function', result, 'call noGrad inside the step');
  return result;
}

/** True when the tape tracks `tensor`: a parameter, or computed from one. */
export function tracked(tensor: Tensor | null): boolean {
  if (tensor === null) return false;
  if (tensor.node !== null) return true;
  return tensor.requiresGrad;
}

/**
 * Puts an operation on the tape: `y` was computed from `inputs`, and `backward` gives the inputs' gradients. `saved` are tensors
 * made for the backward pass alone; they are freed after it, or at once when nothing is recorded. `reads` are those of the inputs
 * and `y` whose values `backward` reads (their shapes may always be asked for): what is not read need not be kept, and may be changed
 * before. Returns `y`.
 */
export function record(
  y: Tensor,
  inputs: readonly (Tensor | null)[],
  backward: BackwardFn,
  saved: readonly Tensor[] = [],
  reads: readonly (Tensor | null)[] = [y, ...inputs],
): Tensor {
  const needs = recording ? inputs.map(tracked) : [];
  if (needs.includes(true)) {
    const versions = new Map<Tensor, number>();
    for (const tensor of reads) if (tensor) versions.set(tensor, tensor.storage.version);
    for (const tensor of versions.keys()) readers.set(tensor, (readers.get(tensor) ?? 0) + 1);
    const kernel = y.storage.gpu.stream.latest?.label ?? 'no kernel';
    y.node = { order: created++, output: y, inputs, needs, saved, reads: versions, kernel, backward };
  } else for (const tensor of saved) tensor.free('the operation that made it');
  return y;
}

/** For the `reads` of `record`: `tensor` where it is read for the gradient of `input`, and that will be asked for. */
export const readFor = (input: Tensor | null, tensor: Tensor): Tensor | null =>
  recording && tracked(input) ? tensor : null;

/** By tensor, how many operations on the tape have a backward function that reads it. */
const readers = new WeakMap<Tensor, number>();
const released = new WeakSet<Tensor>();

/**
 * Says that no operation will be recorded on `tensor` any more: it is freed as soon as no backward function reads it, which may
 * be now. `by` completes the error message of a later use.
 */
export function release(tensor: Tensor, by: string): void {
  if (tensor.requiresGrad || isKept(tensor)) return;
  if (readers.get(tensor)) released.add(tensor);
  else tensor.free(by);
}

/** Called when `node`'s backward function reads `tensor` no more. */
function doneReading(node: Node, tensor: Tensor): void {
  if (!node.reads.delete(tensor)) return;
  const left = readers.get(tensor)! - 1;
  readers.set(tensor, left);
  if (left === 0 && released.has(tensor) && !isKept(tensor)) tensor.free('backward()');
}

/** Called by a backward function that reads `tensor` no more: its memory may serve for what the function makes next. */
export function doneWith(tensor: Tensor): void {
  if (running) doneReading(running.node, tensor);
}

/** True once the slot holds a gradient: the next one is added. */
export const isFilled = ({ parameter, tensor }: GradientSlot): boolean => parameter.grad === tensor;

/** Sends the gradient of `parameter` to `tensor` from now on, overwriting it first in each step. One that it has already goes there. */
export function setGradientSlot(parameter: Tensor, tensor: Tensor): GradientSlot {
  const slot = { parameter, tensor };
  slots.set(parameter, slot);
  slotTensors.add(tensor);
  const { grad } = parameter;
  if (grad) parameter.grad = grad;
  return slot;
}

/**
 * What a tensor's `grad` is when it is set to `gradient`: that, or where an optimizer looks for it, with its values. Throws ShapeError
 * for a gradient of another shape or type.
 */
export function asGradient(tensor: Tensor, gradient: Tensor | null): Tensor | null {
  const slot = slots.get(tensor);
  if (!gradient || gradient === slot?.tensor) return gradient;
  if (!sameShape(gradient.shape, tensor.shape) || gradient.dtype !== tensor.dtype) {
    throw new ShapeError(
      `grad: the tensor is ${tensor.dtype} ${showShape(tensor.shape)} but the gradient ${gradient.dtype} ${showShape(gradient.shape)}.`,
    );
  }
  if (!slot) {
    ofLeaves.add(gradient);
    return madeInStep(gradient) ? keep(gradient) : gradient;
  }
  fill(slot.tensor, gradient);
  return slot.tensor;
}

function fill(slot: Tensor, gradient: Tensor): void {
  copyValues(gradient, slot);
  slot.storage.written();
}

/** Gradients that tensors without a slot have, or had. */
const ofLeaves = new WeakSet<Tensor>();

/** True for a tensor that was made another one's `grad`, and is no slot. */
export const isGradient = (tensor: Tensor): boolean => ofLeaves.has(tensor);

/** True until another slot is set. */
export const hasGradientSlot = (parameter: Tensor, slot: GradientSlot): boolean => slots.get(parameter) === slot;

/**
 * The tensor that a backward function writes the gradient of `input` to. For a parameter in an arena it is the parameter's slot,
 * which saves a copy; a fresh tensor otherwise, and where the function has asked for that slot before. All of it must be written.
 */
export function gradientFor(input: Tensor): Tensor {
  const slot = slots.get(input);
  if (!slot || isFilled(slot) || running?.given.includes(slot.tensor)) return input.emptyLike();
  running?.given.push(slot.tensor);
  return slot.tensor;
}

/** Gradients whose columns, along the last dimension, are known to sum to zero. */
const balanced = new WeakSet<Tensor>();

/**
 * Says that a gradient sums to zero over all but its last dimension, as that of a batch norm's input does, whose mean is taken
 * off: the bias of a layer before it gets the gradient 0, and nobody need add up rounding errors to find that.
 */
export function sumsToZero(gradient: Tensor): void {
  balanced.add(gradient);
}

/** True for a gradient that `sumsToZero` was called with. */
export const knownToSumToZero = (gradient: Tensor): boolean => balanced.has(gradient);

/** Gradients on their way, each with the number of places that still need it. */
class Gradients {
  private readonly byTensor = new Map<Tensor, Tensor>();
  private readonly uses = new Map<Tensor, number>();

  add(tensor: Tensor, gradient: Tensor): void {
    const before = this.byTensor.get(tensor);
    if (!before) {
      this.byTensor.set(tensor, this.hold(gradient));
      return;
    }
    const sum = sumOf(before, gradient);
    this.byTensor.set(tensor, this.hold(sum));
    this.drop(before);
  }

  /** True when nobody but the running node needs `gradient`, nor shares its memory. */
  sole(gradient: Tensor): boolean {
    return this.uses.get(gradient) === 1 && gradient.storage.sole;
  }

  take(tensor: Tensor): Tensor | undefined {
    const gradient = this.byTensor.get(tensor);
    this.byTensor.delete(tensor);
    return gradient;
  }

  hold(gradient: Tensor): Tensor {
    this.uses.set(gradient, (this.uses.get(gradient) ?? 0) + 1);
    return gradient;
  }

  drop(gradient: Tensor): void {
    const left = this.uses.get(gradient)! - 1;
    this.uses.set(gradient, left);
    if (left === 0 && !slotTensors.has(gradient)) gradient.free('backward()');
  }
}

/** The backward function that runs, and the slots that it was given. */
let running: { node: Node; gradients: Gradients; given: Tensor[] } | null = null;

/**
 * True when a backward function may write its result over `dy`, the gradient that it was given, and return that: nobody else
 * will read it.
 */
export function mayOverwrite(dy: Tensor): boolean {
  const may = running?.gradients.sole(dy) ?? false;
  if (may) balanced.delete(dy);
  return may;
}

/** Runs the tape backwards from `root`, whose gradient is `dy`. See `Tensor.backward`. */
export function backward(root: Tensor, dy: Tensor): void {
  if (!root.node) {
    if (!root.requiresGrad) {
      throw new UsageError(
        `backward: nothing was recorded for this tensor ${showShape(root.shape)}: no input has requiresGrad, or it was computed in noGrad.`,
      );
    }
    accumulate(root, dy);
    return;
  }
  if (!root.node.backward) throw alreadyFreed();
  const gradients = new Gradients();
  gradients.add(root, dy);
  const remaining = new Set<Tensor | null>([root, ...root.node.inputs]);
  for (const node of reachable(root.node)) {
    const gradient = gradients.take(node.output);
    if (gradient) {
      if (node.output.requiresGrad) accumulate(node.output, gradient);
      run(node, gradient, gradients);
      gradients.drop(gradient);
    }
    for (const tensor of node.saved) tensor.free('backward()');
    for (const tensor of node.reads.keys()) doneReading(node, tensor);
    const { output } = node;
    if (!remaining.has(output) && !output.requiresGrad && !isKept(output)) output.free('backward()');
    endGraph(node);
  }
}

/** Refuses another `backward` through a node. A loss that is kept holds it, and must not hold the whole graph by it. */
export function endGraph(node: Node): void {
  node.saved = node.inputs = [];
  node.backward = null;
}

/** The nodes that `root` depends on, latest first. */
function reachable(root: Node): Node[] {
  const nodes = new Set([root]);
  for (const node of nodes) {
    for (const input of node.inputs) if (input?.node) nodes.add(input.node);
  }
  return [...nodes].sort((a, b) => b.order - a.order);
}

function run(node: Node, dy: Tensor, gradients: Gradients): void {
  if (!node.backward) throw alreadyFreed();
  for (const [tensor, version] of node.reads) {
    if (tensor.alive && tensor.storage.version !== version) throw changed(node, tensor);
  }
  const needs = node.inputs.map((input, i) => node.needs[i]! && tracked(input));
  const before = latestSerial();
  const given = noGrad(() => {
    running = { node, gradients, given: [] };
    try {
      return node.backward!(dy, needs);
    } finally {
      running = null;
    }
  });
  if (!Array.isArray(given)) {
    throw new ShapeError(
      `backward: the function of an operation (its last kernel: ${node.kernel}) returned no array; give a gradient, or null, for each input.`,
    );
  }
  // What the function has not made is somebody else's: a view of it can be freed, and is not written over.
  const results = (given as readonly (Tensor | null)[]).map((gradient) =>
    gradient && gradient !== dy && gradient.serial <= before && !slotTensors.has(gradient)
      ? gradient.detach()
      : gradient,
  );
  if (results.length !== node.inputs.length) {
    throw new ShapeError(
      `backward: an operation of ${node.inputs.length} inputs (its last kernel: ${node.kernel}) gave ${results.length} gradients; give one each, or null.`,
    );
  }
  // One tensor may be the gradient of several inputs, and `dy` of any.
  for (const gradient of results) if (gradient) gradients.hold(gradient);
  // What is in its slot already comes first: the others of the same parameter are added to it.
  for (const inSlot of [true, false]) {
    for (const [i, gradient] of results.entries()) {
      if (!gradient || slotTensors.has(gradient) !== inSlot) continue;
      const input = node.inputs[i];
      if (input && needs[i]) {
        refuseOther(i, input, gradient);
        if (input.node) gradients.add(input, gradient);
        else accumulate(input, gradient);
      }
      gradients.drop(gradient);
    }
  }
}

/** Throws ShapeError for a gradient that is not like input `i`, of which it came. */
function refuseOther(i: number, input: Tensor, gradient: Tensor): void {
  if (!sameShape(gradient.shape, input.shape)) {
    throw new ShapeError(
      `backward: input ${i} is ${showShape(input.shape)} but its gradient came as ${showShape(gradient.shape)}.`,
    );
  }
  if (gradient.dtype !== input.dtype)
    throw new ShapeError(`backward: input ${i} is ${input.dtype} but its gradient came as ${gradient.dtype}.`);
}

const alreadyFreed = () =>
  new UsageError(
    'backward: an earlier backward() has freed this graph. Run the forward pass again, or add the losses before one backward(); in a repeated step the body calls it.',
  );

const changed = ({ kernel }: Node, { shape }: Tensor) =>
  new UsageError(
    `backward: it reads a tensor ${showShape(shape)} that was changed since the forward pass (${kernel}) by fill, write, a kernel or an optimizer's step. Call backward() before that, or run the forward pass again.`,
  );

/** By tensor, what `sparingGradients` gives back. */
let spared: Map<Tensor, Tensor | null> | null = null;

/** Runs `fn`, then gives every tensor the gradient back that it had before: for passes whose commands are thrown away. */
export function sparingGradients(fn: () => void): void {
  const before = new Map<Tensor, Tensor | null>();
  spared = before;
  try {
    fn();
  } finally {
    spared = null;
    for (const [tensor, grad] of before) {
      if (tensor.grad !== grad && tensor.grad !== slots.get(tensor)?.tensor)
        tensor.grad?.free('the end of a rehearsal');
      tensor.grad = grad;
    }
  }
}

/** Adds `gradient` to a parameter's. */
function accumulate(parameter: Tensor, gradient: Tensor): void {
  const slot = slots.get(parameter);
  if (!spared?.has(parameter)) spared?.set(parameter, parameter.grad);
  if (slot) {
    const filled = isFilled(slot);
    if (gradient !== slot.tensor) {
      if (filled) addInto(slot.tensor, gradient);
      else fill(slot.tensor, gradient);
    }
    parameter.grad = slot.tensor;
  } else if (parameter.grad) {
    parameter.grad = keep(sumOf(parameter.grad, gradient));
  } else parameter.grad = keep(gradient.storage.sole ? gradient.detach() : copyOf(gradient));
}

/** Of a gradient that others have, too: what is done to one is not done to the others. */
function copyOf(gradient: Tensor): Tensor {
  const copy = gradient.emptyLike();
  const { gpu, pool, offsetBytes } = gradient.storage;
  gpu.stream.copy({ pool, offsetBytes, sizeBytes: copy.storage.sizeBytes }, copy.storage);
  return copy;
}
