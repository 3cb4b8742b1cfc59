// A batch from the data set: x[n] = normalise(augment(images[index[n]])), for f32 x[N, SIZE, SIZE, CHANNELS] from u8 images of
// SIDE×SIDE×SOURCE_CHANNELS. An invocation makes one pixel: it finds where the pixel comes from, samples there with bilinear
// weights (beyond the edge the image is mirrored), and normalises. All random choices depend on (seed, step, draw, n) alone.
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

struct Params {
  n: u32, at: u32, side: u32, size: u32, draw: u32,
  shift: f32, angle: f32,
  mean0: f32, mean1: f32, mean2: f32, scale0: f32, scale1: f32, scale2: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
// step[0] counts steps, step[1] is the seed, from `at` on are the batch's indices.
@group(0) @binding(1) var<storage, read> step: array<u32>;
@group(0) @binding(2) var<storage, read> images: array<u32>;
@group(0) @binding(3) var<storage, read> labels: array<u32>;
@group(0) @binding(4) var<storage, read_write> x: array<f32>;
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

// Whether output pixel `pixel` lies in the rectangle that is erased from image n.
fn erased(n: u32, pixel: vec2f) -> bool {
  let a = pcg4d(vec4u(step[1], step[0], params.draw + 1u, n));
  if (uniform01(a.x) >= 0.5) { return false; }
  let area = mix(0.02, 0.33, uniform01(a.y));
  let ratio = exp(log(3.3) * centred(a.z));
  let b = pcg4d(vec4u(step[1], step[0], params.draw + 2u, n));
  let extent = min(vec2f(sqrt(area * ratio), sqrt(area / ratio)), vec2f(1.0)) * f32(params.size);
  let corner = vec2f(uniform01(b.x), uniform01(b.y)) * (f32(params.size) - extent);
  return all(pixel >= corner) && all(pixel < corner + extent);
}

@compute @workgroup_size(GROUP)
fn gather(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = rank(group, local, groups);
  let pixels = params.size * params.size;
  if (i >= params.n * pixels) { return; }
  let n = i / pixels;
  let row = (i % pixels) / params.size;
  let column = i % params.size;
  let image = step[params.at + n];
  if (i % pixels == 0u) { batch_labels[n] = select(labels[min(image, arrayLength(&labels) - 1u)], NONE, image == NONE); }
  if (image == NONE) {
    for (var c = 0u; c < CHANNELS; c++) { x[i * CHANNELS + c] = 0.0; }
    return;
  }
  let r = pcg4d(vec4u(step[1], step[0], params.draw, n));
  var u = (2.0 * vec2f(f32(row), f32(column)) + 1.0) / f32(params.size) - 1.0;
  if (FLIP && uniform01(r.x) < 0.5) { u.y = -u.y; }
  if (WARP) {
    let a = params.angle * centred(r.w);
    u = vec2f(cos(a) * u.x - sin(a) * u.y, sin(a) * u.x + cos(a) * u.y);
    u += 2.0 * params.shift * vec2f(centred(r.y), centred(r.z));
  }
  let side = f32(params.side);
  var place = ((u + 1.0) * side - 1.0) * 0.5;
  if (WARP) { place = vec2f(mirror(place.x, side), mirror(place.y, side)); }
  let gone = ERASE && erased(n, vec2f(f32(row), f32(column)));
  let mean = vec3f(params.mean0, params.mean1, params.mean2);
  let scale = vec3f(params.scale0, params.scale1, params.scale2);
  for (var c = 0u; c < CHANNELS; c++) {
    let from_channel = min(c, SOURCE_CHANNELS - 1u);
    x[i * CHANNELS + c] = select((sample(image, place, from_channel) - mean[c]) * scale[c], 0.0, gone);
  }
}
