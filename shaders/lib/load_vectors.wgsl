// Operands of lib/tensor.wgsl by eights, for kernels that take either this or lib/load_scalars.wgsl: where what is contiguous is a
// multiple of eight long. A chunk is 16 bytes, loaded at once.
const VECTORS: bool = true;
alias Elem = vec4u;

// For what a kernel says of rows of any length, which VECTORS keeps from running.
fn elementOf(words: Elem) -> f16 { return bitcast<vec2h>(words.x).x; }

// The chunk from element `at` on, a multiple of 8; `count` is 8 or more. One that does not exist is loaded from the start: a load
// behind a condition would be waited for where its branch ends, ahead of the products that are to hide it.
fn chunkAt(operand: ptr<storage, array<Elem>>, at: u32, count: u32, exists: bool) -> Chunk {
  return Chunk((*operand)[select(0u, at / 8u, exists)], exists);
}
