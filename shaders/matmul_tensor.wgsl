// matmul: c[M,N] = op(a)·op(b) (+ bias[N]), f16 operands and f32 sums, `tensor` tier (lib/tensor.wgsl says how it tiles).
//
// host: bindings params, a, b, bias, out: c. Without a bias any read-only tensor stands in (hasBias 0).
//       a is [M,K], or [K,M] with A_BY_K false; b is [N,K], or [K,N] with B_BY_K false.
//       LOAD, STORE: lib/load_vectors.wgsl and lib/store_vectors.wgsl where N and both operands' contiguous extents are multiples
//       of 8, else …_scalars.wgsl.
//       Tiles, grid, splits: lib/tensor.wgsl.

struct Params { m: u32, n: u32, k: u32, stepsPerSplit: u32, hasBias: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<Elem>;
@group(0) @binding(2) var<storage, read> b: array<Elem>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;

//#include LOAD "lib/load_vectors.wgsl"
//#include STORE "lib/store_vectors.wgsl"
//#include MMA "lib/mma_subgroup.wgsl"
//#include "lib/tensor.wgsl"

fn extent() -> vec2u { return vec2u(params.m, params.n); }

fn depth() -> u32 { return params.k; }

fn rowStart(m: u32, split: u32) -> u32 { return (split * params.m + m) * params.n; }

fn placeA(m: u32, local: u32, i: u32) -> vec4u {
  return vec4u(placeOfA(i, local) + select(vec2u(0u, m), vec2u(m, 0u), A_BY_K), 0u, 0u);
}

fn loadA(start: vec4u, local: u32, i: u32, k: u32) -> Chunk {
  let place = start.xy + select(vec2u(k, 0u), vec2u(0u, k), A_BY_K);
  let extents = select(vec2u(params.k, params.m), vec2u(params.m, params.k), A_BY_K);
  return chunkAt(&a, place.x * extents.y + place.y, extents.y - place.y, all(place < extents));
}

fn placeB(n: u32, local: u32, i: u32) -> vec4u {
  return vec4u(placeOfB(i, local) + select(vec2u(0u, n), vec2u(n, 0u), B_BY_K), 0u, 0u);
}

fn loadB(start: vec4u, local: u32, i: u32, k: u32) -> Chunk {
  let place = start.xy + select(vec2u(k, 0u), vec2u(0u, k), B_BY_K);
  let extents = select(vec2u(params.k, params.n), vec2u(params.n, params.k), B_BY_K);
  return chunkAt(&b, place.x * extents.y + place.y, extents.y - place.y, all(place < extents));
}

@compute
//#include SIZE "lib/subgroup_size_any.wgsl"
@workgroup_size(LANES * SUBGROUPS_M * SUBGROUPS_N)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32) {
  makeTile(workgroup, grid, local);
}
