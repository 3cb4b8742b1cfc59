// conv2d: y[N,P,Q,K] = x[N,H,W,C] ⋆ w[K,R,S,C] (+ bias[K]), and with DGRAD the gradient of x; f32 or f16 in memory,
// computed in f32, `lanes` tier.
//
// An implicit GEMM without im2col: rows are output channels, columns are output pixels, the reduction runs over taps (r,s)
// and, inside a tap, over input channels, four a step. A team of LANES invocations makes ROWS channels of 4·LANES pixels in
// registers (lib/lanes*.wgsl says how). Channels are the rows because there may be few of them (8 at width 1/8), pixels are
// many. Addresses and the padding test are worked out once per tap. Padding reads element 0 and is then selected away.
//
// Channels that are no multiple of 4 (the stem's 3, or 1) would leave part of each step's four empty. But the taps of a row of the
// kernel lie in one run, in x and in w: with RUNS such a row counts as one tap of S·C channels, whose padding is tested for each.
//
// With stride 1 the taps of a kernel's row read the same pixels again and again, shifted by one. With WINDOW a lane's four pixels lie
// in one line; it keeps the last four that it has read, and each tap but the first takes one load of x, not four. On lavapipe loads
// are half of the time, for each of a vec4 is tested and inserted lane by lane.
//
// DGRAD is the same sum with the roles of the channels exchanged: dx[N,H,W,C] = Σ over taps and k of dy · w, where the tap
// runs backwards through w and w's rows (now input channels c) are contiguous. So w is used as it lies, nothing is transposed.
// A stride makes phases of it (lib/phases.wgsl): a tile has pixels of one phase, `stride` apart; along the grid's x and z they alternate.
// There the stride is a constant, for a division by a value that is none takes as long as a hundred multiply-adds.
//
// host, forward: bindings params, x, w, bias, y. Without a bias any read-only tensor stands in (hasBias 0).
//       params    batch N, inH H, inW W, inC C, outH P, outW Q, outC K, r R, s S, stride, padH, padW.
//       VEC_X: C is a multiple of 4, and XElem = vec4f (vec4h where x is f16), XWide = vec4f; else false, f32 (f16) and f32.
//       VEC_W, WElem, WWide the same. RAGGED false. RUNS: not VEC_X, and ceil(S·C / 4) < S·ceil(C / 4).
//       FOUR: C > 3, or RUNS.
//       WINDOW: VEC_X, stride 1, S > 1, and Q is a multiple of 4.
//       entry     `main` where K is a multiple of 4 (y, bias as vec4f), `ragged` for any K (as f32).
// host, DGRAD:   bindings params, x: dy, w, bias: any, y: dx; hasBias 0.
//       params    batch N, inH P, inW Q, inC K, outH H, outW W, outC C, r R, s S, the forward's stride, padH, padW.
//       STRIDE: the stride. VEC_X: K is a multiple of 4, XElem, XWide. VEC_W: C is, WElem, WWide. RAGGED: K is not.
//       WINDOW: VEC_X, STRIDE 1, S > 1, and W is a multiple of 4.
//       entry     `main` where C is a multiple of 4, else `ragged`.
// host, both:
//       YElem, YScalar: four of y's elements, and one.
//       ROWS (lib/lanes*.wgsl): outC ≤ 8 takes 8, ≤ 16 takes 16, more takes 32 with 8 lanes and 16 with 4; lanes1 has 4.
//       Forward without VEC_X takes at most 16.
//       grid    tiles of ROWS·TEAMS by 4·LANES (lib/panels.wgsl) of outC by pixels; phases, 1, with DGRAD stride², along z.
//               pixels N·P·Q, with DGRAD those of the largest phase: N·ceil(H/stride)·ceil(W/stride)
const DGRAD: bool = false;
const STRIDE: u32 = 1u;
const RAGGED: bool = false;
const VEC_X: bool = true;
const VEC_W: bool = true;
const RUNS: bool = false;
// A step may have a fourth channel to read.
const FOUR: bool = true;
const WINDOW: bool = false;
// What x and w are read as, the same in f32, and what y is stored as.
alias XElem = vec4f;
alias WElem = vec4f;
alias XWide = vec4f;
alias WWide = vec4f;
alias YElem = vec4f;
alias YScalar = f32;

//#include "lib/conv2d.wgsl"
@group(0) @binding(3) var<storage, read> biasScalar: array<f32>;
@group(0) @binding(4) var<storage, read_write> yScalar: array<YScalar>;

