// Views of images that are mirrored (half of them) and shifted by up to `shift` of the side; beyond the edge comes the mirror image.
// `scale` and `offset` lead from an output pixel to where it is in an image that is not augmented.
//#include "lib/drawn.wgsl"

struct Params { n: u32, draw: u32, side: f32, scale: f32, offset: f32, shift: f32 }

@compute @workgroup_size(GROUP)
fn draw(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let n = flatIndex(group, local, groups);
  if (n >= params.n) { return; }
  let u = drawn(n, 0u);
  var view = View(vec3f(params.scale, 0.0, params.offset), vec3f(0.0, params.scale, params.offset), vec3f(0.0, 0.0, 1.0),
    0.0, 1.0, vec4f(), EVERYWHERE);
  if (u.x < 0.5) { view.x = vec3f(0.0, 0.0, params.side - 1.0) - view.x; }
  view.y.z += params.shift * params.side * centred(u.y);
  view.x.z += params.shift * params.side * centred(u.z);
  put(n, view);
}
