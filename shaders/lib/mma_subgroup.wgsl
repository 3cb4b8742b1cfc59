// Products of MATRIX_M×MATRIX_K by MATRIX_K×MATRIX_N on tensor cores: what lib/tensor.wgsl multiplies with. The matrices belong to a
// subgroup as a whole, and are loaded from and stored to workgroup memory by it. Its arrays have scalar elements, so an offset or a
// stride is the same whether elements or components are counted.
alias Left = subgroup_matrix_left<f16, MATRIX_K, MATRIX_M>;
alias Right = subgroup_matrix_right<f16, MATRIX_N, MATRIX_K>;
alias Sum = subgroup_matrix_result<f32, MATRIX_N, MATRIX_M>;

// The same in all lanes, and known to be.
fn subgroupOf(local: u32) -> u32 { return subgroupBroadcastFirst(local / LANES); }

@diagnostic(off, chromium.subgroup_matrix_uniformity)
fn loadLeft(row: u32, k: u32) -> Left {
  if (A_BY_K) {
    return subgroupMatrixLoad<Left, row_major>(&stagedA, row * STRIDE_A + k, STRIDE_A);
  }
  return subgroupMatrixLoad<Left, col_major>(&stagedA, k * STRIDE_A + row, STRIDE_A);
}

@diagnostic(off, chromium.subgroup_matrix_uniformity)
fn loadRight(column: u32, k: u32) -> Right {
  if (B_BY_K) {
    return subgroupMatrixLoad<Right, col_major>(&stagedB, column * STRIDE_B + k, STRIDE_B);
  }
  return subgroupMatrixLoad<Right, row_major>(&stagedB, k * STRIDE_B + column, STRIDE_B);
}

@diagnostic(off, chromium.subgroup_matrix_uniformity)
fn multiplyAdd(left: Left, right: Right, sum: Sum, lane: u32) -> Sum {
  return subgroupMatrixMultiplyAccumulate(left, right, sum);
}

@diagnostic(off, chromium.subgroup_matrix_uniformity)
fn storeSum(sum: Sum, at: u32, lane: u32) {
  subgroupMatrixStore<row_major>(&sums, at, sum, STRIDE_SUMS);
}