//#include TEAM "lib/lanes_broadcast.wgsl"
//#include "lib/tiles.wgsl"
//#include "lib/phases.wgsl"

// Four channels from `at` on, zero from the `count`-th on (count ≥ 1). `vec4f(XWide(x[…]))` reads the same for all element types.
fn loadX(at: u32, count: u32, inside: bool) -> vec4f {
  if (VEC_X) {
    return select(vec4f(), vec4f(XWide(x[at >> 2u])), inside);
  }
  let last = count - 1u;
  var v = vec4f(vec4f(XWide(x[at])).x, vec4f(XWide(x[at + min(1u, last)])).x, vec4f(XWide(x[at + min(2u, last)])).x, 0.0);
  if (FOUR) {
    v.w = vec4f(XWide(x[at + min(3u, last)])).x;
  }
  return select(vec4f(), v, vec4<bool>(inside) & (vec4u(0u, 1u, 2u, 3u) < vec4u(count)));
}

// The same with RUNS: the first value is the `place`-th of its row of x, modulo 2³², which ends at inW·inC.
fn loadRun(at: u32, count: u32, inside: bool, place: u32) -> vec4f {
  let each = vec4u(0u, 1u, 2u, 3u);
  let ok = vec4<bool>(inside) & (each < vec4u(count)) & (each + place < vec4u(params.inW * params.inC));
  let i = select(vec4u(), each + at, ok);
  let v = vec4f(vec4f(XWide(x[i.x])).x, vec4f(XWide(x[i.y])).x, vec4f(XWide(x[i.z])).x, vec4f(XWide(x[i.w])).x);
  return select(vec4f(), v, ok);
}

fn loadW(at: u32, count: u32) -> vec4f {
  if (VEC_W) {
    return vec4f(WWide(w[at >> 2u]));
  }
  let last = count - 1u;
  var v = vec4f(vec4f(WWide(w[at])).x, vec4f(WWide(w[at + min(1u, last)])).x, vec4f(WWide(w[at + min(2u, last)])).x, 0.0);
  if (FOUR) {
    v.w = vec4f(WWide(w[at + min(3u, last)])).x;
  }
  return select(vec4f(), v, vec4u(0u, 1u, 2u, 3u) < vec4u(count));
}

// With WINDOW: four channels of the pixel `i` places right of one in column `left`, which lies at `first`; `line`: its line exists.
fn windowPixel(i: u32, first: u32, left: u32, line: bool) -> vec4f {
  let inside = line && left + i < params.inW;
  return loadX(select(0u, first + i * params.inC, inside), 4u, inside);
}

// The weights of output channels `c`…c+3 for input channel `k` in `tap`, out of w[K,R,S,C].
fn rowsAt(k: u32, tap: u32, c: u32) -> vec4f {
  let channel = select(k, min(k, params.inC - 1u), RAGGED);
  return loadW((channel * params.r * params.s + tap) * params.outC + c, params.outC - c);
}

// What a workgroup does: rows and columns of its phase, the tile's first output channel and first pixel of the phase.
struct Job { down: Axis, across: Axis, channel: u32, pixel: u32, none: bool }

fn jobOf(workgroup: vec3u, grid: vec3u) -> Job {
  let stride = select(params.stride, STRIDE, DGRAD);
  // Neighbours take different phases: lavapipe gives each core one half of the grid, and phases differ in their taps.
  let phase = (workgroup.x + workgroup.z) % (STRIDE * STRIDE);
  let down = axisOf(phase / STRIDE, params.outH, params.r, stride, params.padH);
  let across = axisOf(phase % STRIDE, params.outW, params.s, stride, params.padW);
  let pixels = params.batch * down.count * across.count;
  // A phase may be empty.
  let origin = tileOrigin(workgroup, grid, vec2u(params.outC, max(pixels, 1u)));
  return Job(down, across, origin.x, origin.y, origin.x >= params.outC || origin.y >= pixels);
}

// Four pixels: their images, the input row and column under the first tap (modulo 2³²: a negative one is larger than any
// extent, and so is a missing image's), and where they lie in the output, NONE for those of missing images.
struct Pixels { images: vec4u, top: vec4u, left: vec4u, to: vec4u }

const NONE: u32 = 0xffffffffu;

