import { convert } from './convert.ts';
import type { Tensor } from './tensor.ts';

/** f16 copies of f32 tensors that somebody keeps up to date: an optimizer, in the same dispatch that updates the parameters. */
const twins = new WeakMap<Tensor, Tensor>();

/** Makes `twin` the f16 copy of `tensor`, and copies once; null for none from now on. */
export function setTwin(tensor: Tensor, twin: Tensor | null): void {
  if (twin) {
    twins.set(tensor, twin);
    convert(tensor, twin);
  } else twins.delete(tensor);
}

export const twinOf = (tensor: Tensor): Tensor | undefined => twins.get(tensor);

/** Counts that the content of `tensor` and its copy is another, for who wrote it past the tensors. */
export function updated(tensor: Tensor): void {
  tensor.storage.version++;
  const twin = twins.get(tensor);
  if (twin) twin.storage.version++;
}

/** Counts that the content of `tensor` is another, and copies again. */
export function rewritten(tensor: Tensor): void {
  updated(tensor);
  const twin = twins.get(tensor);
  if (twin) convert(tensor, twin);
}
