import { DataError } from '../core/errors.ts';
import type { Normalisation } from '../data/batches.ts';
import { createModel, MODEL_NAMES, type ModelOptions } from '../models/index.ts';
import { type Module, readState, writeState } from '../nn/index.ts';
import { type FileTensor, readSafetensors, toF32, writeSafetensors } from './safetensors.ts';

/** What a model file says beside its tensors: enough to build the network and feed it. */
export interface ModelFacts {
  arch: string;
  options: ModelOptions;
  classes: string[];
  normalisation: Normalisation;
  /** Side that images were stored at before they were resized to the input's. */
  storedSide: number;
}

const RUNNING_MEAN = /running_mean$/;

/**
 * A network's state as file tensors, named and laid out as torchvision's state_dict. `steps` becomes the `num_batches_tracked`
 * that PyTorch keeps with each batch norm.
 */
export async function stateTensors(model: Module, steps: number): Promise<Map<string, FileTensor>> {
  const tensors = new Map<string, FileTensor>();
  for (const [name, { shape, data }] of await readState(model)) {
    tensors.set(name, { dtype: 'F32', shape: [...shape], data });
    if (RUNNING_MEAN.test(name)) {
      const counter = name.replace(RUNNING_MEAN, 'num_batches_tracked');
      tensors.set(counter, { dtype: 'I64', shape: [], data: BigInt64Array.of(BigInt(steps)) });
    }
  }
  return tensors;
}

/** Puts file tensors into a network; throws DataError as `writeState` does. */
export function loadTensors(model: Module, tensors: ReadonlyMap<string, FileTensor>, source: string): void {
  const floats = new Map<string, { shape: number[]; data: Float32Array }>();
  for (const [name, tensor] of tensors) {
    if (!name.endsWith('num_batches_tracked')) floats.set(name, { shape: tensor.shape, data: toF32(tensor) });
  }
  writeState(model, floats, source);
}

/** Writes `model.safetensors`: weights that PyTorch loads, and in the metadata what dawngrad needs to use them. */
export async function saveModel(path: string, model: Module, facts: ModelFacts, steps: number): Promise<void> {
  const metadata = { format: 'pt', dawngrad: JSON.stringify(facts) };
  writeSafetensors(path, await stateTensors(model, steps), metadata);
}

/** Reads a model file and builds its network, in evaluation mode. Throws DataError when it is not one of ours. */
export function loadModel(path: string): { model: Module; facts: ModelFacts } {
  const { tensors, metadata } = readSafetensors(path);
  const facts = parseFacts(metadata.dawngrad, path);
  const model = createModel(facts.arch, facts.options).eval();
  loadTensors(model, tensors, path);
  return { model, facts };
}

function parseFacts(text: string | undefined, path: string): ModelFacts {
  if (!text) {
    throw new DataError(`${path}: its metadata does not say which network it is. Give the model.safetensors of a run.`);
  }
  let facts: ModelFacts;
  try {
    facts = JSON.parse(text) as ModelFacts;
  } catch {
    throw new DataError(`${path}: its metadata 'dawngrad' is not JSON. Give the model.safetensors of a run.`);
  }
  if (!MODEL_NAMES.includes(facts.arch)) {
    throw new DataError(`${path}: holds a '${facts.arch}'; this version knows ${MODEL_NAMES.join(', ')}.`);
  }
  if (!facts.options || !Array.isArray(facts.classes) || !facts.normalisation || !facts.storedSide) {
    throw new DataError(`${path}: its metadata is incomplete. Give the model.safetensors of a run.`);
  }
  return facts;
}
