// A batch from the data set: x[n] = normalise(seen(images[index[n]])), for x[N, SIZE, SIZE, CHANNELS] from u8 images of
// SIDE×SIDE×SOURCE_CHANNELS. An invocation makes some neighbouring pixels of a row: it finds where each comes from, samples there with
// bilinear weights, changes the light and normalises. Where pixels come from is the same for all images (`scale` and `offset`),
// or drawn for each (`views`); with mixup, two images are seen and mixed.
//#include "lib/grid.wgsl"
//#include "lib/view.wgsl"

const CHANNELS: u32 = 3u;
const SOURCE_CHANNELS: u32 = 1u;
// Each image has a view of its own.
const DRAWN: bool = false;
// Columns come from columns and rows from rows.
const UPRIGHT: bool = true;
// A view's last row is not (0, 0, 1).
const PROJECTIVE: bool = false;
// Views change the light.
const LIGHT: bool = false;
// Views have a hole and bounds.
const CUT: bool = false;
// Pixels come from whole pixels.
const NEAREST: bool = false;
// Beyond the edge: 0, the edge pixel; 1, the image mirrored at the outer edge of its last pixel; 2, at the middle of that.
const PADDING: u32 = 0u;
const MIXED: bool = false;

// What a batch is stored as.
alias Elem = f32;

