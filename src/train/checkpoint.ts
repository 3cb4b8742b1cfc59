import { DataError } from '../core/errors.ts';
import { setStepCounter, stepCounter } from '../core/stepbuffer.ts';
import type { Tensor } from '../core/tensor.ts';
import type { LossScaleState } from '../optim/index.ts';
import { loadTensors, stateTensors } from './modelfile.ts';
import { type FileTensor, readSafetensors, toF32, writeSafetensors } from './safetensors.ts';
import type { Position, Trainer } from './trainer.ts';

/** Beside the tensors: all that the next step depends on, and what the run has found so far. */
export interface CheckpointFacts {
  position: Position;
  /** Updates of the optimizer. */
  updates: number;
  /** Steps on the GPU, which random numbers are drawn from. */
  gpuSteps: number;
  /** With f16. */
  lossScale?: LossScaleState;
  /** With a moving average of the weights: updates in it. */
  averaged?: number;
  /** Seconds trained in all. */
  seconds: number;
  /** Seconds of them in the running epoch. */
  epochSeconds: number;
  best: { epoch: number; accuracy: number } | null;
  /** The variant of each problem so far; absent in checkpoints of versions that had no plan. */
  kernelPlan?: Record<string, string>;
}

const stateName = (k: number | 'average', parameter: string): string => `optimizer.${k}.${parameter}`;

/** What the optimizer keeps for each parameter, by the name that stands before the parameter's. */
function* stateOf({ optimizer }: Trainer): Generator<[kind: number | 'average', tensors: readonly Tensor[]]> {
  yield* optimizer.state().entries();
  if (optimizer.average) yield ['average', optimizer.average.tensors];
}

/** Names of the optimizer's parameters, in its order. */
function namesOf({ model, optimizer }: Trainer): string[] {
  const names = new Map([...model.parameters()].map(([name, tensor]) => [tensor, name]));
  return optimizer.groups.flatMap(({ params }) => params.map((tensor) => names.get(tensor)!));
}

/**
 * Writes everything that continuing needs into one file, so that a kill leaves either the old checkpoint or the new one: weights
 * and running statistics, optimizer state, position, random state.
 */
export async function saveCheckpoint(
  path: string,
  trainer: Trainer,
  extra: Pick<CheckpointFacts, 'seconds' | 'epochSeconds' | 'best' | 'kernelPlan'>,
): Promise<void> {
  await trainer.settle();
  const { position, optimizer, model, lossScale } = trainer;
  const facts: CheckpointFacts = { ...extra, position, updates: optimizer.steps, gpuSteps: stepCounter() };
  if (lossScale) facts.lossScale = await lossScale.read();
  if (optimizer.average) facts.averaged = (await optimizer.average.updates.readInts())[0]!;
  const tensors = await stateTensors(model, trainer.steps);
  const names = namesOf(trainer);
  for (const [k, state] of stateOf(trainer)) {
    for (const [i, tensor] of state.entries()) {
      tensors.set(stateName(k, names[i]!), { dtype: 'F32', shape: [...tensor.shape], data: await tensor.read() });
    }
  }
  writeSafetensors(path, tensors, { checkpoint: JSON.stringify(facts) });
}

/** Puts a checkpoint into a trainer that was built from the same options, and returns what the run had found. */
export function loadCheckpoint(path: string, trainer: Trainer): CheckpointFacts {
  const { tensors, metadata } = readSafetensors(path);
  const facts = parse(metadata.checkpoint, path);
  const { model, optimizer } = trainer;
  const weights = new Map([...tensors].filter(([name]) => !name.startsWith('optimizer.')));
  loadTensors(model, weights, path);
  const names = namesOf(trainer);
  for (const [k, state] of stateOf(trainer)) {
    for (const [i, tensor] of state.entries()) {
      const saved: FileTensor | undefined = tensors.get(stateName(k, names[i]!));
      if (!saved)
        throw new DataError(
          `${path}: tensor '${stateName(k, names[i]!)}' is missing. It is the checkpoint of another optimizer.`,
        );
      tensor.write(toF32(saved));
    }
  }
  if (trainer.lossScale) {
    if (!facts.lossScale) throw new DataError(`${path}: has no loss scale, so it is no checkpoint of a run in f16.`);
    trainer.lossScale.restore(facts.lossScale);
  }
  optimizer.average?.updates.write(Uint32Array.of(facts.averaged ?? 0));
  optimizer.steps = facts.updates;
  setStepCounter(facts.gpuSteps);
  trainer.resumeAt(facts.position);
  return facts;
}

function parse(text: string | undefined, path: string): CheckpointFacts {
  try {
    const facts = JSON.parse(text ?? '') as CheckpointFacts;
    if (facts.position && Number.isInteger(facts.updates)) return facts;
  } catch {
    // Said below, as for any other file.
  }
  throw new DataError(`${path}: is no checkpoint of a run. Give --resume the folder of one.`);
}
