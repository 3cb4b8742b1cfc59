// Pooling of x[N, H, W, C] to y[N, P, Q, C]. A window is K×L moved by a stride, or, when ADAPTIVE, the input rows from
// ⌊p·H/P⌋ up to ⌈(p+1)·H/P⌉. Backward gathers: an invocation owns one input element and visits the windows that cover it, so
// nothing is added by two invocations at once and the order is fixed.
//
// Where windows do not hang over the edge, an invocation walks along a row instead, and so it does on the way back where they
// also fill the image side by side: no index is divided for each element, and each dy is read once.
//
// Elem is what four neighbouring channels are stored in where their number allows it (`c` then counts fours), else one; Vec is
// what they are computed with, Index the same in u32, and Winners what the ranks of their maxima are stored in.
//#include "lib/grid.wgsl"
//#include "lib/nan.wgsl"
//#include WINNERS "lib/winners_bytes.wgsl"

alias Elem = vec4f;
alias Vec = vec4f;
alias Index = vec4u;
alias Bits = Index;
alias Winners = u32;

const ADAPTIVE: bool = false;
const K: u32 = 2u;
const L: u32 = 2u;
const STRIDE_H: u32 = 2u;
const STRIDE_W: u32 = 2u;
const PAD_H: u32 = 0u;
const PAD_W: u32 = 0u;
// Average over K·L also where the window hangs over the edge.
const COUNT_PADDING: bool = true;

// `strips` invocations share a row of windows, `span` for each.
struct Params { n: u32, h: u32, w: u32, c: u32, p: u32, q: u32, span: u32, strips: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Elem>;
@group(0) @binding(2) var<storage, read> dy: array<Elem>;
@group(0) @binding(3) var<storage, read_write> y: array<Elem>;
// Where the maximum was, see `rankIn`.
@group(0) @binding(4) var<storage, read_write> argmax: array<Winners>;
@group(0) @binding(5) var<storage, read> winner: array<Winners>;
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

// How input (h, w) is known among the elements of window (p, q): by its place in a window that is the same everywhere, or in the image.
fn rankIn(p: u32, q: u32, h: u32, w: u32) -> Index {
  if (ADAPTIVE) { return Index(h * params.w + w); }
  return Index((h + PAD_H - p * STRIDE_H) * L + w + PAD_W - q * STRIDE_W);
}

fn area(rows: vec2u, columns: vec2u) -> f32 {
  if (COUNT_PADDING && !ADAPTIVE) { return f32(K * L); }
  return f32((rows.y - rows.x) * (columns.y - columns.x));
}

// The largest elements so far, and which of their windows they are.
struct Best { value: Vec, at: Index }

fn larger(best: Best, element: u32, at: Index) -> Best {
  let v = Vec(x[element]);
  // Nothing is greater than a NaN, so it stays.
  let wins = (v > best.value) | (magnitude(v) > INFINITE);
  return Best(select(best.value, v, wins), select(best.at, at, wins));
}

@compute @workgroup_size(GROUP)
fn maxForward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = flatIndex(group, local, groups);
  if (i >= params.n * params.p * params.q * params.c) { return; }
  let channel = i % params.c;
  let q = (i / params.c) % params.q;
  let p = (i / params.c / params.q) % params.p;
  let n = i / params.c / params.q / params.p;
  let rows = window(p, params.h, params.p, K, STRIDE_H, PAD_H);
  let columns = window(q, params.w, params.q, L, STRIDE_W, PAD_W);
  let corner = ((n * params.h + rows.x) * params.w + columns.x) * params.c + channel;
  var best = Best(Vec(x[corner]), rankIn(p, q, rows.x, columns.x));
  for (var h = rows.x; h < rows.y; h++) {
    for (var w = columns.x; w < columns.y; w++) {
      best = larger(best, ((n * params.h + h) * params.w + w) * params.c + channel, rankIn(p, q, h, w));
    }
  }
  y[i] = Elem(best.value);
  argmax[i] = pack(best.at);
}

// A strip of a row of windows: the first and the one after the last, and where the first is in y, and its corner in x.
struct Strip { first: u32, end: u32, window: u32, corner: u32 }

fn stripOf(i: u32) -> Strip {
  let channel = i % params.c;
  let row = i / params.c / params.strips;
  let first = ((i / params.c) % params.strips) * params.span;
  let n = row / params.p;
  let top = n * params.h + (row - n * params.p) * STRIDE_H;
  return Strip(
    first, min(first + params.span, params.q),
    (row * params.q + first) * params.c + channel,
    (top * params.w + first * STRIDE_W) * params.c + channel,
  );
}

