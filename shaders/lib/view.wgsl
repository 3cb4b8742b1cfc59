// How one image of a batch is seen: five vectors in `views`, written by a kernel that draws (views_*.wgsl) and read by `gather`.
struct View {
  // Rows of the homography from output pixel (column, row, 1) to (column·w, row·w, w) in the stored image.
  x: vec3f, y: vec3f, w: vec3f,
  // Light is changed on the logit of a value: (logit + brightness)·contrast.
  brightness: f32, contrast: f32,
  // Output pixels that are made black: from (left, top) up to, not including, (right, bottom).
  hole: vec4f,
  // Where in the stored image there is something to see, (left, top) to (right, bottom); beyond it is black.
  bounds: vec4f,
}

const VIEW_WORDS: u32 = 5u;
const EVERYWHERE: vec4f = vec4f(-1e30, -1e30, 1e30, 1e30);
