import { Arena, arenaLayout, BLOCK_BYTES, halvedLayout, paddedBytes } from '../core/arena.ts';
import { ConfigError } from '../core/errors.ts';
import { setHalfCopy, updated } from '../core/halfcopy.ts';
import type { Kernel } from '../core/kernel.ts';
import { showShape } from '../core/shape.ts';
import { inStep } from '../core/step.ts';
import { reserveStepWords, type StepSlot, stepStorage } from '../core/stepbuffer.ts';
import { type GradientSlot, hasGradientSlot, isFilled, setGradientSlot, tracked } from '../core/tape.ts';
import { Tensor } from '../core/tensor.ts';
import { assume, beforehand, effect, HostValue } from '../core/trace.ts';
import { type Grouping, threadsOf } from '../core/walk.ts';
import { currentGpu } from '../gpu/gpu.ts';
import type { Consts } from '../gpu/shader.ts';
import type { BufferRange } from '../gpu/stream.ts';
import { checkDecay, WeightAverage } from './average.ts';
import { GradientClip } from './clip.ts';
import type { LossScale } from './lossscale.ts';
import type { Rates } from './schedule.ts';

/** What may change from step to step: the rates of a schedule, or a learning rate alone. */
export interface StepValues extends Omit<Rates, 'momentum'> {
  /** Default .9. */
  momentum?: number;
}

/** Parameters that share their numbers. */
export interface ParamGroup {
  params: readonly Tensor[];
  /** Multiplies the learning rate. */
  lrScale?: number;
  weightDecay?: number;
  /** Which of a step's `layerLrs` is theirs. Default: the first; where no group says it, a step has no more than that. */
  layer?: number;
}

const WORDS_PER_GROUP = 8;
const FROZEN = 0xffffffff;

/** Vec4s of a block, or of four, side by side; blocks that an invocation walks over. */
const UPDATE_GROUPINGS = { hardware: { GROUP: 64, EACH: 1 }, software: { GROUP: 16, EACH: 32 } };

/** A range of the arenas that one dispatch updates. */
export interface UpdateRange {
  parameters: BufferRange;
  gradients: BufferRange;
  state: readonly BufferRange[];
  /** With a loss scale: the f16 copies of the parameters, and the state of the scale. */
  scaled: { half: BufferRange; scale: Tensor } | null;
  /** With a moving average of the parameters: its place. */
  average: BufferRange | null;
  firstBlock: number;
  /** Values in fours. */
  count: number;
  consts: Grouping;
  /** Invocations in all. */
  threads: number;
}

/** The entry points of an update, without a loss scale and with one. */
export interface UpdateKernels {
  plain: Kernel;
  scaling: Kernel;
}

/** What all optimizers can be told. */
export interface OptimizerOptions {
  weightDecay?: number;
  /** Trains in f16: keeps f16 copies of the parameters, divides gradients by the scale and leaves out updates that overflowed. */
  lossScale?: LossScale;
  /** The largest norm of all gradients together: longer ones are shortened to it. */
  clip?: number;
  /** Decay of a moving average of the weights, which `average` then is. */
  ema?: number;
}

/**
 * Base of the optimizers. It moves the parameters into an arena and gives them gradients and state in others, so that an update
 * is one dispatch per chunk; `zeroGrad` costs nothing, since a step's first gradient overwrites its slot. A parameter has one
 * optimizer at a time: the latest that was made for it.
 */
export abstract class Optimizer {
  readonly groups: readonly Required<ParamGroup>[];
  /** Updates so far, with those that a loss scale left out. */
  steps = 0;
  readonly lossScale: LossScale | null;
  /** With `ema`. */
  readonly average: WeightAverage | null;
  protected readonly clip: GradientClip | null;
  protected readonly hyper: StepSlot;
  protected readonly groupTable: Tensor;
  /** What it trains. */
  readonly parameters: readonly Tensor[];
  private readonly slots: GradientSlot[] = [];
  private readonly gradients: Tensor[] = [];
  private readonly arenas: {
    parameters: Arena;
    gradients: Arena;
    state: Arena[];
    half: Arena | null;
    average: Arena | null;
  };
  private readonly firstBlocks: number[] = [];
  /** Whether any group says which layer it is of. */
  private readonly layered: boolean;
  /** Which parameters the group table lets be updated. */
  private moving = '';
  /** Whether the numbers of the next update are set. */
  private readonly prepared = new HostValue(false);

