// Batch normalisation over the rows of x[M, C] (an image batch with its pixels as rows), optionally with a residual r added and
// followed by ReLU:
//   x̂ = (x − μ)/√(σ² + ε),  y = γ·x̂ + β (+ r),  then max(y, 0) when RELU
//
// Two dispatches over the same chunks of rows. `moments` sums deviations block by block, each block's from the mean of those before
// it, which keeps the squares small whatever the mean is, and merges blocks by the formula of Chan, Golub and LeVeque (1979). That
// takes the difference of two means, which are kept as differences from the column's first value: a large mean leaves them no digits.
// `apply` merges the chunks in the same way, in fixed order, and normalises. Two levels of sums, so rounding grows with the root
// of the rows. Where `whole` is 1 a chunk is the whole column, and in training `apply` makes the sums itself and is the only dispatch:
// x is small and its channels many, and another dispatch would take longer than the sums. It is a parameter, not a constant, for a
// network has both kinds of layers, and one pipeline compiles faster than two.
//
// `sums` holds Vecs [1 + chunks, 2, C]: first (μ, 1/√(σ² + ε)), then each chunk's (mean − first value, M2).
//#include "lib/columns.wgsl"
//#include "lib/parts.wgsl"

// What x is stored in, and what is computed with: four channels where their number allows it (`c` then counts fours), else one.
alias Elem = vec4f;
alias Vec = vec4f;

const RELU: bool = false;
const RESIDUAL: bool = false;
// Statistics of the batch (training) or the running ones (evaluation).
const TRAINING: bool = true;

