// What the kernels share that draw how each image of a batch is seen; an including shader defines `Params` with n and draw.
//
// All random choices depend on (seed, step, draw, n) alone; the draws from `draw` on are the kernel's own.
//#include "lib/grid.wgsl"
//#include "lib/random.wgsl"
//#include "lib/view.wgsl"

@group(0) @binding(0) var<uniform> params: Params;
// step[0] counts steps, step[1] is the seed.
@group(0) @binding(1) var<storage, read> step: array<u32>;
@group(0) @binding(2) var<storage, read_write> views: array<vec4f>;

// Four numbers in [0, 1).
fn drawn(n: u32, rank: u32) -> vec4f {
  let words = pcg4d(vec4u(step[1], step[0], params.draw + rank, n));
  return vec4f(uniform01(words.x), uniform01(words.y), uniform01(words.z), uniform01(words.w));
}

// From a number in [0, 1) to one in [-1, 1).
fn centred(u: f32) -> f32 { return 2.0 * u - 1.0; }

fn put(n: u32, view: View) {
  views[VIEW_WORDS * n] = vec4f(view.x, view.brightness);
  views[VIEW_WORDS * n + 1u] = vec4f(view.y, view.contrast);
  views[VIEW_WORDS * n + 2u] = vec4f(view.w, 0.0);
  views[VIEW_WORDS * n + 3u] = view.hole;
  views[VIEW_WORDS * n + 4u] = view.bounds;
}
