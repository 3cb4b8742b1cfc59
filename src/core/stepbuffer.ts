import { currentGpu, type Gpu } from '../gpu/gpu.ts';
import { UsageError } from './errors.ts';
import { checkSeed } from './random.ts';
import { Storage } from './storage.ts';
import { HostValue, isTracing } from './trace.ts';

/** Of a new buffer, which doubles when more is reserved. */
const WORDS = 16_384;
const COUNTER = 0;
const SEED = 1;

const SET_IN_BODY =
  'repeated: the body sets numbers that change from step to step, which a replay would not. Set them in `prepare`: optimizer.prepare and batches.choose there, optimizer.apply and batches.gather in the body.';

interface WordRange {
  readonly at: number;
  readonly length: number;
}

const endOf = ({ at, length }: WordRange): number => at + length;

/**
 * The one small buffer of everything that changes from step to step: the step counter (dropout and augmentation draw from it),
 * learning rates, bias corrections, batch indices. Kernels bind it as `step: array<u32>` and are told their offset in `Params`;
 * it is written once at the start of a step, so a schedule never recompiles a kernel and never makes a uniform. What is set again
 * in a step, after kernels that read it, is written between the two.
 */
class StepBuffer {
  words = new Uint32Array(WORDS);
  floats = new Float32Array(this.words.buffer);
  storage: Storage;
  readonly gpu: Gpu;
  /** What is reserved, in order; the first two words are the counter and the seed. */
  private readonly taken: WordRange[] = [{ at: COUNTER, length: 2 }];
  /** Random operations so far in this step: each draws from its own stream. */
  readonly draws = new HostValue(0);
  running = false;
  /** Steps begun: by it a slot knows whether the running one reads it. */
  begun = 0;
  /**
   * Whether `words` is what a step sent: until that is submitted it may not change, but by the step itself. False in a running one
   * that set numbers again which it had read.
   */
  private sent = false;

  constructor(gpu: Gpu) {
    this.gpu = gpu;
    this.storage = Storage.acquire(4 * WORDS);
    gpu.stream.clear(this.storage);
  }

  /** Takes the first gap that is large enough. */
  reserve(length: number): WordRange {
    const { taken } = this;
    const next = taken.findIndex((range, i) => i > 0 && range.at - endOf(taken[i - 1]!) >= length);
    const i = next < 0 ? taken.length : next;
    const range = { at: endOf(taken[i - 1]!), length };
    if (endOf(range) > this.words.length) this.grow(endOf(range));
    taken.splice(i, 0, range);
    return range;
  }

  giveBack(range: WordRange): void {
    this.taken.splice(this.taken.indexOf(range), 1);
  }

  /** Moves to memory for `length` words or more. Recorded steps see that the old memory is gone and record anew. */
  private grow(length: number): void {
    if (this.running) throw new UsageError('a step cannot reserve so much. Make batches and optimizers before it.');
    const words = new Uint32Array(2 ** Math.ceil(Math.log2(length)));
    const storage = Storage.acquire(words.byteLength, this.gpu);
    words.set(this.words);
    this.hold(words);
    this.sent = false;
    this.storage.release();
    this.storage = storage;
    this.send();
  }

  /** Starts a step: sends the whole buffer once, with the values that it will have when the step has been recorded. */
  begin(): void {
    this.detach();
    this.words[COUNTER]!++;
    this.begun++;
    this.draws.set(0);
    this.running = true;
    this.sent = true;
    this.gpu.stream.write(this.storage, new Uint8Array(this.words.buffer));
  }

  /** Changes values of the running step or, where it reads them already or none runs, of all that is recorded from now on. */
  change(range: WordRange, set: () => void, isRead: boolean): void {
    if (isTracing()) throw new UsageError(SET_IN_BODY);
    if (!this.running) this.detach();
    else if (isRead && this.sent) {
      this.hold(this.words.slice());
      this.sent = false;
    }
    set();
    if (!this.running) this.send();
    else if (!this.sent) this.sendRange(range);
  }

