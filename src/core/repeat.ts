import { sameRange } from '../gpu/bindgroups.ts';
import { debug } from '../gpu/debug.ts';
import { currentGpu, type Gpu } from '../gpu/gpu.ts';
import type { PoolBuffer } from '../gpu/pool.ts';
import type { BufferRange, Command, Recording } from '../gpu/stream.ts';
import { UsageError } from './errors.ts';
import { latestSerial, moves, refuseAsync, runStep, tensorsIn } from './step.ts';
import type { Storage } from './storage.ts';
import { endGraph, isGradient } from './tape.ts';
import { Tensor } from './tensor.ts';
import { type Trace, traced } from './trace.ts';
import { isPlain, within } from './within.ts';

/**
 * A step whose GPU work is the same each time. The first calls run it as `step` does; once two in a row have recorded the same
 * commands, later ones submit that list again without calling `body`, which spares the host most of its work. The bits are the
 * same either way.
 *
 *     const train = repeated(
 *       (indices: Uint32Array, rates: StepValues) => { batches.choose(indices); optimizer.prepare(rates); },
 *       () => {
 *         const { x, labels } = batches.gather();
 *         const loss = ops.crossEntropy(net.forward(x), labels);
 *         loss.backward();
 *         optimizer.apply();
 *         return loss;
 *       },
 *     );
 *     const loss = await train(indices, rates);
 *
 * `prepare` runs each time, before the GPU work: all that changes belongs there (`optimizer.prepare`, `batches.choose`,
 * `tensor.write`). `body` records GPU work from tensors that outlive it, and nothing in it may depend on what changes: to follow an
 * `if` in it one needs two repeated steps, and a number in it, such as a loss's weight, stays as it was recorded: one that changes is
 * written to a tensor of shape [1]. What is noticed, so that `body` runs again: modes of modules, `requiresGrad`, gradients that
 * wait to be added to, parameters that a new optimizer has taken over, memory that went to somebody else, and another tensor, network or
 * other object of a class among what `prepare` is given. Dropout and augmentation draw anew each time.
 *
 * Tensors that `body` makes and returns live until the next call, which frees them: read them before. `backward` does not go through
 * them later. A body that keeps a tensor in another way works, but is never replayed. Throws UsageError when a half is async, and when
 * `body` reads a tensor, uploads data or sets numbers that only `prepare` can.
 */
export function repeated<A extends readonly unknown[], T>(
  prepare: (...values: A) => void,
  body: () => T,
): (...values: A) => Promise<T> {
  const steps = new RepeatedStep(body);
  return (...values) => steps.run(() => prepare(...values), values.flatMap(objectsIn));
}

/** Objects of classes among what `prepare` is given, however deep in arrays, collections and plain objects, and tensors in their fields. */
const objectsIn = (value: unknown): object[] =>
  [...within(value)].flatMap((part) =>
    typeof part !== 'object' || part === null || ArrayBuffer.isView(part) ? [] : [part, ...tensorsIn(part)],
  );

/** What a body returned with `change` made to each part, in new arrays and plain objects, however deep: one for each of its own. */
function mapped(result: unknown, change: (part: unknown) => unknown, done = new Map<unknown, unknown>()): unknown {
  if (done.has(result)) return done.get(result);
  const list = Array.isArray(result);
  if (!list && !(typeof result === 'object' && result !== null && isPlain(result))) return change(result);
  const made = (list ? [] : {}) as Record<string, unknown>;
  done.set(result, made);
  for (const [name, part] of Object.entries(result)) made[name] = mapped(part, change, done);
  return made;
}

