// Nearest-neighbour upsampling of x[N,H,W,C] by whole factors: y[n,p,q,c] = x[n, ⌊p/FACTOR_H⌋, ⌊q/FACTOR_W⌋, c]. Its gradient sums
// the FACTOR_H×FACTOR_W values that came of one.
//
// Four neighbouring channels at once where their number allows it (`c` then counts fours), else one.
//#include "lib/grid.wgsl"

// Elem is what that is stored as, Vec what is computed with.
alias Elem = vec4f;
alias Vec = vec4f;

const FACTOR_H: u32 = 2u;
const FACTOR_W: u32 = 2u;

// Extents of x.
struct Params { n: u32, h: u32, w: u32, c: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Elem>;
@group(0) @binding(2) var<storage, read_write> out: array<Elem>;

@compute @workgroup_size(GROUP)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = flatIndex(group, local, groups);
  let width = params.w * FACTOR_W;
  let height = params.h * FACTOR_H;
  if (i >= params.n * height * width * params.c) { return; }
  let channel = i % params.c;
  let q = i / params.c % width;
  let line = i / params.c / width;
  let image = line / height;
  let p = line % height;
  out[i] = x[((image * params.h + p / FACTOR_H) * params.w + q / FACTOR_W) * params.c + channel];
}

// `x` is the gradient of y, `out` that of x.
@compute @workgroup_size(GROUP)
fn backward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = flatIndex(group, local, groups);
  if (i >= params.n * params.h * params.w * params.c) { return; }
  let channel = i % params.c;
  let column = i / params.c % params.w;
  let line = i / params.c / params.w;
  let width = params.w * FACTOR_W;
  let first = (line * FACTOR_H * width + column * FACTOR_W) * params.c + channel;
  var sum = Vec();
  for (var r = 0u; r < FACTOR_H; r++) {
    for (var s = 0u; s < FACTOR_W; s++) {
      sum += Vec(x[first + (r * width + s) * params.c]);
    }
  }
  out[i] = Elem(sum);
}