  private send(): void {
    this.gpu.stream.write(this.storage, new Uint8Array(this.words.slice().buffer));
  }

  private sendRange({ at, length }: WordRange): void {
    const { pool, offsetBytes } = this.storage;
    const range = { pool, offsetBytes: offsetBytes + 4 * at, sizeBytes: 4 * length };
    this.gpu.stream.write(range, new Uint8Array(this.words.slice(at, at + length).buffer));
  }

  /** Leaves the array to a step that is not submitted yet, because it failed or is still being compiled. */
  private detach(): void {
    if (this.sent && !this.gpu.stream.idle) this.hold(this.words.slice());
    this.sent = false;
  }

  private hold(words: Uint32Array<ArrayBuffer>): void {
    this.words = words;
    this.floats = new Float32Array(words.buffer);
  }
}

const buffers = new WeakMap<Gpu, StepBuffer>();

function stepBuffer(): StepBuffer {
  const gpu = currentGpu();
  let buffer = buffers.get(gpu);
  if (!buffer) {
    buffer = new StepBuffer(gpu);
    buffers.set(gpu, buffer);
  }
  return buffer;
}

/** A reserved range of the step buffer. */
export interface StepSlot {
  /** Where it starts, in words: goes to the `Params` of a kernel, and is asked for as that is recorded. */
  readonly at: number;
  /** Sets the words from `first` on. */
  setFloats(values: readonly number[], first?: number): void;
  setInts(values: ArrayLike<number>): void;
}

const collected = new FinalizationRegistry<{ buffer: StepBuffer; range: WordRange }>(({ buffer, range }) =>
  buffer.giveBack(range),
);

/** Reserves `length` words that may have new values each step, until the slot is collected. */
export function reserveStepWords(length: number): StepSlot {
  const buffer = stepBuffer();
  const range = buffer.reserve(length);
  const { at } = range;
  let readIn = 0;
  const change = (set: () => void) => buffer.change(range, set, readIn === buffer.begun);
  const slot: StepSlot = {
    get at() {
      readIn = buffer.begun;
      return at;
    },
    setFloats: (values, first = 0) => change(() => buffer.floats.set(values, at + first)),
    setInts: (values) => change(() => buffer.words.set(values, at)),
  };
  collected.register(slot, { buffer, range });
  return slot;
}

/** The buffer as kernels bind it. */
export const stepStorage = (): Storage => stepBuffer().storage;

/** Starts a step, and counts it. Returns what ends it, to be called when it has been recorded. */
export function beginStep(): () => void {
  const buffer = stepBuffer();
  buffer.begin();
  return () => {
    buffer.running = false;
  };
}

/** The random stream of the next random operation: its rank within the step. */
export function nextDraw(): number {
  const { draws } = stepBuffer();
  const rank = draws.get();
  draws.set(rank + 1);
  return rank;
}

/**
 * Sets the seed of everything random on the GPU, which begins anew: the same steps after it draw the same numbers. What a running step
 * has recorded before draws by the old one. Throws UsageError in the body of a `repeated` step, ConfigError for what is no seed.
 */
export function setSeed(seed: number): void {
  setWord(SEED, checkSeed(seed));
  setStepCounter(0);
  stepBuffer().draws.set(0);
}

/** The seed of everything random on the GPU. */
export const stepSeed = (): number => stepBuffer().words[SEED]!;

/** Steps begun so far; saved and restored so that a resumed run draws the same random numbers. */
export const stepCounter = (): number => stepBuffer().words[COUNTER]!;

export function setStepCounter(steps: number): void {
  setWord(COUNTER, steps);
}

/** Sets the seed or the counter. Whatever draws reads them, so what a running step has recorded may have. */
function setWord(at: number, value: number): void {
  const buffer = stepBuffer();
  const set = () => {
    buffer.words[at] = value;
  };
  buffer.change({ at, length: 1 }, set, true);
}
