// The gradient of batch normalisation (batchnorm.wgsl), with x̂ = (x − μ)·r and g = dy, zeroed where ReLU cut:
//   dβ = Σ g,  dγ = Σ g·x̂,  dx = γ·r·(g − dβ/M − x̂·dγ/M),  the residual's gradient = g
//
// Two dispatches over the same chunks of rows: partial sums, then dx, with the partial sums combined on the way. Where ReLU cut is
// computed again from x as the forward pass did, so y is not read; only with a residual it is, and then the first dispatch writes
// g, which the second takes for dy. Where a chunk is the whole column and there is no such residual (`whole` 1), the second makes
// the sums, too, and is alone.
//
// `sums` holds Vecs [1 + chunks, 2, C]: (μ, r) from the forward pass, then each chunk's (Σ g, Σ g·x̂).
//#include "lib/columns.wgsl"

alias Elem = vec4f;
alias Vec = vec4f;

const RELU: bool = false;
// Statistics of the batch, which the gradient flows through, or constant ones.
const TRAINING: bool = true;
// The result overwrites dy, in `out`.
const IN_PLACE: bool = false;

struct Params { m: u32, c: u32, rows: u32, chunks: u32, block: u32, whole: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Elem>;
@group(0) @binding(2) var<storage, read> dy: array<Elem>;
@group(0) @binding(3) var<storage, read> gamma: array<Vec>;
@group(0) @binding(4) var<storage, read> beta: array<Vec>;
@group(0) @binding(5) var<storage, read_write> out: array<Elem>;
@group(0) @binding(6) var<storage, read_write> sums: array<Vec>;
@group(0) @binding(7) var<storage, read_write> dgamma: array<Vec>;
@group(0) @binding(8) var<storage, read_write> dbeta: array<Vec>;
@group(0) @binding(9) var<storage, read> y: array<Elem>;

fn combine(p: Sum, q: Sum) -> Sum { return Sum(p.n + q.n, p.a + q.a, p.b + q.b); }

fn writePartial(all: Sum, own: Place, r: Vec) {
  if (own.inside && own.lane == 0u) {
    let at = 2u * params.c * (1u + own.chunk) + own.column;
    sums[at] = all.a;
    sums[at + params.c] = all.b * r;
  }
}

// Of an invocation's own rows, (Σ g, Σ g·(x − μ)).
fn sumsOf(own: Place, mean: Vec, scale: Vec, shift: Vec) -> Sum {
  let first = own.chunk * params.rows + own.lane;
  let last = select(first, min(own.chunk * params.rows + params.rows, params.m), own.inside);
  var i = first * params.c + own.column;
  var all = Sum();
  for (var start = first; start < last; start += params.block * LANES) {
    let end = min(start + params.block * LANES, last);
    var s = Vec();
    var t = Vec();
    for (var row = start; row < end; row += LANES) {
      var g = Vec();
      if (IN_PLACE) { g = Vec(out[i]); } else { g = Vec(dy[i]); }
      let d = Vec(x[i]) - mean;
      if (RELU) { g = select(Vec(), g, fma(d, scale, shift) > Vec()); }
      s += g;
      t = fma(g, d, t);
      i += LANES * params.c;
    }
    all = combine(all, Sum(0.0, s, t));
  }
  return all;
}

@compute @workgroup_size(GROUP)
fn gradientSums(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let own = place(group, local, groups, params.c, params.chunks);
  let mean = sums[own.column];
  let r = sums[params.c + own.column];
  let scale = r * gamma[own.column];
  writePartial(together(sumsOf(own, mean, scale, beta[own.column]), local.x), own, r);
}

// The same with a residual and ReLU: out = g.
@compute @workgroup_size(GROUP)
fn residualSums(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let own = place(group, local, groups, params.c, params.chunks);
  let mean = sums[own.column];
  let r = sums[params.c + own.column];
  let first = own.chunk * params.rows + own.lane;
  let last = select(first, min(own.chunk * params.rows + params.rows, params.m), own.inside);
  var i = first * params.c + own.column;
  var all = Sum();
  for (var start = first; start < last; start += params.block * LANES) {
    let end = min(start + params.block * LANES, last);
    var s = Vec();
    var t = Vec();
    for (var row = start; row < end; row += LANES) {
      var g = Vec();
      if (IN_PLACE) { g = Vec(out[i]); } else { g = Vec(dy[i]); }
      g = select(Vec(), g, Vec(y[i]) > Vec());
      out[i] = Elem(g);
      s += g;
      t = fma(g, Vec(x[i]) - mean, t);
      i += LANES * params.c;
    }
    all = combine(all, Sum(0.0, s, t));
  }
  writePartial(together(all, local.x), own, r);
}

// out = dx; dγ and dβ besides.
@compute @workgroup_size(GROUP)
fn gradientInput(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let own = place(group, local, groups, params.c, params.chunks);
  let mean = sums[own.column];
  let r = sums[params.c + own.column];
  let scale = r * gamma[own.column];
  let shift = beta[own.column];
  var all = Sum();
  if (sumsItself(params.whole)) {
    all = sumsOf(own, mean, scale, shift);
    all.b *= r;
  } else {
    for (var chunk = own.lane; chunk < params.chunks; chunk += LANES) {
      let at = 2u * params.c * (1u + chunk) + own.column;
      all = combine(all, Sum(0.0, sums[at], sums[at + params.c]));
    }
  }
  all = together(all, local.x);
  if (own.inside && own.chunk == 0u && own.lane == 0u) {
    dbeta[own.column] = all.a;
    dgamma[own.column] = all.b;
  }
  // dx = scale·g − even − slope·(x − μ)
  let even = scale * all.a / f32(params.m);
  let slope = scale * r * all.b / f32(params.m);
  let first = own.chunk * params.rows + own.lane;
  let last = select(first, min(own.chunk * params.rows + params.rows, params.m), own.inside);
  var i = first * params.c + own.column;
  for (var row = first; row < last; row += LANES) {
    var g = Vec();
    if (IN_PLACE) { g = Vec(out[i]); } else { g = Vec(dy[i]); }
    let d = Vec(x[i]) - mean;
    if (RELU) { g = select(Vec(), g, fma(d, scale, shift) > Vec()); }
    g *= scale;
    if (TRAINING) { g -= fma(d, slope, even); }
    out[i] = Elem(g);
    i += LANES * params.c;
  }
}
