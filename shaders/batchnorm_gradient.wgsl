// The gradient of batch normalisation (batchnorm.wgsl), with x̂ = (x − μ)·r and g = dy, zeroed where ReLU cut:
//   dβ = Σ g,  dγ = Σ g·x̂,  dx = γ·r·(g − dβ/M − x̂·dγ/M),  the residual's gradient = g
//
// Two dispatches over the same chunks of rows: partial sums, then dx, with the partial sums combined on the way. Where ReLU cut is
// computed again from x as the forward pass did, so y is not read; only with a residual it is, and then the first dispatch writes
// g, which the second takes for dy. Where a chunk is the whole column and there is no such residual (`whole` 1), the second makes
// the sums, too, and is alone. Where nobody wants dx, the second is `gradientParameters`, over the invocations of one chunk.
//
// `sums` holds Vecs [1 + chunks, 2, C]: (μ, r) from the forward pass, then each chunk's (Σ g, Σ g·x̂).
//#include "lib/columns.wgsl"
//#include "lib/parts.wgsl"

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

// Σ g and Σ g·(x − μ).
struct Products { g: Vec, gd: Vec }

fn add(to: ptr<function, Products>, g: Vec, d: Vec) {
  (*to).g += g;
  (*to).gd = fma(g, d, (*to).gd);
}

fn gradientAt(i: u32) -> Vec {
  if (IN_PLACE) { return Vec(out[i]); }
  return Vec(dy[i]);
}

// g as it comes and x − μ of four rows, loaded at once.
struct Four { g0: Vec, g1: Vec, g2: Vec, g3: Vec, d0: Vec, d1: Vec, d2: Vec, d3: Vec }

fn fourFrom(at: vec4u, mean: Vec) -> Four {
  return Four(gradientAt(at.x), gradientAt(at.y), gradientAt(at.z), gradientAt(at.w),
    Vec(x[at.x]) - mean, Vec(x[at.y]) - mean, Vec(x[at.z]) - mean, Vec(x[at.w]) - mean);
}

// g, zeroed where ReLU cut.
fn passed(g: Vec, d: Vec, scale: Vec, shift: Vec) -> Vec {
  if (RELU) { return select(Vec(), g, fma(d, scale, shift) > Vec()); }
  return g;
}

// Of an invocation's own rows.
fn sumsOf(own: Place, mean: Vec, scale: Vec, shift: Vec) -> Sum {
  let first = own.chunk * params.rows + own.lane;
  let last = select(first, min(own.chunk * params.rows + params.rows, params.m), own.inside);
  var i = first * params.c + own.column;
  let step = LANES * params.c;
  var all = Sum();
  for (var start = first; start < last; start += params.block * LANES) {
    let end = min(start + params.block * LANES, last);
    var part = Products();
    var row = start;
    if (FOURS) {
      for (; row + 3u * LANES < end; row += 4u * LANES) {
        let at = vec4u(i) + vec4u(0u, 1u, 2u, 3u) * step;
        let v = fourFrom(at, mean);
        add(&part, passed(v.g0, v.d0, scale, shift), v.d0);
        add(&part, passed(v.g1, v.d1, scale, shift), v.d1);
        add(&part, passed(v.g2, v.d2, scale, shift), v.d2);
        add(&part, passed(v.g3, v.d3, scale, shift), v.d3);
        i += 4u * step;
      }
    }
    for (; row < end; row += LANES) {
      let d = Vec(x[i]) - mean;
      add(&part, passed(gradientAt(i), d, scale, shift), d);
      i += step;
    }
    all = combine(all, Sum(0.0, part.g, part.gd));
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
  let step = LANES * params.c;
  var all = Sum();
  for (var start = first; start < last; start += params.block * LANES) {
    let end = min(start + params.block * LANES, last);
    var part = Products();
    var row = start;
    if (FOURS) {
      for (; row + 3u * LANES < end; row += 4u * LANES) {
        let at = vec4u(i) + vec4u(0u, 1u, 2u, 3u) * step;
        let v = fourFrom(at, mean);
        let g0 = select(Vec(), v.g0, Vec(y[at.x]) > Vec());
        let g1 = select(Vec(), v.g1, Vec(y[at.y]) > Vec());
        let g2 = select(Vec(), v.g2, Vec(y[at.z]) > Vec());
        let g3 = select(Vec(), v.g3, Vec(y[at.w]) > Vec());
        out[at.x] = Elem(g0);
        out[at.y] = Elem(g1);
        out[at.z] = Elem(g2);
        out[at.w] = Elem(g3);
        add(&part, g0, v.d0);
        add(&part, g1, v.d1);
        add(&part, g2, v.d2);
        add(&part, g3, v.d3);
        i += 4u * step;
      }
    }
    for (; row < end; row += LANES) {
      let g = select(Vec(), gradientAt(i), Vec(y[i]) > Vec());
      out[i] = Elem(g);
      add(&part, g, Vec(x[i]) - mean);
      i += step;
    }
    all = combine(all, Sum(0.0, part.g, part.gd));
  }
  writePartial(together(all, local.x), own, r);
}

// A chunk's own, as `gradientSums` or `residualSums` left it.
fn partOf(chunk: u32, column: u32) -> Sum {
  let at = 2u * params.c * (1u + chunk) + column;
  return Sum(0.0, sums[at], sums[at + params.c]);
}

fn writeParameters(all: Sum, own: Place) {
  if (own.inside && own.chunk == 0u && own.lane == 0u) {
    dbeta[own.column] = all.a;
    dgamma[own.column] = all.b;
  }
}

@compute @workgroup_size(GROUP)
fn gradientParameters(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let own = place(group, local, groups, params.c, params.chunks);
  writeParameters(together(partsOf(own, params.chunks), local.x), own);
}

// dx from g as it comes, with the sums of the whole column in `even` and `slope`.
struct Slopes { scale: Vec, shift: Vec, even: Vec, slope: Vec }

fn inputGradient(g: Vec, d: Vec, by: Slopes) -> Elem {
  var dx = passed(g, d, by.scale, by.shift) * by.scale;
  if (TRAINING) { dx -= fma(d, by.slope, by.even); }
  return Elem(dx);
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
    all = partsOf(own, params.chunks);
  }
  all = together(all, local.x);
  writeParameters(all, own);
  // dx = scale·g − even − slope·(x − μ)
  let by = Slopes(scale, shift, scale * all.a / f32(params.m), scale * r * all.b / f32(params.m));
  let first = own.chunk * params.rows + own.lane;
  let last = select(first, min(own.chunk * params.rows + params.rows, params.m), own.inside);
  var i = first * params.c + own.column;
  var row = first;
  let step = LANES * params.c;
  if (FOURS) {
    for (; row + 3u * LANES < last; row += 4u * LANES) {
      let at = vec4u(i) + vec4u(0u, 1u, 2u, 3u) * step;
      let v = fourFrom(at, mean);
      out[at.x] = inputGradient(v.g0, v.d0, by);
      out[at.y] = inputGradient(v.g1, v.d1, by);
      out[at.z] = inputGradient(v.g2, v.d2, by);
      out[at.w] = inputGradient(v.g3, v.d3, by);
      i += 4u * step;
    }
  }
  for (; row < last; row += LANES) {
    out[i] = inputGradient(gradientAt(i), Vec(x[i]) - mean, by);
    i += step;
  }
}