// A pixel of the phase, (column, row, image), and the one after it.
fn nextPixel(at: vec3u, job: Job) -> vec3u {
  let rowEnds = at.x + 1u == job.across.count;
  let imageEnds = rowEnds && at.y + 1u == job.down.count;
  return vec3u(select(at.x + 1u, 0u, rowEnds), select(select(at.y, at.y + 1u, rowEnds), 0u, imageEnds),
    select(at.z, at.z + 1u, imageEnds));
}

fn pixelsFrom(index: u32, job: Job) -> Pixels {
  // One division for four pixels: on a CPU it costs as much as a hundred multiply-adds.
  let line = index / job.across.count;
  let image = line / job.down.count;
  let p0 = vec3u(index - line * job.across.count, line - image * job.down.count, image);
  let p1 = nextPixel(p0, job);
  let p2 = nextPixel(p1, job);
  let p3 = nextPixel(p2, job);
  let columns = vec4u(p0.x, p1.x, p2.x, p3.x);
  let rows = vec4u(p0.y, p1.y, p2.y, p3.y);
  let images = vec4u(p0.z, p1.z, p2.z, p3.z);
  let exists = images < vec4u(params.batch);
  let top = select(vec4u(0x80000000u), rows * job.down.step + job.down.start, exists);
  let left = columns * job.across.step + job.across.start;
  let line0 = images * params.outH + job.down.first + rows * job.down.pitch;
  let to = select(vec4u(NONE), line0 * params.outW + job.across.first + columns * job.across.pitch, exists);
  return Pixels(images, top, left, to);
}

// The tap (u, v) of the phase as an index into w's taps.
fn tapIndex(u: u32, v: u32, job: Job) -> u32 {
  if (DGRAD) {
    return (job.down.lastTap - u * STRIDE) * params.s + job.across.lastTap - v * STRIDE;
  }
  return select(u * params.s + v, u, RUNS);
}

// The tile with output channels from k0 on and these four pixels.
fn tileAt(k0: u32, pixels: Pixels, lane: u32, job: Job) -> Accumulators {
  // Of a tap.
  let channels = select(params.inC, params.s * params.inC, RUNS);
  let tapsAcross = select(job.across.taps, 1u, RUNS);
  let lastK = params.outC - 1u;
  let rowLength = params.r * params.s * params.inC;
  let row0 = min(k0 + fragRow(0u, lane), lastK) * rowLength;
  let row1 = min(k0 + fragRow(1u, lane), lastK) * rowLength;
  let row2 = min(k0 + fragRow(2u, lane), lastK) * rowLength;
  let row3 = min(k0 + fragRow(3u, lane), lastK) * rowLength;
  let rowQuad = min(k0 + 4u * fragQuad(lane), params.outC - select(1u, 4u, VEC_W && DGRAD));
  // Offset of tap (0,0), modulo 2³²; a tap inside lies (u·W + v)·C further on.
  let origin = ((pixels.images * params.inH + pixels.top) * params.inW + pixels.left) * params.inC;
  let place = pixels.left * params.inC;
  var tile: Accumulators;
  // One loop over taps and channels: with two, every tap would merge all accumulators once more on SwiftShader.
  var u = 0u;
  var v = 0u;
  var c = 0u;
  var tap = 0u;
  var at = vec4u();
  var inside = vec4<bool>();
  var window: mat4x4f;
  let steps = job.down.taps * tapsAcross * ((channels + 3u) >> 2u);
  for (var step = 0u; step < steps; step++) {
    if (WINDOW) {
      tap = tapIndex(u, v, job);
    } else if (c == 0u) {
      tap = tapIndex(u, v, job);
      inside = (pixels.top + u < vec4u(params.inH)) & ((pixels.left + v < vec4u(params.inW)) | vec4<bool>(RUNS));
      at = select(vec4u(), origin + (u * params.inW + v) * params.inC, inside);
      v++;
      if (v == tapsAcross) {
        v = 0u;
        u++;
      }
    }
    // Every load of a step comes before its arithmetic: loads are branches on these drivers, and what lives across spills.
    let remaining = channels - c;
    var f: Frag;
    if (DGRAD) {
      f.v0 = rowsAt(c + fragStep(0u, lane), tap, rowQuad);
      if (FRAGS_M > 1u) {
        f.v1 = rowsAt(c + fragStep(1u, lane), tap, rowQuad);
      }
      if (FRAGS_M > 2u) {
        f.v2 = rowsAt(c + fragStep(2u, lane), tap, rowQuad);
        f.v3 = rowsAt(c + fragStep(3u, lane), tap, rowQuad);
      }
    } else {
      let ofTap = tap * channels;
      f.v0 = loadW(row0 + ofTap + c, remaining);
      if (FRAGS_K > 1u) {
        f.v1 = loadW(row1 + ofTap + c, remaining);
      }
      if (FRAGS_K > 2u) {
        f.v2 = loadW(row2 + ofTap + c, remaining);
        f.v3 = loadW(row3 + ofTap + c, remaining);
      }
    }
    let first = at + c;
    var b: mat4x4f;
    if (WINDOW) {
      let line = pixels.top.x + u < params.inH;
      let start = origin.x + u * params.inW * params.inC + c;
      if (v == 0u) {
        window[1] = windowPixel(0u, start, pixels.left.x, line);
        window[2] = windowPixel(1u, start, pixels.left.x, line);
        window[3] = windowPixel(2u, start, pixels.left.x, line);
      }
      window = mat4x4f(window[1], window[2], window[3], windowPixel(v + 3u, start, pixels.left.x, line));
      b = window;
    } else if (RUNS) {
      let run = place + c;
      b = mat4x4f(loadRun(first.x, remaining, inside.x, run.x), loadRun(first.y, remaining, inside.y, run.y),
        loadRun(first.z, remaining, inside.z, run.z), loadRun(first.w, remaining, inside.w, run.w));
    } else {
      b = mat4x4f(loadX(first.x, remaining, inside.x), loadX(first.y, remaining, inside.y),
        loadX(first.z, remaining, inside.z), loadX(first.w, remaining, inside.w));
    }
    let columns = transpose(b);
    if (DGRAD) {
      macM(&tile, f, columns, lane);
    } else {
      macK(&tile, f, columns);
    }
    if (WINDOW) {
      // Taps of a row first, then channels.
      v++;
      if (v == tapsAcross) {
        v = 0u;
        c += 4u;
        if (c == channels) {
          c = 0u;
          u++;
        }
      }
    } else {
      c += 4u;
      if (c >= channels) {
        c = 0u;
      }
    }
  }
  if (DGRAD) {
    return finishM(tile, lane);
  }
  return finishK(tile, lane);
}

