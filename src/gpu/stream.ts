import { GpuError, UsageError } from '../core/errors.ts';
import { BindGroupCache, type Binding, type Bound, type BufferRange } from './bindgroups.ts';
import { PassClock } from './passclock.ts';
import type { Pipeline } from './pipeline.ts';
import { type Checked, unchecked } from './pool.ts';
import type { Profile, Work } from './profile.ts';
import { UniformCache } from './uniforms.ts';
import { MAP_READ_MODE, USAGE } from './usage.ts';

export type { Binding, BufferRange } from './bindgroups.ts';

export type Grid = readonly [number, number, number];

export type Command =
  | { kind: 'dispatch'; bound: Bound; grid: Grid; work: Work | null }
  | { kind: 'copy'; from: BufferRange; to: BufferRange }
  | { kind: 'clear'; range: BufferRange }
  | { kind: 'write'; range: BufferRange; data: Uint8Array }
  | { kind: 'call'; fn: () => void }
  | { kind: 'fetch'; from: BufferRange; to: GPUBuffer };

type DispatchCommand = Extract<Command, { kind: 'dispatch' }>;
type WriteCommand = Extract<Command, { kind: 'write' }>;
type CallCommand = Extract<Command, { kind: 'call' }>;

/** Commands taken out of the stream by `capture`, to be run with `replay`. */
export type Recording = readonly Command[];

export interface StreamStats {
  /** Dispatches encoded so far. */
  dispatches: number;
  /** Command buffers submitted so far. */
  submits: number;
}

const MAX_IN_FLIGHT = 2;
/** Work that takes longer is cut into submits of about `SUBMIT_MS`. */
const LONG_MS = 500;
const SUBMIT_MS = 250;
/** Dispatches of a submit before any work was timed: no dispatch takes more than 200 ms. */
const FIRST_DISPATCHES = 8;
/** Of buffers that wait for the next read. */
const STAGING_BYTES = 2 ** 25;
const NO_PARAMS = new Uint32Array(0);

/**
 * The one queue of GPU work. Commands are recorded as plain objects and encoded at `flush`: by then their pipelines have been
 * compiled side by side, and a whole training step becomes one pass in one submit. Order is the order of the calls.
 */
export class CommandStream {
  private commands: Command[] = [];
  /** `capture`s that are running. */
  private captures = 0;
  /** What the running `capture` will throw: nobody need look at the promise of a read. */
  private refused: UsageError | null = null;
  private readonly groups: BindGroupCache;
  private readonly staging: GPUBuffer[] = [];
  private readonly inFlight: Promise<unknown>[] = [];
  private tail: Promise<void> | null = null;
  private readonly device: GPUDevice;
  private readonly cutsLongWork: boolean;
  private readonly checked: Checked;
  /** Submits are cut after this many dispatches. */
  private dispatchesPerSubmit = Number.POSITIVE_INFINITY;
  /** Dispatches of the work that was so long that it is cut; 0 where none was. */
  private cutFor = 0;
  /** Dispatches of the last flush, until it is timed. */
  private encoded = 0;
  /** When work that was timed was last done. */
  private doneMs = 0;
  /** Set to time each dispatch (`DEBUG=2`, `npm run bench`). */
  profile: Profile | null = null;
  private clock: PassClock | null = null;
  readonly stats: StreamStats = { dispatches: 0, submits: 0 };

  /** @param cutsLongWork for hardware, where desktop drivers reset a GPU that is busy with one submit for seconds */
  constructor(device: GPUDevice, cutsLongWork: boolean, checked: Checked = unchecked) {
    this.device = device;
    this.checked = checked;
    this.cutsLongWork = cutsLongWork;
    this.forgetPace();
    this.groups = new BindGroupCache(device, new UniformCache(device));
  }

  get pending(): number {
    return this.commands.length;
  }

  /** True when all that was recorded has been submitted. */
  get idle(): boolean {
    return this.commands.length === 0 && !this.tail && this.captures === 0;
  }

  /** The pipeline of the next dispatch, if it is the one that followed the last time. */
  get expected(): Pipeline | null {
    return this.groups.expected;
  }

  /** The pipeline of the latest dispatch. */
  get latest(): Pipeline | null {
    return this.groups.latest;
  }

