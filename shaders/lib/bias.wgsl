// For kernels that include lib/staged.wgsl and have `bias`, an element for each column, and params.hasBias.
fn withBias(job: Job, column: u32, quad: mat4x4f) -> mat4x4f {
  var add = vec4f();
  if (params.hasBias != 0u) {
    let at = min(vec4u(column) + FOUR, vec4u(job.extent.y - 1u));
    add = vec4f(bias[at.x], bias[at.y], bias[at.z], bias[at.w]);
  }
  return mat4x4f(quad[0] + add, quad[1] + add, quad[2] + add, quad[3] + add);
}