  /** @param stateCount arenas of state: 1 for momentum, 2 for Adam's moments */
  protected constructor(
    params: Iterable<Tensor> | readonly ParamGroup[],
    { weightDecay = 0, lossScale, clip, ema }: OptimizerOptions,
    stateCount: number,
  ) {
    if (inStep()) {
      throw new ConfigError('an optimizer is made outside of a step: its state would be freed at the end of this one.');
    }
    const list = [...params];
    const groups = list.every((entry): entry is ParamGroup => 'params' in entry)
      ? list
      : [{ params: list as Tensor[] }];
    this.groups = groups.map(({ params, lrScale = 1, weightDecay: decay = weightDecay, layer = 0 }) => {
      if (!(decay >= 0 && decay < Number.POSITIVE_INFINITY))
        throw new ConfigError(`the optimizer: weightDecay is ${decay}; it is 0 or more.`);
      if (!Number.isFinite(lrScale)) throw new ConfigError(`the optimizer: lrScale is ${lrScale}; it is a number.`);
      return { params, lrScale, weightDecay: decay, layer };
    });
    this.layered = groups.some(({ layer }) => layer !== undefined);
    this.parameters = this.groups.flatMap((group) => group.params);
    if (this.parameters.length === 0) {
      throw new ConfigError(
        'the optimizer has no parameters to train: a module names its layers in `children()`, its tensors in `own()`.',
      );
    }
    if (!this.parameters.every((parameter) => parameter instanceof Tensor))
      throw new ConfigError(
        'the optimizer takes tensors, or groups of them; those of a module are `parameters().values()`.',
      );
    if (new Set(this.parameters).size !== this.parameters.length)
      throw new ConfigError(
        'a parameter is in the optimizer twice; give it `new Set(…)` of parameters that layers share.',
      );

    const other = this.parameters.find(({ dtype }) => dtype !== 'f32');
    if (other)
      throw new ConfigError(
        `a parameter ${showShape(other.shape)} is ${other.dtype}; parameters are f32, and a lossScale keeps copies of them in f16.`,
      );
    const computed = this.parameters.find(({ node }) => node);
    if (computed)
      throw new ConfigError(
        `a parameter ${showShape(computed.shape)} was computed from others, and would be computed anew in each step: give the optimizer those.`,
      );
    if (this.parameters.some(({ storage }) => storage.gpu !== currentGpu()))
      throw new ConfigError('a parameter is on another GPU than the one in use; `useGpu` says which that is.');
    // What may throw comes before the parameters are taken over.
    this.clip = clip === undefined ? null : new GradientClip(clip);
    if (ema !== undefined) checkDecay(ema);

    const { gpu } = this.parameters[0]!.storage;
    this.lossScale = lossScale ?? null;
    if (lossScale) lossScale.optimizer = this;
    const sizes = this.parameters.map((p) => 4 * p.size);
    const layout = arenaLayout(gpu, sizes, lossScale ? 2 * BLOCK_BYTES : BLOCK_BYTES);
    const arena = () => new Arena(gpu, layout);
    const half = lossScale ? new Arena(gpu, halvedLayout(layout)) : null;
    const average = ema === undefined ? null : arena();
    const state = Array.from({ length: stateCount }, arena);
    this.arenas = { parameters: arena(), gradients: arena(), state, half, average };
    for (const [i, parameter] of this.parameters.entries()) {
      parameter.moveTo(this.arenas.parameters.slot(i));
      setHalfCopy(parameter, half && new Tensor(half.slot(i), parameter.shape, 'f16'));
      const gradient = new Tensor(this.arenas.gradients.slot(i), parameter.shape);
      this.gradients.push(gradient);
      this.slots.push(setGradientSlot(parameter, gradient));
    }
    let blocks = 0;
    for (const chunk of this.arenas.parameters.chunks) {
      this.firstBlocks.push(blocks);
      blocks += chunk.sizeBytes / BLOCK_BYTES;
    }
    this.groupTable = Tensor.from(new Uint32Array(blocks));
    this.hyper = reserveStepWords(WORDS_PER_GROUP * this.groups.length);
    const averages = average && this.tensorsOf(average);
    this.average = averages && new WeightAverage(ema!, this.parameters, averages, () => this.ranges());
  }