/** One run of a body, as it can be replayed. */
interface Take<T> {
  readonly gpu: Gpu;
  readonly commands: Recording;
  readonly trace: Trace;
  /** As it was before the caller had it. */
  readonly result: T;
  readonly given: readonly object[];
  /** The memory of what it made and returned, held so that a replay can write to it again. */
  readonly held: ReadonlyMap<Tensor, Tensor>;
  /** What it wrote to and was done with. */
  readonly temporary: readonly PoolBuffer[];
  /** What was there before and after, with the number of the loan. */
  readonly lasting: ReadonlyMap<PoolBuffer, number>;
  /** Tensors that had moved before. */
  readonly moves: number;
  /** Why it cannot be replayed; null where it can. */
  readonly obstacle: string | null;
}

class RepeatedStep<T> {
  private readonly body: () => T;
  private last: Take<T> | null = null;
  /** True once two takes in a row were the same. */
  private proven = false;
  private uploaded = false;
  private returned: readonly Tensor[] = [];

  constructor(body: () => T) {
    this.body = body;
  }

  /** `given` is what `prepare` is given and the body may work on. */
  run(prepare: () => void, given: readonly object[]): Promise<T> {
    let freed = () => {};
    return runStep(
      () => {
        const began = latestSerial();
        for (const tensor of this.returned) tensor.free('the next call of its repeated step');
        this.returned = [];
        refuseAsync('repeated: prepare', prepare());
        const { last } = this;
        let result: T;
        const prepared = latestSerial();
        const same = last?.given.length === given.length && given.every((object, i) => object === last.given[i]);
        if (this.proven && last && same && holds(last)) result = replay(last);
        else [result, freed] = this.take(given, began);
        // A gradient is its tensor's as well.
        this.returned = tensorsIn(result).filter((tensor) => tensor.serial > prepared && !isGradient(tensor));
        for (const { node } of this.returned) if (node) endGraph(node);
        return result;
      },
      () => freed(),
    );
  }

  /**
   * Runs the body of a step that began with so many tensors made. Returns its result, and what is to be done once the step has given its
   * memory back.
   */
  private take(given: readonly object[], began: number): [result: T, freed: () => void] {
    const gpu = currentGpu();
    const { pool, stream } = gpu;
    // A profile is told more of each dispatch than a recording knows.
    if (stream.profile) return [this.body(), () => {}];
    const { last: before } = this;
    this.last = null;
    // The memory of the result is to be lent again, or no two takes would be the same.
    for (const tensor of before?.held.values() ?? []) tensor.free('a new recording');
    const loansBefore = pool.loans;
    const movesBefore = moves();
    let result!: T;
    let attempt!: ReturnType<typeof stream.attempt>;
    const trace = traced(() => {
      attempt = stream.attempt(() => {
        result = this.body();
        refuseAsync('repeated: the body', result);
      });
    });
    const { commands, failure } = attempt;
    // As in any step, what was recorded is run, whatever comes of it: gradients are then what the host takes them for.
    for (const upload of trace.uploads) upload();
    stream.replay(commands);
    if (failure) throw failure.error;
    this.refuseUploads(commands);
    const freed = () => {
      const memory = memoryOf(commands, this.returned, loansBefore);
      const obstacle = obstacleIn(result, this.returned, began) ?? memory.obstacle;
      const form = mapped(result, (part) => part) as T;
      const take: Take<T> = { gpu, commands, trace, result: form, given, moves: movesBefore, ...memory, obstacle };
      const proven = before !== null && sameCommands(before.commands, commands);
      if (proven && !this.proven && take.obstacle) debug(1, () => `repeated: never replayed, for ${take.obstacle}`);
      this.proven = proven;
      this.last = take;
    };
    return [result, freed];
  }

  /** A first call may make what is made once; an upload that comes again would have to change. */
  private refuseUploads(commands: Recording): void {
    const uploads = commands.some(({ kind }) => kind === 'write');
    if (uploads && this.uploaded) {
      throw new UsageError(
        'repeated: the body uploads data (Tensor.from, write), which a replay could not change. Make the tensor before the first call and write to it in `prepare`.',
      );
    }
    this.uploaded = uploads;
  }
}

