// The most multiply-adds that an adapter does: nothing is loaded, and each invocation has 4, 8 or 16 independent vec4 chains to
// hide the latency of one. A round is 32 vec4 multiply-adds, 256 operations, whatever the number of chains. The chains start from
// different values and converge to shift/(1 − scale), so that no compiler can fold them and no number overflows.
//#include "lib/grid.wgsl"

struct Params { n: u32, rounds: u32, scale: f32, shift: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

struct Four { a: vec4f, b: vec4f, c: vec4f, d: vec4f }

fn start(i: u32, chain: f32) -> Four {
  let base = vec4f(f32(i)) + vec4f(chain, chain + 1.0, chain + 2.0, chain + 3.0);
  return Four(base, base + 4.0, base + 8.0, base + 12.0);
}

fn advance(v: Four) -> Four {
  let scale = vec4f(params.scale);
  let shift = vec4f(params.shift);
  return Four(fma(v.a, scale, shift), fma(v.b, scale, shift), fma(v.c, scale, shift), fma(v.d, scale, shift));
}

fn total(v: Four) -> f32 { return dot(v.a + v.b + v.c + v.d, vec4f(1.0)); }

@compute @workgroup_size(GROUP)
fn chains4(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = flatIndex(group, local, groups);
  if (i >= params.n) { return; }
  var v = start(i, 0.0);
  for (var round = 0u; round < params.rounds; round++) {
    v = advance(advance(advance(advance(v))));
    v = advance(advance(advance(advance(v))));
  }
  out[i] = total(v);
}

@compute @workgroup_size(GROUP)
fn chains8(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = flatIndex(group, local, groups);
  if (i >= params.n) { return; }
  var v = start(i, 0.0);
  var w = start(i, 16.0);
  for (var round = 0u; round < params.rounds; round++) {
    v = advance(v); w = advance(w);
    v = advance(v); w = advance(w);
    v = advance(v); w = advance(w);
    v = advance(v); w = advance(w);
  }
  out[i] = total(v) + total(w);
}

@compute @workgroup_size(GROUP)
fn chains16(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = flatIndex(group, local, groups);
  if (i >= params.n) { return; }
  var v = start(i, 0.0);
  var w = start(i, 16.0);
  var x = start(i, 32.0);
  var y = start(i, 48.0);
  for (var round = 0u; round < params.rounds; round++) {
    v = advance(v); w = advance(w); x = advance(x); y = advance(y);
    v = advance(v); w = advance(w); x = advance(x); y = advance(y);
  }
  out[i] = total(v) + total(w) + total(x) + total(y);
}
