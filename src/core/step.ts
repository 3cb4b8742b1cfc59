import { debugLevel } from '../gpu/debug.ts';
import { currentGpu } from '../gpu/gpu.ts';
import { Profile } from '../gpu/profile.ts';
import { UsageError } from './errors.ts';
import { beginStep, setStepCounter, stepCounter } from './stepbuffer.ts';
import type { Storage } from './storage.ts';
import type { Tensor } from './tensor.ts';
import { within } from './within.ts';

/** Tensors made in the running step, or null outside of one. */
let members: Set<Tensor> | null = null;
/** Those that were made in it and kept. */
const keptMembers = new Set<Tensor>();

const collected = new FinalizationRegistry<Storage>((memory) => memory.release());

let serial = 0;

/** The `serial` of the tensor that was made last. */
export const latestSerial = (): number => serial;

/** Called for each new tensor: it belongs to the running step, or to the garbage collector. Returns its serial number. */
export function registerTensor(tensor: Tensor, memory: Storage): number {
  if (members) members.add(tensor);
  else collected.register(tensor, memory, tensor);
  return ++serial;
}

/** True inside a step, at whose end the tensors made now are freed. */
export const inStep = (): boolean => members !== null;

/** True for a tensor that was made in the running step, kept or not. */
export const madeInStep = (tensor: Tensor): boolean => members?.has(tensor) || keptMembers.has(tensor);

/** Called when a tensor's memory is given back by hand. */
export function unregisterTensor(tensor: Tensor): void {
  members?.delete(tensor);
  collected.unregister(tensor);
}

let moved = 0;

/** How many times tensors have moved. What was recorded before the latest move may refer to memory, copies and gradients no longer in use. */
export const moves = (): number => moved;

/** Called when a tensor has moved to other memory. */
export function moveTensor(tensor: Tensor, memory: Storage): void {
  moved++;
  if (members?.has(tensor)) return;
  collected.unregister(tensor);
  collected.register(tensor, memory, tensor);
}

const kept = new WeakSet<Tensor>();

/**
 * Lets a tensor outlive its step and any `backward` through it: from now on it is freed when it is collected; but the result of a
 * `repeated` step by its next call. Throws UsageError when it was freed before.
 */
export function keep<T extends Tensor>(tensor: T): T {
  const { storage } = tensor;
  kept.add(tensor);
  if (members?.delete(tensor)) {
    keptMembers.add(tensor);
    collected.register(tensor, storage, tensor);
  }
  return tensor;
}

/** True for a tensor that `keep` was called with. */
export const isKept = (tensor: Tensor): boolean => kept.has(tensor);

/**
 * Runs one training or evaluation step: records all GPU work of `fn`, submits it once and gives back the memory of every tensor
 * made in it, but for those that `fn` returns, however deep in arrays, collections and plain objects; what `backward` frees in it
 * has to be kept before. Resolves when the work is submitted, and no more than two steps are running. Steps that are not awaited
 * run one after another, in the order of the calls.
 *
 * Where `fn` throws, what it recorded before is run all the same, as it would be outside of a step: gradients and running statistics
 * are then what the host takes them for. Forget such gradients with `optimizer.zeroGrad()`.
 *
 * `fn` is not async: reading a value back would stop the GPU in the middle of the step. Steps do not nest.
 */
export const step = <T>(fn: () => T): Promise<T> => runStep(fn, () => {});

/** The latest step until it is done. */
let latest: Promise<unknown> | null = null;

/** A step that calls `freed` as soon as its memory is given back, before it is submitted. */
export async function runStep<T>(fn: () => T, freed: () => void): Promise<T> {
  if (members) throw new UsageError('step: steps do not nest; call it after the running one has ended.');
  const own = stepAfter(latest, fn, freed);
  latest = own;
  try {
    return await own;
  } finally {
    if (latest === own) latest = null;
  }
}

/**
 * Runs a step after the previous one has finished or failed. What was recorded outside of steps is submitted first, and idle memory is
 * given back if some ran out. With nothing to wait for, `fn` runs at once.
 */
async function stepAfter<T>(before: Promise<unknown> | null, fn: () => T, freed: () => void): Promise<T> {
  if (before) await before.catch(() => {});
  const gpu = currentGpu();
  const { stream } = gpu;
  if (stream.pending > 0) await stream.flush();
  if (gpu.short) await gpu.trim();
  if (debugLevel >= 2) stream.profile = new Profile();
  const endStep = beginStep();
  let result: T;
  try {
    result = freeingMembers('the end of its step()', () => {
      const returned = fn();
      refuseAsync('step: the function', returned);
      for (const tensor of tensorsIn(returned)) keep(tensor);
      return returned;
    });
  } finally {
    endStep();
  }
  freed();
  await stream.flush();
  if (debugLevel >= 2) console.error(`step: ${stream.profile}`);
  await stream.throttle();
  gpu.check();
  return result;
}

/** Throws UsageError if `result` is a promise, and silences its later rejection. */
export function refuseAsync(what: string, result: unknown, mend = 'read values after the step'): void {
  if (!(result instanceof Promise)) return;
  result.catch(() => {});
  throw new UsageError(`${what} must not be async; ${mend}.`);
}

/**
 * Runs `fn` as a step that never reaches the GPU: what it records is thrown away, its tensors are given back, and the counter of
 * steps stays where it was. What `fn` changes on the host, such as gradients, is for the caller to undo.
 */
export function rehearse(fn: () => void): void {
  if (members) throw new UsageError('rehearse: steps do not nest; call it after the running one has ended.');
  const counter = stepCounter();
  let endStep = () => {};
  try {
    freeingMembers('the end of a rehearsal', () =>
      currentGpu().stream.capture(() => {
        endStep = beginStep();
        fn();
      }),
    );
  } finally {
    endStep();
    setStepCounter(counter);
  }
}

/** Runs `fn` and frees the tensors that it made, but for those that it kept. `end` completes the error message of a later use. */
function freeingMembers<T>(end: string, fn: () => T): T {
  members = new Set();
  try {
    return fn();
  } finally {
    const left: Set<Tensor> = members;
    members = null;
    keptMembers.clear();
    for (const tensor of left) tensor.free(end);
  }
}

/** The tensors that a step's result consists of; of an object of a class those in its own fields. */
export const tensorsIn = (value: unknown): Tensor[] =>
  [...within(value)].flatMap((part) => {
    if (isTensor(part)) return [part];
    return typeof part !== 'object' || part === null || ArrayBuffer.isView(part)
      ? []
      : Object.values(part).filter(isTensor);
  });

const isTensor = (value: unknown): value is Tensor =>
  value !== null && typeof value === 'object' && 'storage' in value && 'dtype' in value && (value as Tensor).alive;
