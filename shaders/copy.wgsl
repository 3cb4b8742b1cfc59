// Copies a box of up to six dimensions between two tensors, each with its own offset and strides:
//   y[toOffset + Σ iₖ·tₖ] = x[fromOffset + Σ iₖ·fₖ]
// Permuting, slicing, padding, concatenating and repeating (stride 0) are all this.
//#include "lib/grid.wgsl"

alias Elem = f32;

struct Params {
  n: u32, fromOffset: u32, toOffset: u32,
  d1: u32, d2: u32, d3: u32, d4: u32, d5: u32,
  f0: u32, f1: u32, f2: u32, f3: u32, f4: u32, f5: u32,
  t0: u32, t1: u32, t2: u32, t3: u32, t4: u32, t5: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Elem>;
@group(0) @binding(2) var<storage, read_write> y: array<Elem>;

@compute @workgroup_size(GROUP)
fn box(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = flatIndex(group, local, groups);
  if (i >= params.n) { return; }
  var rest = i;
  let i5 = rest % params.d5; rest /= params.d5;
  let i4 = rest % params.d4; rest /= params.d4;
  let i3 = rest % params.d3; rest /= params.d3;
  let i2 = rest % params.d2; rest /= params.d2;
  let i1 = rest % params.d1; rest /= params.d1;
  let fromAt = rest * params.f0 + i1 * params.f1 + i2 * params.f2 + i3 * params.f3 + i4 * params.f4 + i5 * params.f5;
  let toAt = rest * params.t0 + i1 * params.t1 + i2 * params.t2 + i3 * params.t3 + i4 * params.t4 + i5 * params.t5;
  y[params.toOffset + toAt] = x[params.fromOffset + fromAt];
}
