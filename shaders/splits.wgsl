// reduce: y[i] = Σ over splits of part[split, i] (+ bias[i mod period]), in the order of the splits: the second stage of every
// kernel that splits its reduction, so that the sum is the same at every run.
//
// host: bindings params, part [splits, size], bias (or, with hasBias 0, part again), y [size]; size in elements.
//       entry `main` where size (and period) are multiples of 4, `ragged` for any.
//       invocations: size / 4 for `main`, size for `ragged`.
// Parts are f32; y may be f16.
alias YElem = vec4f;
alias YScalar = f32;

struct Params { size: u32, splits: u32, period: u32, hasBias: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> part: array<vec4f>;
@group(0) @binding(2) var<storage, read> bias: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<YElem>;
@group(0) @binding(1) var<storage, read> partScalar: array<f32>;
@group(0) @binding(2) var<storage, read> biasScalar: array<f32>;
@group(0) @binding(3) var<storage, read_write> yScalar: array<YScalar>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * 64u;
  let size = params.size >> 2u;
  if (i >= size) {
    return;
  }
  var sum = vec4f();
  for (var split = 0u; split < params.splits; split++) {
    sum += part[split * size + i];
  }
  if (params.hasBias != 0u) {
    sum += bias[i % (params.period >> 2u)];
  }
  y[i] = YElem(sum);
}

@compute @workgroup_size(64)
fn ragged(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * 64u;
  if (i >= params.size) {
    return;
  }
  var sum = 0.0;
  for (var split = 0u; split < params.splits; split++) {
    sum += partScalar[split * params.size + i];
  }
  if (params.hasBias != 0u) {
    sum += biasScalar[i % params.period];
  }
  yScalar[i] = YScalar(sum);
}