struct Params {
  n: u32, at: u32, side: u32, size: u32, span: u32, strips: u32, partners: u32,
  scaleX: f32, offsetX: f32, scaleY: f32, offsetY: f32,
  mean0: f32, mean1: f32, mean2: f32, gain0: f32, gain1: f32, gain2: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
// From `at` on are the batch's indices; from `partners` on, with mixup, whom each is mixed with, and then the shares it keeps.
@group(0) @binding(1) var<storage, read> step: array<u32>;
@group(0) @binding(2) var<storage, read> images: array<u32>;
@group(0) @binding(3) var<storage, read> labels: array<u32>;
@group(0) @binding(4) var<storage, read> views: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> x: array<Elem>;
@group(0) @binding(6) var<storage, read_write> batchLabels: array<u32>;

const NONE: u32 = 0xffffffffu;

fn viewOf(n: u32) -> View {
  if (!DRAWN) {
    return View(vec3f(params.scaleX, 0.0, params.offsetX), vec3f(0.0, params.scaleY, params.offsetY), vec3f(0.0, 0.0, 1.0),
      0.0, 1.0, vec4f(), EVERYWHERE);
  }
  let first = VIEW_WORDS * n;
  let a = views[first];
  let b = views[first + 1u];
  return View(a.xyz, b.xyz, views[first + 2u].xyz, a.w, b.w, views[first + 3u], views[first + 4u]);
}

fn byte(at: u32) -> f32 { return f32((images[at >> 2u] >> (8u * (at & 3u))) & 255u) / 255.0; }

fn padded(place: vec2f, side: f32) -> vec2f {
  if (PADDING == 1u) {
    let period = 2.0 * side;
    let t = place + 0.5 - period * floor((place + 0.5) / period);
    return min(t, period - t) - 0.5;
  }
  if (PADDING == 2u) {
    let period = 2.0 * max(1.0, side - 1.0);
    let t = place - period * floor(place / period);
    return min(t, period - t);
  }
  return place;
}

// Where the four pixels are that a value is mixed from, and by which shares.
struct Corners { topLeft: u32, topRight: u32, bottomLeft: u32, bottomRight: u32, part: vec2f }

fn corners(image: u32, place: vec2f) -> Corners {
  let last = params.side - 1u;
  let low = floor(place);
  let c0 = u32(clamp(low.x, 0.0, f32(last)));
  let r0 = u32(clamp(low.y, 0.0, f32(last)));
  let c1 = min(u32(max(low.x + 1.0, 0.0)), last);
  let r1 = min(u32(max(low.y + 1.0, 0.0)), last);
  let top = image * params.side * params.side + r0 * params.side;
  let bottom = image * params.side * params.side + r1 * params.side;
  return Corners(SOURCE_CHANNELS * (top + c0), SOURCE_CHANNELS * (top + c1), SOURCE_CHANNELS * (bottom + c0),
    SOURCE_CHANNELS * (bottom + c1), place - low);
}

fn sample(at: Corners, channel: u32) -> f32 {
  let top = mix(byte(at.topLeft + channel), byte(at.topRight + channel), at.part.x);
  let bottom = mix(byte(at.bottomLeft + channel), byte(at.bottomRight + channel), at.part.x);
  return mix(top, bottom, at.part.y);
}

fn relit(v: f32, brightness: f32, contrast: f32) -> f32 {
  let p = clamp(v, 1e-7, 1.0 - 1e-7);
  return 1.0 / (1.0 + exp(-contrast * (log(p / (1.0 - p)) + brightness)));
}

// What is seen of an image at an output pixel, before it is normalised; gray stands in all three.
fn seen(view: View, image: u32, row: u32, column: u32) -> vec3f {
  let pixel = vec3f(f32(column), f32(row), 1.0);
  var place = vec2f(view.x.x, view.y.y) * pixel.xy + vec2f(view.x.z, view.y.z);
  if (!UPRIGHT) { place += vec2f(view.x.y, view.y.x) * pixel.yx; }
  if (PROJECTIVE) { place /= dot(view.w, pixel); }
  if (CUT) {
    let beyond = any(place < view.bounds.xy) || any(place > view.bounds.zw);
    if (beyond || (all(pixel.xy >= view.hole.xy) && all(pixel.xy < view.hole.zw))) { return vec3f(); }
  }
  var v = vec3f();
  if (NEAREST) {
    let whole = vec2u(clamp(place + 0.5, vec2f(), vec2f(f32(params.side - 1u))));
    let at = SOURCE_CHANNELS * ((image * params.side + whole.y) * params.side + whole.x);
    v = vec3f(byte(at));
    if (SOURCE_CHANNELS == 3u) { v = vec3f(v.x, byte(at + 1u), byte(at + 2u)); }
  } else {
    let at = corners(image, padded(place, f32(params.side)));
    v = vec3f(sample(at, 0u));
    if (SOURCE_CHANNELS == 3u) { v = vec3f(v.x, sample(at, 1u), sample(at, 2u)); }
  }
  if (LIGHT && (view.brightness != 0.0 || view.contrast != 1.0)) {
    let unlit = v;
    v = vec3f(relit(unlit.x, view.brightness, view.contrast));
    if (SOURCE_CHANNELS == 3u) {
      v = vec3f(v.x, relit(unlit.y, view.brightness, view.contrast), relit(unlit.z, view.brightness, view.contrast));
    }
  }
  return v;
}

// `strips` invocations share a row of `size` pixels, `span` for each.
@compute @workgroup_size(GROUP)
fn gather(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = flatIndex(group, local, groups);
  if (i >= params.n * params.size * params.strips) { return; }
  let strip = i % params.strips;
  let row = (i / params.strips) % params.size;
  let n = i / params.strips / params.size;
  let first = strip * params.span;
  let last = min(first + params.span, params.size);
  let image = step[params.at + n];
  if (row == 0u && strip == 0u) {
    batchLabels[n] = select(labels[min(image, arrayLength(&labels) - 1u)], NONE, image == NONE);
  }
  var out = ((n * params.size + row) * params.size + first) * CHANNELS;
  if (image == NONE) {
    for (var at = out; at < out + (last - first) * CHANNELS; at++) { x[at] = Elem(); }
    return;
  }
  let view = viewOf(n);
  var partner = n;
  var share = 1.0;
  if (MIXED) {
    partner = step[params.partners + n];
    share = bitcast<f32>(step[params.partners + params.n + n]);
  }
  let otherView = viewOf(partner);
  let otherImage = step[params.at + partner];
  let mean = vec3f(params.mean0, params.mean1, params.mean2);
  let gain = vec3f(params.gain0, params.gain1, params.gain2);
  for (var column = first; column < last; column++) {
    var v = seen(view, image, row, column);
    if (MIXED) { v = mix(seen(otherView, otherImage, row, column), v, share); }
    v = (v - mean) * gain;
    x[out] = Elem(v.x);
    if (CHANNELS == 3u) {
      x[out + 1u] = Elem(v.y);
      x[out + 2u] = Elem(v.z);
    }
    out += CHANNELS;
  }
}