  /** `params` are the words of `Params`, a multiple of 4; they are copied. `work` is what the profile is told of the dispatch. */
  dispatch(
    pipeline: Pipeline,
    bindings: readonly Binding[],
    params: Uint32Array | null,
    grid: Grid,
    work: Work | null = null,
  ): void {
    const bound = this.groups.get(pipeline, bindings, params ?? NO_PARAMS);
    this.commands.push({ kind: 'dispatch', bound, grid, work });
  }

  /** Whether a `capture` is running. */
  get capturing(): boolean {
    return this.captures > 0;
  }

  /** Whether the running `capture` has refused a read, and will throw that. */
  get refusing(): boolean {
    return this.refused !== null;
  }

  /**
   * Takes what `fn` records out of the stream. Throws UsageError when it reads a tensor. The buffers that it names must not be given
   * to anybody else, nor destroyed by `trim`, until the last `replay` has run.
   */
  capture(fn: () => void): Recording {
    const { commands, failure } = this.attempt(fn);
    if (failure) throw failure.error;
    return commands;
  }

  /** A `capture` that throws nothing: what was recorded, and what `fn` threw or was refused. */
  attempt(fn: () => void): { commands: Recording; failure: { error: unknown } | null } {
    const before = this.commands;
    const commands: Command[] = [];
    this.commands = commands;
    this.captures++;
    let failure: { error: unknown } | null = null;
    try {
      fn();
    } catch (error) {
      failure = { error };
    }
    if (this.refused) failure = { error: this.refused };
    this.commands = before;
    this.captures--;
    this.refused = null;
    return { commands, failure };
  }

  /** Records the commands of a `capture` again. */
  replay(recording: Recording): void {
    for (const command of recording) this.commands.push(command);
  }

  copy(from: BufferRange, to: BufferRange): void {
    this.commands.push({ kind: 'copy', from, to });
  }

  clear(range: BufferRange): void {
    this.commands.push({ kind: 'clear', range });
  }

  /** Writes `data` when its turn comes. The array is not copied: it must not change before the next flush. */
  write(range: BufferRange, data: Uint8Array): void {
    this.commands.push({ kind: 'write', range, data });
  }

  /** Calls `fn` when all that was recorded before has been submitted. */
  afterwards(fn: () => void): void {
    this.commands.push({ kind: 'call', fn });
  }

  /** The bytes of a range, after all that was recorded before has run. */
  async read(from: BufferRange): Promise<ArrayBuffer> {
    if (this.captures > 0) {
      this.refused = new UsageError(
        'a tensor cannot be read while its work is only recorded. Return it and read it then.',
      );
      throw this.refused;
    }
    const to = this.takeStaging(from.sizeBytes);
    this.commands.push({ kind: 'fetch', from, to });
    await this.flush();
    try {
      await to.mapAsync(MAP_READ_MODE, 0, from.sizeBytes);
    } catch (error) {
      throw await this.unreadable(error);
    }
    const bytes = to.getMappedRange(0, from.sizeBytes).slice(0);
    to.unmap();
    this.keepStaging(to);
    return bytes;
  }

  /** Why a result cannot be read; of a device that is lost Dawn's own error does not say so. */
  private async unreadable(error: unknown): Promise<GpuError> {
    const moment = new Promise<null>((resolve) => setTimeout(resolve, 10, null));
    const lost = await Promise.race([this.device.lost, moment]);
    const why = lost ? `the device is lost (${lost.reason}): ${lost.message}` : String(error);
    return new GpuError(`a result cannot be read: ${why}`);
  }

  /**
   * Submits what was recorded. Resolves when it is submitted, not when it has run. Throws GpuError for a kernel that does not compile;
   * all the other commands are submitted.
   */
  flush(): Promise<void> {
    const commands = this.commands;
    this.commands = [];
    const compiling = new Set<Promise<void>>();
    for (const c of commands)
      if (c.kind === 'dispatch' && !c.bound.pipeline.handle) compiling.add(c.bound.pipeline.compiled);
    if (!this.tail && compiling.size === 0 && !this.profile) {
      this.encode(commands);
      return Promise.resolve();
    }
    // Who asked for the flush before is told of its failure.
    const before = this.tail?.catch(() => {}) ?? Promise.resolve();
    const tail = before
      .then(() => Promise.allSettled(compiling))
      .then(async (settled) => {
        const refused = settled.find((result) => result.status === 'rejected');
        const sound = refused ? commands.filter((c) => c.kind !== 'dispatch' || c.bound.pipeline.handle) : commands;
        if (this.profile) await this.encodeProfiled(sound, this.profile);
        else this.encode(sound);
        if (refused) throw refused.reason;
      })
      .finally(() => {
        if (this.tail === tail) this.tail = null;
      });
    this.tail = tail;
    return tail;
  }

