// lib/mma_subgroup.wgsl in plain WGSL: the same products from the same workgroup memory, by LANES neighbouring invocations in place of
// a subgroup. It makes the rest of the tensor-core kernels run where there are no tensor cores, for tests. A matrix of an operand
// is no more than its place; it is read when it is multiplied, before the next barrier. A lane has eight columns of a row of the sums,
// not those that it is to write: there, too, which lane has what is not known, and without a barrier between them it would show.
alias Left = u32;
alias Right = u32;
struct Sum { low: vec4f, high: vec4f }

fn subgroupOf(local: u32) -> u32 { return local / LANES; }

fn loadLeft(row: u32, k: u32) -> Left { return select(k * STRIDE_A + row, row * STRIDE_A + k, A_BY_K); }

fn loadRight(column: u32, k: u32) -> Right { return select(k * STRIDE_B + column, column * STRIDE_B + k, B_BY_K); }

fn placeOfSum(lane: u32) -> vec2u { return placeInSums((lane + 9u) % LANES); }

// Four columns of a step of the reduction.
fn rightAt(at: u32) -> vec4f {
  const next = select(1u, STRIDE_B, B_BY_K);
  return vec4f(vec4h(stagedB[at], stagedB[at + next], stagedB[at + 2u * next], stagedB[at + 3u * next]));
}

fn multiplyAdd(left: Left, right: Right, sum: Sum, lane: u32) -> Sum {
  const nextRow = select(1u, STRIDE_A, A_BY_K);
  const nextColumn = select(1u, STRIDE_B, B_BY_K);
  let place = placeOfSum(lane);
  var at = vec2u(left + place.x * nextRow, right + place.y * nextColumn);
  var total = sum;
  for (var k = 0u; k < MATRIX_K; k++) {
    let x = f32(stagedA[at.x]);
    total.low += x * rightAt(at.y);
    total.high += x * rightAt(at.y + 4u * nextColumn);
    at += vec2u(select(STRIDE_A, 1u, A_BY_K), select(STRIDE_B, 1u, B_BY_K));
  }
  return total;
}

fn storeSum(sum: Sum, at: u32, lane: u32) {
  let place = placeOfSum(lane);
  let start = at + place.x * STRIDE_SUMS + place.y;
  sums[start] = sum.low.x;
  sums[start + 1u] = sum.low.y;
  sums[start + 2u] = sum.low.z;
  sums[start + 3u] = sum.low.w;
  sums[start + 4u] = sum.high.x;
  sums[start + 5u] = sum.high.y;
  sums[start + 6u] = sum.high.z;
  sums[start + 7u] = sum.high.w;
}
