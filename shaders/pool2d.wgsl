// Pooling of x[N, H, W, C] to y[N, P, Q, C]. A window is K×L moved by a stride, or, when ADAPTIVE, the input rows from
// ⌊p·H/P⌋ up to ⌈(p+1)·H/P⌉. Backward gathers: an invocation owns one input element and visits the windows that cover it, so
// nothing is added by two invocations at once and the order is fixed.
//
// Elem is four neighbouring channels where their number allows it (`c` then counts fours), else one; Index the same in u32.
//#include "lib/grid.wgsl"

alias Elem = vec4f;
alias Index = vec4u;

const ADAPTIVE: bool = false;
const K: u32 = 2u;
const L: u32 = 2u;
const STRIDE_H: u32 = 2u;
const STRIDE_W: u32 = 2u;
const PAD_H: u32 = 0u;
const PAD_W: u32 = 0u;
// Average over K·L also where the window hangs over the edge.
const COUNT_PADDING: bool = true;

struct Params { n: u32, h: u32, w: u32, c: u32, p: u32, q: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Elem>;
@group(0) @binding(2) var<storage, read> dy: array<Elem>;
@group(0) @binding(3) var<storage, read_write> y: array<Elem>;
// Where the maximum was: row·W + column of the input.
@group(0) @binding(4) var<storage, read_write> argmax: array<Index>;
@group(0) @binding(5) var<storage, read> winner: array<Index>;
@group(0) @binding(6) var<storage, read_write> dx: array<Elem>;

// Input rows [x, y) of output row `at`, cut to the image.
fn window(at: u32, input: u32, output: u32, kernel: u32, stride: u32, pad: u32) -> vec2u {
  if (ADAPTIVE) { return vec2u(at * input / output, ((at + 1u) * input + output - 1u) / output); }
  let start = i32(at * stride) - i32(pad);
  return vec2u(u32(max(start, 0)), u32(min(start + i32(kernel), i32(input))));
}

// Output rows [x, y) whose windows hold input row `at`.
fn covering(at: u32, input: u32, output: u32, kernel: u32, stride: u32, pad: u32) -> vec2u {
  if (ADAPTIVE) { return vec2u(at * output / input, ((at + 1u) * output + input - 1u) / input); }
  let first = select(0u, (at + pad + 1u - kernel + stride - 1u) / stride, at + pad + 1u > kernel);
  return vec2u(first, min((at + pad) / stride + 1u, output));
}

fn area(rows: vec2u, columns: vec2u) -> f32 {
  if (COUNT_PADDING && !ADAPTIVE) { return f32(K * L); }
  return f32((rows.y - rows.x) * (columns.y - columns.x));
}

@compute @workgroup_size(GROUP)
fn max_forward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = rank(group, local, groups);
  if (i >= params.n * params.p * params.q * params.c) { return; }
  let channel = i % params.c;
  let q = (i / params.c) % params.q;
  let p = (i / params.c / params.q) % params.p;
  let n = i / params.c / params.q / params.p;
  let rows = window(p, params.h, params.p, K, STRIDE_H, PAD_H);
  let columns = window(q, params.w, params.q, L, STRIDE_W, PAD_W);
  var best_at = Index(rows.x * params.w + columns.x);
  var best = x[((n * params.h + rows.x) * params.w + columns.x) * params.c + channel];
  for (var h = rows.x; h < rows.y; h++) {
    for (var w = columns.x; w < columns.y; w++) {
      let v = x[((n * params.h + h) * params.w + w) * params.c + channel];
      // Nothing is greater than a NaN, so it stays. It is known by its bits: a compiler may take v != v for an ordered comparison.
      let wins = (v > best) | ((bitcast<Index>(v) & Index(0x7fffffffu)) > Index(0x7f800000u));
      best = select(best, v, wins);
      best_at = select(best_at, Index(h * params.w + w), wins);
    }
  }
  y[i] = best;
  argmax[i] = best_at;
}

@compute @workgroup_size(GROUP)
fn max_backward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = rank(group, local, groups);
  if (i >= params.n * params.h * params.w * params.c) { return; }
  let channel = i % params.c;
  let w = (i / params.c) % params.w;
  let h = (i / params.c / params.w) % params.h;
  let n = i / params.c / params.w / params.h;
  let rows = covering(h, params.h, params.p, K, STRIDE_H, PAD_H);
  let columns = covering(w, params.w, params.q, L, STRIDE_W, PAD_W);
  let own = Index(h * params.w + w);
  var sum = Elem();
  for (var p = rows.x; p < rows.y; p++) {
    for (var q = columns.x; q < columns.y; q++) {
      let at = ((n * params.p + p) * params.q + q) * params.c + channel;
      sum += select(Elem(), dy[at], winner[at] == own);
    }
  }
  dx[i] = sum;
}

// Row sums first, then their sum: two levels keep the rounding of a large window small.
@compute @workgroup_size(GROUP)
fn average_forward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = rank(group, local, groups);
  if (i >= params.n * params.p * params.q * params.c) { return; }
  let channel = i % params.c;
  let q = (i / params.c) % params.q;
  let p = (i / params.c / params.q) % params.p;
  let n = i / params.c / params.q / params.p;
  let rows = window(p, params.h, params.p, K, STRIDE_H, PAD_H);
  let columns = window(q, params.w, params.q, L, STRIDE_W, PAD_W);
  var sum = Elem();
  for (var h = rows.x; h < rows.y; h++) {
    var row = Elem();
    for (var w = columns.x; w < columns.y; w++) {
      row += x[((n * params.h + h) * params.w + w) * params.c + channel];
    }
    sum += row;
  }
  y[i] = sum / area(rows, columns);
}

@compute @workgroup_size(GROUP)
fn average_backward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = rank(group, local, groups);
  if (i >= params.n * params.h * params.w * params.c) { return; }
  let channel = i % params.c;
  let w = (i / params.c) % params.w;
  let h = (i / params.c / params.w) % params.h;
  let n = i / params.c / params.w / params.h;
  let over_p = covering(h, params.h, params.p, K, STRIDE_H, PAD_H);
  let over_q = covering(w, params.w, params.q, L, STRIDE_W, PAD_W);
  var sum = Elem();
  for (var p = over_p.x; p < over_p.y; p++) {
    let rows = window(p, params.h, params.p, K, STRIDE_H, PAD_H);
    for (var q = over_q.x; q < over_q.y; q++) {
      let columns = window(q, params.w, params.q, L, STRIDE_W, PAD_W);
      sum += dy[((n * params.p + p) * params.q + q) * params.c + channel] / area(rows, columns);
    }
  }
  dx[i] = sum;
}
