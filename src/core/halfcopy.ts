import { convert } from './convert.ts';
import type { Tensor } from './tensor.ts';
import { assume, effect, isTracing } from './trace.ts';

interface HalfCopy {
  half: Tensor;
  /** That of the tensor when it was copied. */
  version: number;
}

/** f16 copies of f32 tensors that somebody keeps up to date: an optimizer, in the same dispatch that updates the parameters. */
const copies = new WeakMap<Tensor, HalfCopy>();

/** Makes `half` the f16 copy of `tensor`, and copies once; null for none from now on. */
export function setHalfCopy(tensor: Tensor, half: Tensor | null): void {
  if (half) {
    copies.set(tensor, { half, version: tensor.storage.version });
    convert(tensor, half);
  } else copies.delete(tensor);
}

/** The f16 copy of a tensor, if it has one. Copies again where a view of the tensor or a kernel has written past the tensor. */
export function halfCopyOf(tensor: Tensor): Tensor | undefined {
  const copy = copies.get(tensor);
  if (!copy) return undefined;
  const isCurrent = () => copy.version === tensor.storage.version;
  const current = isCurrent();
  assume(copy, () => isCurrent() === current);
  if (!current) {
    convert(tensor, copy.half);
    if (!isRehearsed(tensor)) setCurrent(tensor, copy);
  }
  return copy.half;
}

/** True where what is recorded now never runs. */
const isRehearsed = ({ storage }: Tensor): boolean => storage.gpu.stream.capturing && !isTracing();

const setCurrent = (tensor: Tensor, copy: HalfCopy): void =>
  effect(() => {
    copy.version = tensor.storage.version;
  });

/** Counts that the content of `tensor` and its copy is another, for who wrote them past the tensors. */
export function updated(tensor: Tensor): void {
  if (isRehearsed(tensor)) return;
  tensor.storage.written();
  const copy = copies.get(tensor);
  if (!copy) return;
  copy.half.storage.written();
  setCurrent(tensor, copy);
}

/** Counts that the content of `tensor` is another, and copies again. */
export function rewritten(tensor: Tensor): void {
  if (isRehearsed(tensor)) return;
  tensor.storage.written();
  const copy = copies.get(tensor);
  if (!copy) return;
  convert(tensor, copy.half);
  setCurrent(tensor, copy);
}
