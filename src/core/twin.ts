import { convert } from './convert.ts';
import type { Tensor } from './tensor.ts';

/** f16 copies of f32 tensors that somebody keeps up to date: an optimizer, in the same dispatch that updates the parameters. */
const twins = new WeakMap<Tensor, Tensor>();

/** Makes `twin` the f16 copy of `tensor`, and copies once; null for none from now on. */
export function setTwin(tensor: Tensor, twin: Tensor | null): void {
  if (twin) twins.set(tensor, twin);
  else twins.delete(tensor);
  refreshTwin(tensor);
}

export const twinOf = (tensor: Tensor): Tensor | undefined => twins.get(tensor);

/** Copies again, after `tensor` got a new content. */
export function refreshTwin(tensor: Tensor): void {
  const twin = twins.get(tensor);
  if (twin) convert(tensor, twin);
}
