// conv2d_wgrad: dw[K,R,S,C] = Σ over n,p,q of dy[n,p,q,k] · x[n, p·strideH−padH+r, q·strideW−padW+s, c]; f16 operands and f32
// sums, `tensor` tier (lib/tensor.wgsl says how it tiles).
//
// A GEMM with a small result and a long reduction: rows are output channels k, columns are (r, s, c), the reduction runs over all
// output pixels and is split over the grid's z where the result alone would not fill the machine. Both operands lie contiguous
// along the tile's sides. An invocation's columns are the same in every step, its pixels move.
//
// host: bindings params, x, dy, bias: any, out: dw, or a partial.
//       LOAD, STORE: lib/load_vectors.wgsl and lib/store_vectors.wgsl where C and K are multiples of 8, else …_scalars.wgsl.
//       A_BY_K and B_BY_K false.
//       Tiles, grid, splits: lib/tensor.wgsl with M = K, N = R·S·C, K = N·P·Q. hasBias 0.

struct Params {
  batch: u32,
  inH: u32,
  inW: u32,
  inC: u32,
  outH: u32,
  outW: u32,
  outC: u32,
  r: u32,
  s: u32,
  strideH: u32,
  strideW: u32,
  padH: u32,
  padW: u32,
  stepsPerSplit: u32,
  hasBias: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Elem>;
@group(0) @binding(2) var<storage, read> dy: array<Elem>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;

//#include LOAD "lib/load_vectors.wgsl"
//#include STORE "lib/store_vectors.wgsl"
//#include MMA "lib/mma_subgroup.wgsl"
//#include "lib/tensor.wgsl"

fn extent() -> vec2u { return vec2u(params.outC, params.r * params.s * params.inC); }

fn depth() -> u32 { return params.batch * params.outH * params.outW; }

fn rowStart(m: u32, split: u32) -> u32 { return (split * params.outC + m) * extent().y; }

fn placeA(m: u32, local: u32, i: u32) -> vec4u {
  return vec4u(placeOfA(i, local) + vec2u(0u, m), 0u, 0u);
}

fn loadA(start: vec4u, local: u32, i: u32, k: u32) -> Chunk {
  let place = start.xy + vec2u(k, 0u);
  let exists = place.x < depth() && place.y < params.outC;
  return chunkAt(&dy, place.x * params.outC + place.y, params.outC - place.y, exists);
}

// The column, and its (c, s, r).
fn placeB(n: u32, local: u32, i: u32) -> vec4u {
  let column = n + placeOfB(i, local).y;
  let tap = column / params.inC;
  let r = tap / params.s;
  return vec4u(column, column - tap * params.inC, tap - r * params.s, r);
}

fn loadB(place: vec4u, local: u32, i: u32, k: u32) -> Chunk {
  let pixel = k + placeOfB(i, local).x;
  let line = pixel / params.outW;
  let image = line / params.outH;
  let top = (line - image * params.outH) * params.strideH - params.padH;
  let left = (pixel - line * params.outW) * params.strideW - params.padW;
  var c = place.y;
  var s = place.z;
  var r = place.w;
  let exists = pixel < depth();
  if (VECTORS) {
    let at = ((image * params.inH + top + r) * params.inW + left + s) * params.inC + c;
    let inside = top + r < params.inH && left + s < params.inW;
    return chunkAt(&x, at, 8u, exists && inside && place.x < extent().y);
  }
  // A chunk may go over the end of a tap.
  var low: vec4h;
  var high: vec4h;
  for (var e = 0u; e < 8u; e++) {
    let at = ((image * params.inH + top + r) * params.inW + left + s) * params.inC + c;
    let inside = exists && top + r < params.inH && left + s < params.inW && place.x + e < extent().y;
    let value = select(0h, elementOf(x[select(0u, at, inside)]), inside);
    if (e < 4u) {
      low[e] = value;
    } else {
      high[e - 4u] = value;
    }
    c++;
    if (c == params.inC) {
      c = 0u;
      s++;
    }
    if (s == params.s) {
      s = 0u;
      r++;
    }
  }
  return chunkOf(low, high);
}

@compute
//#include SIZE "lib/subgroup_size_any.wgsl"
@workgroup_size(LANES * SUBGROUPS_M * SUBGROUPS_N)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32) {
  makeTile(workgroup, grid, local);
}