  /** Waits until nothing runs but the work of this call, so that the host does not run ahead of the GPU. */
  async throttle(): Promise<void> {
    this.inFlight.push(this.done());
    if (this.inFlight.length >= MAX_IN_FLIGHT) await this.inFlight.shift();
  }

  /** Waits until all work has run. */
  async finish(): Promise<void> {
    await this.flush();
    await this.done();
    this.inFlight.length = 0;
  }

  /** Resolves when all that was submitted has run, and times what the last flush submitted. */
  private async done(): Promise<void> {
    const submittedMs = performance.now();
    const { encoded } = this;
    this.encoded = 0;
    await this.device.queue.onSubmittedWorkDone();
    const nowMs = performance.now();
    // The GPU was busy with earlier work until `doneMs`; what the host did between steps is no time of the GPU's.
    const elapsedMs = nowMs - Math.max(submittedMs, this.doneMs);
    this.doneMs = nowMs;
    if (this.cutsLongWork && encoded > 0) this.chooseCut(encoded, elapsedMs);
  }

  /** Call before different work: it is submitted in small pieces until it has been timed itself. */
  forgetPace(): void {
    if (this.cutsLongWork) this.dispatchesPerSubmit = FIRST_DISPATCHES;
    this.cutFor = 0;
    this.encoded = 0;
  }

  /**
   * Cuts submits so that none takes much longer than a display driver puts up with. Short work shows that a submit of
   * as many dispatches is fine, and that twice as many may be tried. It shows nothing for work that had to be cut: a validation step
   * has fewer and lighter dispatches than a training step.
   */
  private chooseCut(dispatches: number, elapsedMs: number): void {
    if (elapsedMs > LONG_MS) {
      this.dispatchesPerSubmit = Math.max(1, Math.floor((dispatches * SUBMIT_MS) / elapsedMs));
      this.cutFor = dispatches;
    } else if (dispatches >= this.cutFor) {
      this.dispatchesPerSubmit = Math.max(this.dispatchesPerSubmit, 2 * dispatches);
      this.cutFor = 0;
    }
  }

  /** Forgets bind groups; called when pool buffers are destroyed. */
  forget(): void {
    this.groups.forget();
    for (const buffer of this.staging.splice(0)) buffer.destroy();
  }

  private encode(commands: readonly Command[]): void {
    this.encoded = 0;
    if (commands.length === 0) return;
    let encoder: GPUCommandEncoder | null = null;
    let pass: GPUComputePassEncoder | null = null;
    let pipeline: Pipeline | null = null;
    let dispatches = 0;
    const endPass = () => {
      pass?.end();
      pass = null;
      pipeline = null;
    };
    const submit = () => {
      endPass();
      if (encoder) this.submit(encoder);
      encoder = null;
      dispatches = 0;
    };
    for (const command of commands) {
      if (command.kind === 'write') {
        // queue.writeBuffer overtakes commands that are only encoded, so what came before goes first.
        submit();
        this.encodeWrite(command);
        continue;
      }
      if (command.kind === 'call') {
        submit();
        command.fn();
        continue;
      }
      encoder ??= this.device.createCommandEncoder();
      if (command.kind === 'dispatch') {
        pass ??= encoder.beginComputePass();
        this.encodeDispatch(pass, command, pipeline);
        pipeline = command.bound.pipeline;
        this.encoded++;
        if (++dispatches >= this.dispatchesPerSubmit) submit();
      } else {
        endPass();
        this.encodeCopy(encoder, command);
      }
    }
    submit();
  }

  private submit(encoder: GPUCommandEncoder): void {
    this.device.queue.submit([encoder.finish()]);
    this.stats.submits++;
  }

