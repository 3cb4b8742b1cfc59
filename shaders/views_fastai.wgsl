// Views as fast.ai's `aug_transforms` draws them; each kind is drawn for itself, with probability `pAffine` or `pLighting`.
//
// In coordinates from −1 at the centre of the first pixel to 1 at that of the last (align_corners=True), an output position goes
// through flip·rotation·zoom, zoom first, and then through the homography that takes the corners of a warped square
//   (−1−y, −1−x), (−1+y, 1+x), (1+y, −1+x), (1−y, 1−x)   to   (−1, −1), (−1, 1), (1, −1), (1, 1).
// fast.ai solves eight equations for it. In this one case the solution is short: the way there is ((1−y²)u − xyv + x, −xyu + (1−x²)v + y)
// over 1 + xu + yv, and the adjugate of its matrix is the way back.
//#include "lib/drawn.wgsl"

struct Params {
  n: u32, draw: u32, side: f32, size: f32,
  rotate: f32, zoom: f32, warp: f32, lighting: f32, pAffine: f32, pLighting: f32,
}

fn logit(p: f32) -> f32 { return log(p / (1.0 - p)); }

@compute @workgroup_size(GROUP)
fn draw(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let n = flatIndex(group, local, groups);
  if (n >= params.n) { return; }
  let a = drawn(n, 0u);
  let b = drawn(n, 1u);
  let c = drawn(n, 2u);
  let d = drawn(n, 3u);
  let mirror = select(1.0, -1.0, a.x < 0.5);
  let angle = select(0.0, params.rotate * centred(a.z), a.y < params.pAffine);
  let zoom = 1.0 / select(1.0, mix(1.0, params.zoom, b.x), a.w < params.pAffine);
  let centre = (1.0 - zoom) * vec2f(centred(b.y), centred(b.z));
  let x = select(0.0, params.warp * centred(c.y), c.x < params.pAffine);
  let y = select(0.0, params.warp * centred(c.w), c.z < params.pAffine);

  // Rows of flip·rotation·zoom, and then of the same from the output's pixels.
  let turn = vec2f(cos(angle), sin(angle));
  let across = mirror * vec3f(zoom * turn, dot(turn, centre));
  let down = vec3f(-zoom * turn.y, zoom * turn.x, turn.x * centre.y - turn.y * centre.x);
  let stepOut = 2.0 / max(1.0, params.size - 1.0);
  let column = vec3f(stepOut * across.xy, across.z - across.x - across.y);
  let row = vec3f(stepOut * down.xy, down.z - down.x - down.y);

  let k = 1.0 - x * x - y * y;
  let xy = 2.0 * x * y;
  let tilt = -vec2f(x * (1.0 - x * x + y * y), y * (1.0 + x * x - y * y));
  let unit = vec3f(0.0, 0.0, 1.0);
  // Divided by k, so that it is exactly the identity where nothing is warped.
  let fromX = (k * column + xy * row + tilt.x * unit) / k;
  let fromY = (xy * column + k * row + tilt.y * unit) / k;
  let fromW = (tilt.x * column + tilt.y * row) / k + unit;

  let half = 0.5 * (params.side - 1.0);
  let brightness = select(0.0, logit(0.5 * (1.0 + params.lighting * centred(d.x))), b.w < params.pLighting);
  let contrast = select(1.0, exp(-log(1.0 - params.lighting) * centred(d.z)), d.y < params.pLighting);
  put(n, View(half * (fromX + fromW), half * (fromY + fromW), fromW, brightness, contrast, vec4f(), EVERYWHERE));
}
