import { ConfigError, DataError } from '../core/errors.ts';
import { setSeed, setStepCounter, stepCounter, stepSeed } from '../core/stepbuffer.ts';
import type { Tensor } from '../core/tensor.ts';
import { sha256 } from '../data/chunks.ts';
import type { Module } from '../nn/index.ts';
import type { LossScaleState, Optimizer } from '../optim/index.ts';
import { loadTensors, stateTensors } from './modelfile.ts';
import { type FileTensor, readSafetensors, toF32, writeSafetensors } from './safetensors.ts';

/** What is trained, and by what. */
export interface TrainingParts {
  model: Module;
  optimizer: Optimizer;
}

/** Beside the tensors: all that the next step depends on. */
export interface TrainingCounters {
  /** Updates of the optimizer. */
  updates: number;
  /** Steps on the GPU, which random numbers are drawn from. */
  gpuSteps: number;
  /** With f16. */
  lossScale?: LossScaleState;
  /** With a moving average of the weights: updates in it. */
  averaged?: number;
}

/** Writes tensors and, as the metadata `key`, facts; with a digest of both. */
export function writeState(
  path: string,
  key: string,
  tensors: ReadonlyMap<string, FileTensor>,
  facts: TrainingCounters,
): void {
  const text = JSON.stringify(facts);
  writeSafetensors(path, tensors, { [key]: text, sha256: digest(tensors, text) });
}

/**
 * Reads what `writeState` wrote; facts are null where it is no state of a training. Throws DataError for a file that is damaged, if
 * only by a bit: from it a training would go on, but elsewhere. Files of versions that wrote no digest are taken as they are.
 */
export function readState<Facts extends TrainingCounters>(
  path: string,
  key: string,
): { tensors: Map<string, FileTensor>; facts: Facts | null } {
  const mend = 'Restore it, or start again elsewhere.';
  const { tensors, metadata } = readSafetensors(path, mend);
  const { [key]: text = '', sha256: written } = metadata;
  if (written !== undefined && written !== digest(tensors, text))
    throw new DataError(`${path}: is damaged: it does not hold what was written. ${mend}`);
  try {
    const facts = JSON.parse(text);
    return { tensors, facts: Number.isInteger(facts.updates) ? facts : null };
  } catch {
    return { tensors, facts: null };
  }
}