  /** `before` is the pipeline that the pass is set to. */
  private encodeDispatch(
    pass: GPUComputePassEncoder,
    { bound, grid }: DispatchCommand,
    before: Pipeline | null = null,
  ): void {
    if (bound.pipeline !== before) pass.setPipeline(bound.pipeline.handle!);
    pass.setBindGroup(0, bound.group ?? this.groups.groupOf(bound));
    pass.dispatchWorkgroups(grid[0], grid[1], grid[2]);
    this.stats.dispatches++;
  }

  private encodeWrite({ range, data }: WriteCommand): void {
    this.device.queue.writeBuffer(range.pool.buffer, range.offsetBytes, data as Uint8Array<ArrayBuffer>);
  }

  private encodeCopy(
    encoder: GPUCommandEncoder,
    command: Exclude<Command, DispatchCommand | WriteCommand | CallCommand>,
  ): void {
    if (command.kind === 'clear') {
      const { pool, offsetBytes, sizeBytes } = command.range;
      encoder.clearBuffer(pool.buffer, offsetBytes, sizeBytes);
      return;
    }
    const { pool, offsetBytes, sizeBytes } = command.from;
    const [to, at] = command.kind === 'copy' ? [command.to.pool.buffer, command.to.offsetBytes] : [command.to, 0];
    encoder.copyBufferToBuffer(pool.buffer, offsetBytes, to, at, sizeBytes);
  }

  /** Times each dispatch: by a pass of its own with time stamps, or where the adapter has none, by a submit of its own. */
  private async encodeProfiled(commands: readonly Command[], profile: Profile): Promise<void> {
    this.encoded = 0;
    if (this.device.features.has('timestamp-query')) this.clock ??= new PassClock(this.device);
    const { clock } = this;
    let timed: DispatchCommand[] = [];
    let encoder = this.device.createCommandEncoder();
    const submit = () => {
      this.submit(encoder);
      encoder = this.device.createCommandEncoder();
    };
    const settle = async (clock: PassClock) => {
      clock.resolve(encoder, timed.length);
      submit();
      const elapsedMs = await clock.read(timed.length);
      for (const [i, { bound, grid, work }] of timed.entries())
        profile.add(bound.pipeline.label, grid, elapsedMs[i]!, work);
      timed = [];
    };
    for (const command of commands) {
      if (command.kind === 'write') {
        submit();
        this.encodeWrite(command);
      } else if (command.kind === 'call') {
        submit();
        command.fn();
      } else if (command.kind !== 'dispatch') {
        this.encodeCopy(encoder, command);
      } else if (clock) {
        const pass = encoder.beginComputePass({ timestampWrites: clock.writes(timed.length) });
        this.encodeDispatch(pass, command);
        pass.end();
        timed.push(command);
        if (timed.length === clock.capacity) await settle(clock);
        else if (timed.length % this.dispatchesPerSubmit === 0) submit();
      } else {
        submit();
        await this.device.queue.onSubmittedWorkDone();
        const started = performance.now();
        const pass = encoder.beginComputePass();
        this.encodeDispatch(pass, command);
        pass.end();
        submit();
        await this.device.queue.onSubmittedWorkDone();
        profile.add(command.bound.pipeline.label, command.grid, performance.now() - started, command.work);
      }
    }
    if (clock && timed.length > 0) await settle(clock);
    else submit();
  }

  private takeStaging(sizeBytes: number): GPUBuffer {
    const at = this.staging.findIndex((buffer) => buffer.size >= sizeBytes && buffer.size <= 4 * sizeBytes + 4096);
    if (at >= 0) return this.staging.splice(at, 1)[0]!;
    const usage = USAGE.MAP_READ | USAGE.COPY_DST;
    return this.checked(() => this.device.createBuffer({ label: 'staging', size: sizeBytes, usage }));
  }

  /** For the next read of such a size, as long as all that wait take little; those that were used longest ago go first. */
  private keepStaging(buffer: GPUBuffer): void {
    this.staging.push(buffer);
    let bytes = this.staging.reduce((sum, { size }) => sum + size, 0);
    while (bytes > STAGING_BYTES) {
      const oldest = this.staging.shift()!;
      bytes -= oldest.size;
      oldest.destroy();
    }
  }
}
