// c[M,N] = Σ_k a[M,K]·b[K,N] (+ bias[N]), one invocation an element: the readable twin of matmul.wgsl. A transposed operand lies
// in memory as [K,M] or [N,K].
//#include "lib/grid.wgsl"

const TRANSPOSE_A: bool = false;
const TRANSPOSE_B: bool = false;
const HAS_BIAS: bool = false;

// What the tensors are stored as, f32 or f16; all is computed in f32.
alias AElem = f32;
alias BElem = f32;
alias CElem = f32;

struct Params { M: u32, N: u32, K: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<AElem>;
@group(0) @binding(2) var<storage, read> b: array<BElem>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> c: array<CElem>;

@compute @workgroup_size(GROUP)
fn multiply(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = flatIndex(group, local, groups);
  if (i >= params.M * params.N) { return; }
  let n = i % params.N;
  let m = i / params.N;
  var sum = 0.0;
  for (var k = 0u; k < params.K; k++) {
    let fromA = select(m * params.K + k, k * params.M + m, TRANSPOSE_A);
    let fromB = select(k * params.N + n, n * params.K + k, TRANSPOSE_B);
    sum += f32(a[fromA]) * f32(b[fromB]);
  }
  if (HAS_BIAS) { sum += bias[n]; }
  c[i] = CElem(sum);
}