/** True when the commands of `take` still mean what they meant. */
function holds({ gpu, trace, temporary, lasting, moves: movesBefore, obstacle }: Take<unknown>): boolean {
  if (obstacle || movesBefore !== moves() || gpu !== currentGpu() || gpu.stream.profile) return false;
  for (const buffer of temporary) if (buffer.state !== 'free') return false;
  for (const [buffer, loan] of lasting) if (buffer.state !== 'lent' || buffer.loan !== loan) return false;
  for (const assumption of trace.assumptions.values()) if (!assumption()) return false;
  return true;
}

function replay<T>({ gpu, commands, trace, result, held }: Take<T>): T {
  gpu.stream.replay(commands);
  for (const change of trace.effects) change();
  const anew = new Map<unknown, Tensor>();
  for (const [tensor, { storage }] of held) anew.set(tensor, like(tensor, storage.hold()));
  return mapped(result, (part) => anew.get(part) ?? part) as T;
}

/** A tensor like one that a body returned, of the memory that it had. */
function like({ shape, dtype, requiresGrad, node }: Tensor, memory: Storage): Tensor {
  const tensor = new Tensor(memory, shape, dtype, { requiresGrad });
  tensor.node = node && { ...node, output: tensor };
  return tensor;
}

/** Why a replay cannot return what a body did. `made` are the tensors in it that it made, in a step that began with `began` of them. */
function obstacleIn(result: unknown, made: readonly Tensor[], began: number): string | null {
  const others = tensorsIn(result).filter((tensor) => !made.includes(tensor));
  if (others.some(({ serial }) => serial > began))
    return 'it returns a gradient or a tensor of `prepare`, which is another each time';
  const parts = new Set<unknown>();
  mapped(result, (part) => parts.add(part));
  return made.every((tensor) => parts.has(tensor))
    ? null
    : 'it returns tensors in a collection or an object of a class';
}

/** Sorts the memory that commands use, when the step that recorded them has given back what it does not keep. `made` is of the result. */
function memoryOf(
  commands: Recording,
  made: readonly Tensor[],
  loansBefore: number,
): Pick<Take<unknown>, 'held' | 'temporary' | 'lasting' | 'obstacle'> {
  const held = new Map(made.map((tensor) => [tensor, tensor.detach()]));
  const results = new Set([...held.values()].map(({ storage }) => storage.pool));
  const temporary: PoolBuffer[] = [];
  const lasting = new Map<PoolBuffer, number>();
  let obstacle: string | null = null;
  for (const buffer of buffersOf(commands)) {
    const { state, loan } = buffer;
    const older = loan <= loansBefore;
    if (state === 'lent' && (older || results.has(buffer))) lasting.set(buffer, loan);
    else if (state !== 'lent' && !older) temporary.push(buffer);
    else obstacle = older ? 'it uses tensors that live for one call only' : 'it keeps tensors that it does not return';
  }
  return { held, temporary, lasting, obstacle };
}

function buffersOf(commands: Recording): Set<PoolBuffer> {
  const buffers = new Set<PoolBuffer>();
  const add = ({ pool }: BufferRange) => buffers.add(pool);
  for (const command of commands) {
    if (command.kind === 'dispatch') for (const { range } of command.bound.bindings) add(range);
    else if (command.kind === 'fetch') add(command.from);
    else if (command.kind === 'copy') for (const range of [command.from, command.to]) add(range);
    else if (command.kind !== 'call') add(command.range);
  }
  return buffers;
}

const sameCommands = (a: Recording, b: Recording): boolean =>
  a.length === b.length && a.every((command, i) => sameCommand(command, b[i]!));

function sameCommand(a: Command, b: Command): boolean {
  if (a.kind === 'dispatch' && b.kind === 'dispatch') {
    return a.bound === b.bound && a.grid.every((groups, i) => groups === b.grid[i]);
  }
  if (a.kind === 'copy' && b.kind === 'copy') return sameRange(a.from, b.from) && sameRange(a.to, b.to);
  return a.kind === 'clear' && b.kind === 'clear' && sameRange(a.range, b.range);
}
