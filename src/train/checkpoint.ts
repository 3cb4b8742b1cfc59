import { DataError } from '../core/errors.ts';
import type { Position, Trainer } from './trainer.ts';
import { readState, readTraining, type TrainingCounters, writeState, writeTraining } from './trainingstate.ts';

/** Beside the tensors: all that the next step depends on, and what the run has found so far. */
export interface CheckpointFacts extends TrainingCounters {
  position: Position;
  /** Seconds trained in all. */
  seconds: number;
  /** Seconds of them in the running epoch. */
  epochSeconds: number;
  best: { epoch: number; accuracy: number } | null;
  /** The variant of each problem so far; absent in checkpoints of versions that had no plan. */
  kernelPlan?: Record<string, string>;
}

/** Writes everything that continuing needs into one file, so that a kill leaves either the old checkpoint or the new one. */
export async function saveCheckpoint(
  path: string,
  trainer: Trainer,
  extra: Pick<CheckpointFacts, 'seconds' | 'epochSeconds' | 'best' | 'kernelPlan'>,
): Promise<void> {
  await trainer.settle();
  const { tensors, counters } = await readTraining(trainer, trainer.steps);
  const facts: CheckpointFacts = { ...extra, position: trainer.position, ...counters };
  writeState(path, 'checkpoint', tensors, facts);
}

/** Puts a checkpoint into a trainer that was built from the same options, and returns what the run had found. */
export function loadCheckpoint(path: string, trainer: Trainer): CheckpointFacts {
  const { tensors, facts } = readState<CheckpointFacts>(path, 'checkpoint');
  if (!facts?.position)
    throw new DataError(`${path}: is no checkpoint of a run. Restore it, or start again elsewhere.`);
  writeTraining(trainer, tensors, facts, path);
  trainer.resumeAt(facts.position);
  return facts;
}