  /**
   * Records the update of all parameters from their gradients. Call it inside the step, after `backward`. A parameter without a
   * gradient is left alone, its state and decay included.
   */
  step(values: StepValues): void {
    this.prepare(values);
    this.apply();
  }

  /** The host's half of `step`: counts the update and sets its numbers. A repeated step calls it in `prepare`. */
  prepare(values: StepValues): void {
    const { momentum = 0.9 } = values;
    const { layerLrs } = values;
    if (layerLrs && layerLrs.length > 1 && !this.layered)
      throw new ConfigError(
        `the optimizer's parameters are of no layers, and layerLrs has ${layerLrs.length} rates. Give it the groups of \`train.paramGroups(model)\`.`,
      );
    const lrs = this.groups.map(({ layer }) => {
      const lr = layerLrs ? layerLrs[layer] : values.lr;
      if (lr !== undefined || !layerLrs) return lr;
      throw new ConfigError(`the optimizer has parameters of layer ${layer}; layerLrs has ${layerLrs.length} rates.`);
    });
    for (const lr of lrs) {
      if (!Number.isFinite(lr) || !Number.isFinite(momentum))
        throw new ConfigError(`the optimizer's step has lr ${lr} and momentum ${momentum}; both are numbers.`);
    }
    this.steps++;
    for (const [g, { lrScale, weightDecay }] of this.groups.entries()) {
      const hyper = [lrScale * lrs[g]!, momentum, weightDecay, ...this.extraHyper(momentum)];
      this.hyper.setFloats(hyper, WORDS_PER_GROUP * g);
    }
    this.prepared.set(true);
  }

  /**
   * The GPU's half of `step`: records the update with the numbers that `prepare` set. Throws ConfigError when it did not, when the
   * gradients are not those of the loss scale, and when a later optimizer has taken over a parameter.
   */
  apply(): void {
    if (!this.parameters.every((parameter, i) => hasGradientSlot(parameter, this.slots[i]!))) {
      throw new ConfigError('a later optimizer has taken over parameters of this one; make it anew to go back to it.');
    }
    if (!this.prepared.get()) {
      throw new ConfigError(
        'apply: the numbers of this update are not set. Call `prepare(rates)` before each, or `step(rates)` in place of both.',
      );
    }
    if (this.lossScale && this.lossScale.optimizer !== this)
      throw new ConfigError(
        'a later optimizer has taken over the loss scale of this one; give each optimizer its own.',
      );
    if (this.lossScale && !this.lossScale.asked.get() && this.slots.some(isFilled)) {
      throw new ConfigError(
        'the gradients are not scaled, and would be divided by the loss scale: call loss.backward(lossScale.gradient()).',
      );
    }
    this.refreshGroups();
    const ranges = [...this.ranges()];
    for (const range of ranges) this.lossScale?.inspect(range, this.groupTable);
    this.clip?.measure(ranges, this.groupTable);
    for (const range of ranges) this.update(range);
    for (const [i, parameter] of this.parameters.entries()) if (this.moving[i] === '1') updated(parameter);
    this.average?.follow(ranges);
    this.lossScale?.settle();
    this.zeroGrad();
    this.prepared.set(false);
  }

  /** Forgets the gradients; `step` does it by itself. */
  zeroGrad(): void {
    for (const parameter of this.parameters) parameter.grad = null;
  }

  /** Forgets moments and updates, as if no step had been taken: what fast.ai does when other layers are frozen than before. */
  clearState(): void {
    const { gpu } = this.parameters[0]!.storage;
    for (const { pool, sizeBytes } of this.arenas.state.flatMap(({ chunks }) => chunks)) {
      gpu.stream.clear({ pool, offsetBytes: 0, sizeBytes });
    }
    effect(() => {
      this.steps = 0;
    });
    this.lossScale?.forgetUpdates();
  }