// Windows that do not hang over the edge.
@compute @workgroup_size(GROUP)
fn maxInside(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = flatIndex(group, local, groups);
  if (i >= params.n * params.p * params.strips * params.c) { return; }
  let strip = stripOf(i);
  var window = strip.window;
  var corner = strip.corner;
  for (var q = strip.first; q < strip.end; q++) {
    var best = Best(Vec(x[corner]), Index());
    if (K == 2u && L == 2u) {
      // Loops of constant length are loops to SwiftShader: without them the usual window takes half the time.
      best = larger(best, corner + params.c, Index(1u));
      best = larger(best, corner + params.w * params.c, Index(2u));
      best = larger(best, corner + (params.w + 1u) * params.c, Index(3u));
    } else {
      for (var k = 0u; k < K; k++) {
        for (var l = 0u; l < L; l++) {
          best = larger(best, corner + (k * params.w + l) * params.c, Index(k * L + l));
        }
      }
    }
    y[window] = Elem(best.value);
    argmax[window] = pack(best.at);
    window += params.c;
    corner += STRIDE_W * params.c;
  }
}

// Windows that lie side by side and leave nothing over.
@compute @workgroup_size(GROUP)
fn maxTilesBackward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = flatIndex(group, local, groups);
  if (i >= params.n * params.p * params.strips * params.c) { return; }
  let strip = stripOf(i);
  var window = strip.window;
  var corner = strip.corner;
  for (var q = strip.first; q < strip.end; q++) {
    let g = Vec(dy[window]);
    let bestAt = unpack(winner[window]);
    if (K == 2u && L == 2u) {
      dx[corner] = Elem(select(Vec(), g, bestAt == Index(0u)));
      dx[corner + params.c] = Elem(select(Vec(), g, bestAt == Index(1u)));
      dx[corner + params.w * params.c] = Elem(select(Vec(), g, bestAt == Index(2u)));
      dx[corner + (params.w + 1u) * params.c] = Elem(select(Vec(), g, bestAt == Index(3u)));
    } else {
      for (var k = 0u; k < K; k++) {
        for (var l = 0u; l < L; l++) {
          dx[corner + (k * params.w + l) * params.c] = Elem(select(Vec(), g, bestAt == Index(k * L + l)));
        }
      }
    }
    window += params.c;
    corner += STRIDE_W * params.c;
  }
}

@compute @workgroup_size(GROUP)
fn maxBackward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = flatIndex(group, local, groups);
  if (i >= params.n * params.h * params.w * params.c) { return; }
  let channel = i % params.c;
  let w = (i / params.c) % params.w;
  let h = (i / params.c / params.w) % params.h;
  let n = i / params.c / params.w / params.h;
  let rows = covering(h, params.h, params.p, K, STRIDE_H, PAD_H);
  let columns = covering(w, params.w, params.q, L, STRIDE_W, PAD_W);
  var sum = Vec();
  for (var p = rows.x; p < rows.y; p++) {
    for (var q = columns.x; q < columns.y; q++) {
      let at = ((n * params.p + p) * params.q + q) * params.c + channel;
      sum += select(Vec(), Vec(dy[at]), unpack(winner[at]) == rankIn(p, q, h, w));
    }
  }
  dx[i] = Elem(sum);
}

// Row sums first, then their sum: two levels keep the rounding of a large window small.
@compute @workgroup_size(GROUP)
fn averageForward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = flatIndex(group, local, groups);
  if (i >= params.n * params.p * params.q * params.c) { return; }
  let channel = i % params.c;
  let q = (i / params.c) % params.q;
  let p = (i / params.c / params.q) % params.p;
  let n = i / params.c / params.q / params.p;
  let rows = window(p, params.h, params.p, K, STRIDE_H, PAD_H);
  let columns = window(q, params.w, params.q, L, STRIDE_W, PAD_W);
  var sum = Vec();
  for (var h = rows.x; h < rows.y; h++) {
    var row = Vec();
    for (var w = columns.x; w < columns.y; w++) {
      row += Vec(x[((n * params.h + h) * params.w + w) * params.c + channel]);
    }
    sum += row;
  }
  y[i] = Elem(sum / area(rows, columns));
}

@compute @workgroup_size(GROUP)
fn averageBackward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = flatIndex(group, local, groups);
  if (i >= params.n * params.h * params.w * params.c) { return; }
  let channel = i % params.c;
  let w = (i / params.c) % params.w;
  let h = (i / params.c / params.w) % params.h;
  let n = i / params.c / params.w / params.h;
  let overP = covering(h, params.h, params.p, K, STRIDE_H, PAD_H);
  let overQ = covering(w, params.w, params.q, L, STRIDE_W, PAD_W);
  var sum = Vec();
  for (var p = overP.x; p < overP.y; p++) {
    let rows = window(p, params.h, params.p, K, STRIDE_H, PAD_H);
    for (var q = overQ.x; q < overQ.y; q++) {
      let columns = window(q, params.w, params.q, L, STRIDE_W, PAD_W);
      sum += Vec(dy[((n * params.p + p) * params.q + q) * params.c + channel]) / area(rows, columns);
    }
  }
  dx[i] = Elem(sum);
}