struct Params { m: u32, c: u32, rows: u32, chunks: u32, block: u32, whole: u32, eps: f32, momentum: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Elem>;
@group(0) @binding(2) var<storage, read> residual: array<Elem>;
@group(0) @binding(3) var<storage, read> gamma: array<Vec>;
@group(0) @binding(4) var<storage, read> beta: array<Vec>;
@group(0) @binding(5) var<storage, read_write> out: array<Elem>;
@group(0) @binding(6) var<storage, read_write> sums: array<Vec>;
@group(0) @binding(7) var<storage, read_write> runningMean: array<Vec>;
@group(0) @binding(8) var<storage, read_write> runningVar: array<Vec>;

// a = mean, less the column's first value, b = M2, the sum of squared deviations from the mean.
fn combine(p: Sum, q: Sum) -> Sum {
  let n = p.n + q.n;
  let share = q.n / max(n, 1.0);
  let delta = q.a - p.a;
  return Sum(n, p.a + delta * share, p.b + q.b + delta * delta * (p.n * share));
}

// Σ d and Σ d² of deviations d.
struct Deviations { sum: Vec, squares: Vec }

fn add(to: ptr<function, Deviations>, d: Vec) {
  (*to).sum += d;
  (*to).squares += d * d;
}

// Of an invocation's own rows.
fn momentsOf(own: Place) -> Sum {
  let first = own.chunk * params.rows + own.lane;
  let last = select(first, min(own.chunk * params.rows + params.rows, params.m), own.inside);
  let base = Vec(x[own.column]);
  var all = Sum();
  for (var start = first; start < last; start += params.block * LANES) {
    let end = min(start + params.block * LANES, last);
    var i = start * params.c + own.column;
    var pivot = base + all.a;
    if (all.n == 0.0) { pivot = Vec(x[i]); }
    var part = Deviations();
    var row = start;
    let step = LANES * params.c;
    if (FOURS) {
      for (; row + 3u * LANES < end; row += 4u * LANES) {
        let v0 = Vec(x[i]);
        let v1 = Vec(x[i + step]);
        let v2 = Vec(x[i + 2u * step]);
        let v3 = Vec(x[i + 3u * step]);
        add(&part, v0 - pivot);
        add(&part, v1 - pivot);
        add(&part, v2 - pivot);
        add(&part, v3 - pivot);
        i += 4u * step;
      }
    }
    for (; row < end; row += LANES) {
      add(&part, Vec(x[i]) - pivot);
      i += step;
    }
    let n = f32((end - start + LANES - 1u) / LANES);
    let squares = max(part.squares - part.sum * part.sum / n, Vec());
    all = combine(all, Sum(n, (pivot - base) + part.sum / n, squares));
  }
  return all;
}

@compute @workgroup_size(GROUP)
fn moments(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let own = place(group, local, groups, params.c, params.chunks);
  let all = together(momentsOf(own), local.x);
  if (own.inside && own.lane == 0u) {
    let at = 2u * params.c * (1u + own.chunk) + own.column;
    sums[at] = all.a;
    sums[at + params.c] = all.b;
  }
}

// A chunk's own, as `moments` left it.
fn partOf(chunk: u32, column: u32) -> Sum {
  let n = f32(min(params.rows, params.m - chunk * params.rows));
  let at = 2u * params.c * (1u + chunk) + column;
  return Sum(n, sums[at], sums[at + params.c]);
}

fn normalised(value: Vec, mean: Vec, scale: Vec, shift: Vec, added: Vec) -> Elem {
  var v = fma(value - mean, scale, shift);
  if (RESIDUAL) { v += added; }
  if (RELU) { v = select(v, Vec(), v < Vec()); } // a NaN stays one
  return Elem(v);
}

fn residualAt(i: u32) -> Vec {
  if (RESIDUAL) { return Vec(residual[i]); }
  return Vec();
}

@compute @workgroup_size(GROUP)
fn apply(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let own = place(group, local, groups, params.c, params.chunks);
  var mean = Vec();
  var variance = Vec();
  if (TRAINING) {
    var all = Sum();
    if (sumsItself(params.whole)) {
      all = momentsOf(own);
    } else {
      all = partsOf(own, params.chunks);
    }
    all = together(all, local.x);
    mean = Vec(x[own.column]) + all.a;
    variance = all.b / all.n;
  } else {
    mean = runningMean[own.column];
    variance = runningVar[own.column];
  }
  let r = inverseSqrt(variance + Vec(params.eps));
  if (own.inside && own.chunk == 0u && own.lane == 0u) {
    sums[own.column] = mean;
    sums[params.c + own.column] = r;
    if (TRAINING) {
      let unbiased = variance * (f32(params.m) / f32(params.m - 1u));
      // Not before + momentum·(new − before), which would lose a small new value even with momentum 1.
      let kept = 1.0 - params.momentum;
      runningMean[own.column] = kept * runningMean[own.column] + params.momentum * mean;
      runningVar[own.column] = kept * runningVar[own.column] + params.momentum * unbiased;
    }
  }
  let scale = r * gamma[own.column];
  let shift = beta[own.column];
  let first = own.chunk * params.rows + own.lane;
  let last = select(first, min(own.chunk * params.rows + params.rows, params.m), own.inside);
  var i = first * params.c + own.column;
  var row = first;
  let step = LANES * params.c;
  if (FOURS) {
    for (; row + 3u * LANES < last; row += 4u * LANES) {
      let at = vec4u(i) + vec4u(0u, 1u, 2u, 3u) * step;
      let v0 = Vec(x[at.x]);
      let v1 = Vec(x[at.y]);
      let v2 = Vec(x[at.z]);
      let v3 = Vec(x[at.w]);
      let r0 = residualAt(at.x);
      let r1 = residualAt(at.y);
      let r2 = residualAt(at.z);
      let r3 = residualAt(at.w);
      out[at.x] = normalised(v0, mean, scale, shift, r0);
      out[at.y] = normalised(v1, mean, scale, shift, r1);
      out[at.z] = normalised(v2, mean, scale, shift, r2);
      out[at.w] = normalised(v3, mean, scale, shift, r3);
      i += 4u * step;
    }
  }
  for (; row < last; row += LANES) {
    out[i] = normalised(Vec(x[i]), mean, scale, shift, residualAt(i));
    i += step;
  }
}
