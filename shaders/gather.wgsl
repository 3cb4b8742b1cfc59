// A batch from the data set: x[n] = normalise(augment(images[index[n]])), for x[N, SIZE, SIZE, CHANNELS] from u8 images of
// SIDE×SIDE×SOURCE_CHANNELS. An invocation makes some neighbouring pixels of a row: it finds where each comes from, samples there with
// bilinear weights (beyond the edge the image is mirrored), and normalises. All random choices depend on (seed, step, draw, n) alone.
//
// From output to source, in coordinates from −1 to 1: flip, rotation by up to `angle`, shift by up to `shift` of the side; then
// a rectangle may be erased (Zhong et al. 2020: half the images, 2 to 33 % of the area, sides 0.3 to 3.3), to the mean, which is 0.
//#include "lib/grid.wgsl"
//#include "lib/random.wgsl"

const CHANNELS: u32 = 3u;
const SOURCE_CHANNELS: u32 = 1u;
const FLIP: bool = false;
const WARP: bool = false;
const ERASE: bool = false;
// Pixels are taken as they are: no warp, and the image has the right size.
const EXACT: bool = false;

// What a batch is stored as.
alias Elem = f32;

struct Params {
  n: u32, at: u32, side: u32, size: u32, draw: u32, span: u32, strips: u32,
  shift: f32, angle: f32,
  mean0: f32, mean1: f32, mean2: f32, scale0: f32, scale1: f32, scale2: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
// step[0] counts steps, step[1] is the seed, from `at` on are the batch's indices.
@group(0) @binding(1) var<storage, read> step: array<u32>;
@group(0) @binding(2) var<storage, read> images: array<u32>;
@group(0) @binding(3) var<storage, read> labels: array<u32>;
@group(0) @binding(4) var<storage, read_write> x: array<Elem>;
@group(0) @binding(5) var<storage, read_write> batch_labels: array<u32>;

const NONE: u32 = 0xffffffffu;

fn byte(at: u32) -> f32 { return f32((images[at / 4u] >> (8u * (at % 4u))) & 255u) / 255.0; }

// A number in [-1, 1).
fn centred(word: u32) -> f32 { return 2.0 * uniform01(word) - 1.0; }

// Mirrors a position at the outer edges of the first and last pixel.
fn mirror(v: f32, side: f32) -> f32 {
  let period = 2.0 * side;
  let t = v + 0.5 - period * floor((v + 0.5) / period);
  return min(t, period - t) - 0.5;
}

// The value of one source channel at (row, column), bilinear.
fn sample(image: u32, place: vec2f, channel: u32) -> f32 {
  let last = params.side - 1u;
  let low = floor(place);
  let part = place - low;
  let r0 = u32(clamp(low.x, 0.0, f32(last)));
  let c0 = u32(clamp(low.y, 0.0, f32(last)));
  let r1 = min(u32(max(low.x + 1.0, 0.0)), last);
  let c1 = min(u32(max(low.y + 1.0, 0.0)), last);
  let base = image * params.side * params.side;
  let top = mix(
    byte((base + r0 * params.side + c0) * SOURCE_CHANNELS + channel),
    byte((base + r0 * params.side + c1) * SOURCE_CHANNELS + channel), part.y);
  let bottom = mix(
    byte((base + r1 * params.side + c0) * SOURCE_CHANNELS + channel),
    byte((base + r1 * params.side + c1) * SOURCE_CHANNELS + channel), part.y);
  return mix(top, bottom, part.x);
}

// Where image n is erased: corner (row, column), then the opposite corner.
fn rectangle(n: u32) -> vec4f {
  let a = pcg4d(vec4u(step[1], step[0], params.draw + 1u, n));
  if (uniform01(a.x) >= 0.5) { return vec4f(); }
  let area = mix(0.02, 0.33, uniform01(a.y));
  let ratio = exp(log(3.3) * centred(a.z));
  let b = pcg4d(vec4u(step[1], step[0], params.draw + 2u, n));
  let extent = min(vec2f(sqrt(area * ratio), sqrt(area / ratio)), vec2f(1.0)) * f32(params.size);
  let corner = vec2f(uniform01(b.x), uniform01(b.y)) * (f32(params.size) - extent);
  return vec4f(corner, corner + extent);
}

// The value of one source channel for the output pixel (row, column).
fn value(image: u32, row: u32, column: u32, place: vec2f, channel: u32) -> f32 {
  if (EXACT) { return byte(((image * params.side + row) * params.side + column) * SOURCE_CHANNELS + channel); }
  return sample(image, place, channel);
}

// `strips` invocations share a row of `size` pixels, `span` for each.
@compute @workgroup_size(GROUP)
fn gather(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = rank(group, local, groups);
  if (i >= params.n * params.size * params.strips) { return; }
  let strip = i % params.strips;
  let row = (i / params.strips) % params.size;
  let n = i / params.strips / params.size;
  let first = strip * params.span;
  let last = min(first + params.span, params.size);
  let image = step[params.at + n];
  if (row == 0u && strip == 0u) {
    batch_labels[n] = select(labels[min(image, arrayLength(&labels) - 1u)], NONE, image == NONE);
  }
  var out = ((n * params.size + row) * params.size + first) * CHANNELS;
  if (image == NONE) {
    for (var at = out; at < out + (last - first) * CHANNELS; at++) { x[at] = Elem(); }
    return;
  }
  let r = pcg4d(vec4u(step[1], step[0], params.draw, n));
  let flipped = FLIP && uniform01(r.x) < 0.5;
  var turn = mat2x2f(1.0, 0.0, 0.0, 1.0);
  var shift = vec2f();
  if (WARP) {
    let a = params.angle * centred(r.w);
    turn = mat2x2f(cos(a), sin(a), -sin(a), cos(a));
    shift = 2.0 * params.shift * vec2f(centred(r.y), centred(r.z));
  }
  var hole = vec4f();
  if (ERASE) { hole = rectangle(n); }
  let side = f32(params.side);
  let mean = array(params.mean0, params.mean1, params.mean2);
  let scale = array(params.scale0, params.scale1, params.scale2);
  for (var column = first; column < last; column++) {
    let pixel = vec2f(f32(row), f32(column));
    var u = (2.0 * pixel + 1.0) / f32(params.size) - 1.0;
    if (flipped) { u.y = -u.y; }
    if (WARP) { u = turn * u + shift; }
    var place = ((u + 1.0) * side - 1.0) * 0.5;
    if (WARP) { place = vec2f(mirror(place.x, side), mirror(place.y, side)); }
    let from_column = select(column, params.size - 1u - column, flipped);
    let gone = ERASE && all(pixel >= hole.xy) && all(pixel < hole.zw);
    var v = value(image, row, from_column, place, 0u);
    for (var c = 0u; c < CHANNELS; c++) {
      if (c > 0u && c < SOURCE_CHANNELS) { v = value(image, row, from_column, place, c); }
      x[out + c] = Elem(select((v - mean[c]) * scale[c], 0.0, gone));
    }
    out += CHANNELS;
  }
}
