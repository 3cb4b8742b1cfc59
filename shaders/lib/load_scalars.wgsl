// Operands of lib/tensor.wgsl one by one, for kernels that take either this or lib/load_vectors.wgsl: for rows of any length.
const VECTORS: bool = false;
alias Elem = f16;

fn elementOf(element: Elem) -> f16 { return element; }

// Element `i` of those from `at` on, of which there are `count`.
fn elementAt(operand: ptr<storage, array<Elem>>, at: u32, i: u32, count: u32) -> f16 {
  return select(0h, (*operand)[at + min(i, max(count, 1u) - 1u)], i < count);
}

// The chunk from element `at` on; zero from the `count`-th on.
fn chunkAt(operand: ptr<storage, array<Elem>>, at: u32, count: u32, exists: bool) -> Chunk {
  let start = select(0u, at, exists);
  let left = select(0u, count, exists);
  return chunkOf(vec4h(elementAt(operand, start, 0u, left), elementAt(operand, start, 1u, left),
      elementAt(operand, start, 2u, left), elementAt(operand, start, 3u, left)),
    vec4h(elementAt(operand, start, 4u, left), elementAt(operand, start, 5u, left),
      elementAt(operand, start, 6u, left), elementAt(operand, start, 7u, left)));
}