// Four channels from k on of a pixel of the output.
fn put(k: u32, to: u32, v: vec4f) {
  if (to != NONE) {
    y[(to * params.outC + k) >> 2u] = YElem(v);
  }
}

fn putQuad(k: u32, to: vec4u, rows: mat4x4f) {
  var add = vec4f();
  if (!DGRAD && params.hasBias != 0u) {
    add = bias[k >> 2u];
  }
  let v = transpose(rows);
  put(k, to.x, v[0] + add);
  put(k, to.y, v[1] + add);
  put(k, to.z, v[2] + add);
  put(k, to.w, v[3] + add);
}

fn putScalar(k: u32, to: vec4u, rows: mat4x4f) {
  for (var i = 0u; i < 4u; i++) {
    if (k + i < params.outC) {
      var add = 0.0;
      if (!DGRAD && params.hasBias != 0u) {
        add = biasScalar[k + i];
      }
      for (var j = 0u; j < 4u; j++) {
        if (to[j] != NONE) {
          yScalar[to[j] * params.outC + k + i] = YScalar(rows[i][j] + add);
        }
      }
    }
  }
}

@compute @workgroup_size(LANES * TEAMS)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32) {
  let job = jobOf(workgroup, grid);
  if (job.none) {
    return;
  }
  let lane = local % LANES;
  let k = job.channel + local / LANES * ROWS;
  let pixels = pixelsFrom(job.pixel + 4u * lane, job);
  var t = tileAt(k, pixels, lane, job);
  for (var row = k; row < min(k + ROWS, params.outC); row += 4u) {
    putQuad(row, pixels.to, mat4x4f(t.r0, t.r1, t.r2, t.r3));
    dropFourRows(&t);
  }
}

@compute @workgroup_size(LANES * TEAMS)
fn ragged(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32) {
  let job = jobOf(workgroup, grid);
  if (job.none) {
    return;
  }
  let lane = local % LANES;
  let k = job.channel + local / LANES * ROWS;
  let pixels = pixelsFrom(job.pixel + 4u * lane, job);
  var t = tileAt(k, pixels, lane, job);
  for (var row = k; row < min(k + ROWS, params.outC); row += 4u) {
    putScalar(row, pixels.to, mat4x4f(t.r0, t.r1, t.r2, t.r3));
    dropFourRows(&t);
  }
}