function digest(tensors: ReadonlyMap<string, FileTensor>, facts: string): string {
  const parts: (string | Uint8Array)[] = [facts];
  // A file's order is that of its types.
  for (const name of [...tensors.keys()].sort()) {
    const { dtype, shape, data } = tensors.get(name)!;
    parts.push(`${name} ${dtype} ${shape}\n`, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  return sha256(parts);
}

/** What `saveTraining` writes. */
interface TrainingState<Extra> extends TrainingCounters {
  seed: number;
  extra: Extra;
}

const PREFIX = 'optimizer.';

/** What the optimizer keeps for each parameter of the model, by its name in a file. */
function stateOf({ model, optimizer }: TrainingParts): Map<string, Tensor> {
  const names = new Map([...model.parameters()].map(([name, tensor]) => [tensor, name]));
  const parameters = optimizer.groups.flatMap(({ params }) => params);
  const found = new Map<string, Tensor>();
  const add = (kind: number | 'average', tensors: readonly Tensor[]) => {
    for (const [i, tensor] of tensors.entries()) {
      const name = names.get(parameters[i]!);
      if (name === undefined)
        throw new ConfigError(
          `the optimizer trains a parameter of shape ${tensor.shape.join('×')} that the module does not have; put both into one module.`,
        );
      found.set(`${PREFIX}${kind}.${name}`, tensor);
    }
  };
  for (const [k, tensors] of optimizer.state().entries()) add(k, tensors);
  if (optimizer.average) add('average', optimizer.average.tensors);
  return found;
}

/** Everything that continuing needs; `steps` is what the file says that norms have seen. */
export async function readTraining(
  parts: TrainingParts,
  steps: number,
): Promise<{ tensors: Map<string, FileTensor>; counters: TrainingCounters }> {
  const { model, optimizer } = parts;
  const { lossScale, average } = optimizer;
  const state = stateOf(parts);
  const counters: TrainingCounters = { updates: optimizer.steps, gpuSteps: stepCounter() };
  if (lossScale) counters.lossScale = await lossScale.read();
  if (average) counters.averaged = (await average.updates.readInts())[0]!;
  const tensors = await stateTensors(model, steps);
  for (const [name, tensor] of state)
    tensors.set(name, { dtype: 'F32', shape: [...tensor.shape], data: await tensor.read() });
  if (optimizer.steps !== counters.updates)
    throw new ConfigError('the training went on while its state was read: await that before the next update.');
  return { tensors, counters };
}

/** Puts it back into parts of the same kind. Nothing is changed where the optimizer is another; errors name `source`. */
export function writeTraining(
  parts: TrainingParts,
  tensors: ReadonlyMap<string, FileTensor>,
  { updates, gpuSteps, lossScale, averaged = 0 }: TrainingCounters,
  source: string,
): void {
  const { model, optimizer } = parts;
  const state = stateOf(parts);
  const another = 'It is of another optimizer, or of one with other options.';
  for (const name of state.keys())
    if (!tensors.has(name)) throw new DataError(`${source}: tensor '${name}' is missing. ${another}`);
  const weights = new Map<string, FileTensor>();
  const own = model.state();
  for (const [name, tensor] of tensors) {
    if (own.has(name) || !name.startsWith(PREFIX)) weights.set(name, tensor);
    else if (!state.has(name))
      throw new DataError(`${source}: tensor '${name}' is nothing that this optimizer keeps. ${another}`);
  }
  if (optimizer.lossScale && !lossScale)
    throw new DataError(`${source}: has no loss scale, so it was not trained in f16. Leave out lossScale.`);
  // The updates that the scale left out do not count, and an optimizer without one would count them.
  if (lossScale && !optimizer.lossScale)
    throw new DataError(`${source}: has a loss scale, so it was trained in f16. Give the optimizer a lossScale.`);
  loadTensors(model, weights, source);
  for (const [name, tensor] of state) tensor.write(toF32(tensors.get(name)!));
  if (lossScale) optimizer.lossScale?.restore(lossScale);
  optimizer.average?.updates.write(Uint32Array.of(averaged));
  optimizer.steps = updates;
  setStepCounter(gpuSteps);
}

/**
 * Writes everything that a training loop of your own needs to go on later, to the same bits: weights and running statistics, moments,
 * moving average and loss scale of the optimizer, its updates, seed and position of the GPU's random numbers. What else the loop needs
 * (its epoch, say) is `extra`, any JSON. A kill leaves either the old file or the new one. Call it between steps.
 *
 *     const parts = { model, optimizer };
 *     const { done } = existsSync(path) ? train.loadTraining<{ done: number }>(path, parts) : { done: 0 };
 *     for (let epoch = done; epoch < epochs; epoch++) {
 *       …
 *       await train.saveTraining(path, parts, { done: epoch + 1 });
 *     }
 *
 * Throws ConfigError where the optimizer trains what the module does not have, where gradients wait for an update, which the file has no
 * place for, and where an update comes before it is done.
 */
export async function saveTraining(path: string, parts: TrainingParts, extra: unknown = null): Promise<void> {
  if (parts.optimizer.parameters.some(({ grad }) => grad))
    throw new ConfigError(
      'saveTraining: gradients wait to be added to. Call it after the update, or `zeroGrad()` before.',
    );
  const { tensors, counters } = await readTraining(parts, parts.optimizer.steps);
  const state: TrainingState<unknown> = { ...counters, seed: stepSeed(), extra };
  writeState(path, 'training', tensors, state);
}

/**
 * Puts what `saveTraining` wrote into a module and an optimizer that were made as those were, and returns its `extra`. Throws DataError,
 * with nothing changed, where the file is another's: no training state, of another network, or of another optimizer.
 */
export function loadTraining<Extra = unknown>(path: string, parts: TrainingParts): Extra {
  const { tensors, facts } = readState<TrainingState<Extra>>(path, 'training');
  if (!facts) throw new DataError(`${path}: is no state of a training. Give a file that saveTraining wrote.`);
  writeTraining(parts, tensors, facts, path);
  setSeed(facts.seed);
  setStepCounter(facts.gpuSteps);
  return facts.extra;
}
