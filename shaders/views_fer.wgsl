// Views as Khaireddin and Chen (arXiv 2105.03588) draw them for FER2013. On a canvas of the stored side, in this order: a crop of
// 0.8 to 1.2 of the area, 3/4 to 4/3 as wide as high, enlarged to the canvas; for half of the images a shift by up to 20 % of the
// side; a mirror image for half; for half a rotation by up to 10°; a crop of `window` pixels; for half a rectangle erased, 2 to 33 %
// of the area, 0.3 to 3.3 times as high as wide. What is shifted or turned in from outside and what is erased is black. Numbers
// are rounded as torchvision rounds them, and what does not fit is drawn again, ten times at most.
//
// Here one bilinear sampling does it all. The original samples three times, shift and rotation by the nearest pixel: it is a
// little coarser inside. Its first crop ends at its own edge pixels, where this one still sees half a pixel of its neighbours; and
// the original learns from all ten crops of the image that it drew, this one from one crop at a random place.
//#include "lib/drawn.wgsl"

struct Params {
  n: u32, draw: u32, side: f32, size: f32, window: f32,
  areaLow: f32, areaHigh: f32, ratio: f32, shift: f32, rotate: f32,
  eraseLow: f32, eraseHigh: f32, eraseRatioLow: f32, eraseRatioHigh: f32,
}

const ATTEMPTS: u32 = 10u;

// A whole number from 0 to `most`.
fn whole(u: f32, most: f32) -> f32 { return min(floor(u * (most + 1.0)), most); }

// The part of the stored image that is enlarged to the canvas: (left, top, width, height); all of it where none fits.
fn part(n: u32) -> vec4f {
  for (var i = 0u; i < ATTEMPTS; i++) {
    let u = drawn(n, 3u + i);
    let area = params.side * params.side * mix(params.areaLow, params.areaHigh, u.x);
    let ratio = exp(log(params.ratio) * centred(u.y));
    let extent = round(sqrt(area * vec2f(ratio, 1.0 / ratio)));
    if (all(extent >= vec2f(1.0)) && all(extent <= vec2f(params.side))) {
      return vec4f(whole(u.z, params.side - extent.x), whole(u.w, params.side - extent.y), extent);
    }
  }
  return vec4f(0.0, 0.0, params.side, params.side);
}

// The rectangle that is erased, in output pixels; none where none fits.
fn rectangle(n: u32) -> vec4f {
  for (var i = 0u; i < ATTEMPTS; i++) {
    let u = drawn(n, 3u + ATTEMPTS + i);
    let area = params.size * params.size * mix(params.eraseLow, params.eraseHigh, u.x);
    let ratio = exp(mix(log(params.eraseRatioLow), log(params.eraseRatioHigh), u.y));
    let extent = round(sqrt(area * vec2f(1.0 / ratio, ratio)));
    if (all(extent < vec2f(params.size))) {
      let corner = vec2f(whole(u.z, params.size - extent.x), whole(u.w, params.size - extent.y));
      return vec4f(corner, corner + extent);
    }
  }
  return vec4f();
}

@compute @workgroup_size(GROUP)
fn draw(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let n = flatIndex(group, local, groups);
  if (n >= params.n) { return; }
  let a = drawn(n, 0u);
  let b = drawn(n, 1u);
  let c = drawn(n, 2u);
  let side = params.side;

  // From the output back to the canvas: the crop, then the rotation about the middle of the canvas, then the mirror.
  let scale = params.window / params.size;
  let middle = 0.5 * (side - 1.0);
  let corner = vec2f(whole(b.z, side - params.window), whole(b.w, side - params.window)) + 0.5 * scale - 0.5 - middle;
  let angle = select(0.0, params.rotate * centred(b.y), b.x < 0.5);
  let turn = vec2f(cos(angle), sin(angle));
  var x = vec3f(scale * turn.x, -scale * turn.y, turn.x * corner.x - turn.y * corner.y + middle);
  let y = vec3f(scale * turn.y, scale * turn.x, turn.y * corner.x + turn.x * corner.y + middle);
  if (a.x < 0.5) { x = vec3f(0.0, 0.0, side - 1.0) - x; }

  // Back before the shift by whole pixels: what was on the canvas after it is here its copy, moved.
  let shift = select(vec2f(), round(params.shift * side * vec2f(centred(a.z), centred(a.w))), a.y < 0.5);
  let low = max(vec2f(-0.5), -0.5 - shift);
  let high = min(vec2f(side - 0.5), side - 0.5 - shift);

  // From the canvas to the part of the stored image.
  let seen = part(n);
  let shrink = seen.zw / side;
  let start = seen.xy + 0.5 * shrink - 0.5;
  let origin = start - shrink * shift;
  var hole = vec4f();
  if (c.x < 0.5) { hole = rectangle(n); }
  put(n, View(
    shrink.x * x + vec3f(0.0, 0.0, origin.x), shrink.y * y + vec3f(0.0, 0.0, origin.y), vec3f(0.0, 0.0, 1.0), 0.0, 1.0, hole,
    vec4f(start + shrink * low, start + shrink * high),
  ));
}
