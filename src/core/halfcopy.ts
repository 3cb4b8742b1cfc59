import { convert } from './convert.ts';
import type { Tensor } from './tensor.ts';

/** f16 copies of f32 tensors that somebody keeps up to date: an optimizer, in the same dispatch that updates the parameters. */
const copies = new WeakMap<Tensor, Tensor>();

/** Makes `half` the f16 copy of `tensor`, and copies once; null for none from now on. */
export function setHalfCopy(tensor: Tensor, half: Tensor | null): void {
  if (half) {
    copies.set(tensor, half);
    convert(tensor, half);
  } else copies.delete(tensor);
}

export const halfCopyOf = (tensor: Tensor): Tensor | undefined => copies.get(tensor);

/** Counts that the content of `tensor` and its copy is another, for who wrote it past the tensors. */
export function updated(tensor: Tensor): void {
  tensor.storage.version++;
  const half = copies.get(tensor);
  if (half) half.storage.version++;
}

/** Counts that the content of `tensor` is another, and copies again. */
export function rewritten(tensor: Tensor): void {
  updated(tensor);
  const half = copies.get(tensor);
  if (half) convert(tensor, half);
}