  /** State tensors by parameter, in the order of the parameters: what a checkpoint saves beside `steps`. */
  state(): Tensor[][] {
    return this.arenas.state.map((arena) => this.tensorsOf(arena));
  }

  private tensorsOf(arena: Arena): Tensor[] {
    return this.parameters.map((p, i) => new Tensor(arena.slot(i), p.shape));
  }

  /** Values after lr, momentum and weight decay in the step buffer. */
  protected extraHyper(_momentum: number): number[] {
    return [];
  }

  protected abstract update(range: UpdateRange): void;

  /** What `update` does with kernels of `optimizer.wgsl`: `state` by the kernel's names, and `consts` of its own. */
  protected dispatch(
    { plain, scaling }: UpdateKernels,
    { parameters, gradients, scaled, firstBlock, count, threads, consts: grouping }: UpdateRange,
    state: Readonly<Record<string, BufferRange>>,
    consts: Consts,
  ): void {
    const operands = {
      ...{ step: stepStorage(), groupOf: this.groupTable, gradient: gradients, p: parameters },
      ...state,
    };
    const all = { ...consts, CLIPPED: this.clip !== null, ...grouping };
    const params = { n: count, at: this.hyper.at, firstBlock, clipAt: this.clip?.at ?? 0 };
    if (scaled) scaling({ ...all, Half: 'vec4h' }, { ...operands, ...scaled }, params, threads);
    else plain(all, operands, params, threads);
  }

  /** The chunks, cut where a parameter alone is larger than the adapter can bind. */
  private *ranges(): Generator<UpdateRange> {
    const { gpu } = this.parameters[0]!.storage;
    const grouping = UPDATE_GROUPINGS[gpu.adapter.software ? 'software' : 'hardware'];
    const { half, average } = this.arenas;
    const scale = this.lossScale?.words;
    const most = Math.floor(gpu.limits.maxStorageBufferBindingSize / (2 * BLOCK_BYTES)) * 2 * BLOCK_BYTES;
    for (const [c, { sizeBytes: all }] of this.arenas.parameters.chunks.entries()) {
      for (let offsetBytes = 0; offsetBytes < all; offsetBytes += most) {
        const sizeBytes = Math.min(most, all - offsetBytes);
        const range = (arena: Arena): BufferRange => ({ pool: arena.chunks[c]!.pool, offsetBytes, sizeBytes });
        yield {
          parameters: range(this.arenas.parameters),
          gradients: range(this.arenas.gradients),
          state: this.arenas.state.map(range),
          scaled: half && scale ? { half: halfOf(range(half)), scale } : null,
          average: average && range(average),
          firstBlock: this.firstBlocks[c]! + offsetBytes / BLOCK_BYTES,
          count: sizeBytes / 16,
          consts: grouping,
          threads: threadsOf(sizeBytes / 16, grouping),
        };
      }
    }
  }

  /** Writes the group of each block when other parameters than the last time are to be updated. */
  private refreshGroups(): void {
    const moving = this.slots.map((slot, i) => isFilled(slot) && tracked(this.parameters[i]!));
    const key = moving.map(Number).join('');
    const first = assume(this.groupTable, () => this.moving === key);
    if (key === this.moving) return;
    this.moving = key;
    const groupOf = this.groups.flatMap(({ params }, g) => params.map(() => g)).map((g, i) => (moving[i] ? g : FROZEN));
    const table = new Uint32Array(this.groupTable.size);
    for (const [c, { slots }] of this.arenas.parameters.chunks.entries()) {
      for (const { index, offsetBytes, sizeBytes } of slots) {
        const first = this.firstBlocks[c]! + offsetBytes / BLOCK_BYTES;
        table.fill(groupOf[index]!, first, first + paddedBytes(sizeBytes) / BLOCK_BYTES);
      }
    }
    const write = () => this.groupTable.write(table);
    if (first) beforehand(write);
    else write();
  }
}

/** The part of an f16 arena that belongs to a range of an f32 one. */
const halfOf = ({ pool, offsetBytes, sizeBytes }: BufferRange): BufferRange => ({
  pool,
  offsetBytes: offsetBytes / 2,
  sizeBytes: sizeBytes / 2,
});
