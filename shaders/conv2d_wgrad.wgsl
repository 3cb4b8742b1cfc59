// conv2d_wgrad: dw[K,R,S,C] = Σ over n,p,q of dy[n,p,q,k] · x[n, p·stride−padH+r, q·stride−padW+s, c]; f32 or f16 in
// memory, computed in f32, `lanes` tier.
//
// A GEMM with a small result and a long reduction: rows are output channels k, columns are (r,s,c), the reduction runs over
// output pixels, four a step, and is split over the grid's z where the result alone would not fill the machine. A team of
// LANES invocations makes ROWS by 4·LANES of dw in registers (lib/lanes*.wgsl says how). Both operands are contiguous along
// the tile's sides, so every load is a vec4 of channels. Pixels are walked by counting, never by dividing.
//
// A tap away from the kernel's middle reads padding under some pixels, and they give it nothing: a tile walks only the rectangle
// of each image whose pixels give its taps something. Of 3×3 pixels, padded by one, that saves two fifths of the work.
//
// With WINDOW a lane makes all three taps of a kernel's row for its four channels, three tiles: the four pixels of a step lie in
// one line, the taps read six pixels of x between them, and two of these the step before has loaded: four loads instead of twelve.
// On lavapipe loads are half of the time, for each of a vec4 is tested and inserted lane by lane.
//
// host: bindings  params, x, dy, dw.
//       VEC_X: C is a multiple of 4, and XElem = vec4f (vec4h where x is f16), XWide = vec4f; else false, f32 (f16) and f32.
//       VEC_DY, DyElem, DyWide the same for K. DwElem, DwScalar: four of dw's elements, and one.
//       entry     `main` where C is a multiple of 4 (dw as vec4f), `ragged` for any C (as f32).
//       WINDOW: S = 3, stride 1, padW < 3, and Q and C are multiples of 4; ROWS at most 16.
//       columns = R·S·C, with WINDOW R·C
//       ROWS (lib/lanes*.wgsl): K ≤ 8 takes 8, ≤ 16 takes 16, more takes 32 with 8 lanes and 16 with 4; lanes1 has 4. Without VEC_X
//       at most 16.
//       grid    tiles of ROWS·TEAMS by 4·LANES (lib/panels.wgsl) of K by columns; splits along z
//       splits  > 1: dw is a partial [splits,K,R,S,C], and splits.wgsl makes the sum.
const VEC_X: bool = true;
const VEC_DY: bool = true;
const WINDOW: bool = false;
// What x and dy are read as, the same in f32, and what dw is stored as.
alias XElem = vec4f;
alias DyElem = vec4f;
alias XWide = vec4f;
alias DyWide = vec4f;
alias DwElem = vec4f;
alias DwScalar = f32;

struct Params {
  batch: u32,
  inH: u32,
  inW: u32,
  inC: u32,
  outH: u32,
  outW: u32,
  outC: u32,
  r: u32,
  s: u32,
  stride: u32,
  padH: u32,
  padW: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<XElem>;
@group(0) @binding(2) var<storage, read> dy: array<DyElem>;
@group(0) @binding(3) var<storage, read_write> dw: array<DwElem>;
@group(0) @binding(3) var<storage, read_write> dwScalar: array<DwScalar>;

//#include TEAM "lib/lanes_broadcast.wgsl"
//#include "lib/tiles.wgsl"

// dy of channels k…k+3 at an output pixel.
fn rowsAt(pixel: u32, k: u32) -> vec4f {
  let at = pixel * params.outC + k;
  if (VEC_DY) {
    return vec4f(DyWide(dy[at >> 2u]));
  }
  let last = params.outC - 1u - k;
  return vec4f(vec4f(DyWide(dy[at])).x, vec4f(DyWide(dy[at + min(1u, last)])).x, vec4f(DyWide(dy[at + min(2u, last)])).x,
    vec4f(DyWide(dy[at + min(3u, last)])).x);
}

// Output positions of one dimension: `count` from `first` on.
struct Span { first: u32, count: u32 }

// Those from which one of the taps `low`…`high` reads within `extent`. The ends are counted off: padding is a few, a division is
// a hundred multiply-adds.
fn spanOf(low: u32, high: u32, out: u32, extent: u32, pad: u32) -> Span {
  var first = 0u;
  while (first < out && first * params.stride + high < pad) {
    first++;
  }
  var end = out;
  while (end > first && (end - 1u) * params.stride + low >= extent + pad) {
    end--;
  }
  return Span(first, end - first);
}

// What a lane's four columns read under output pixel (0,0), modulo 2³²: input row, input column, offset.
struct Columns { top: vec4u, left: vec4u, at: vec4u }

// An output pixel (q, p, n): column q·stride and row p·stride of x, offset there, number in dy.
struct Pixel { x: u32, y: u32, at: u32, to: u32 }

// A raster scan of the rectangle of every image: where its lines and columns begin and end, as x and y of a pixel, and how far offset
// and number move to the next pixel of a line, to the next line, to the next image.
struct Raster { begin: vec2u, end: vec2u, pixel: vec2u, line: vec2u, image: vec2u }

fn nextPixel(now: Pixel, raster: Raster) -> Pixel {
  let x = now.x + params.stride;
  let lineEnds = x == raster.end.x;
  let y = select(now.y, now.y + params.stride, lineEnds);
  let imageEnds = y == raster.end.y;
  let by = select(select(raster.pixel, raster.line, lineEnds), raster.image, imageEnds);
  return Pixel(select(x, raster.begin.x, lineEnds), select(y, raster.begin.y, imageEnds), now.at + by.x, now.to + by.y);
}

// x under the lane's four columns at an output pixel; zero in the padding and where the pixel is past the last.
fn columnsAt(columns: Columns, pixel: Pixel, exists: bool) -> vec4f {
  if (VEC_X) {
    let inside = columns.top.x + pixel.y < params.inH && columns.left.x + pixel.x < params.inW && exists;
    let at = select(0u, columns.at.x + pixel.at, inside);
    return select(vec4f(), vec4f(XWide(x[at >> 2u])), inside);
  }
  let inside = (columns.top + pixel.y < vec4u(params.inH)) & (columns.left + pixel.x < vec4u(params.inW)) &
    vec4<bool>(exists);
  let at = select(vec4u(), columns.at + pixel.at, inside);
  return select(vec4f(), vec4f(vec4f(XWide(x[at.x])).x, vec4f(XWide(x[at.y])).x, vec4f(XWide(x[at.z])).x, vec4f(XWide(x[at.w])).x), inside);
}

// Taps of a kernel's row, and values in all, that lie along the columns.
fn tapsAcross() -> u32 { return select(params.s, 1u, WINDOW); }
fn extent() -> u32 { return params.r * tapsAcross() * params.inC; }

// With WINDOW, of the taps s = 0, 1, 2 of the columns' row of the kernel; else only the first. Rows are in the order of macM.
struct Tiles { s0: Accumulators, s1: Accumulators, s2: Accumulators }

// The tiles with output channels from k0 on and this lane's four columns of those from column0 on, over the split's pixels.
fn tilesAt(k0: u32, column0: u32, lane: u32, split: u32, splits: u32) -> Tiles {
  let channels = params.inC;
  let stride = params.stride;
  let rowQuad = min(k0 + 4u * fragQuad(lane), params.outC - select(1u, 4u, VEC_DY));
  let lastColumn = extent() - 1u;
  let j = min(vec4u(column0 + 4u * lane) + vec4u(0u, 1u, 2u, 3u), vec4u(lastColumn));
  // A division takes as long as a hundred multiply-adds, and most tiles lie in one tap.
  let lastOfTile = min(column0 + 4u * LANES - 1u, lastColumn);
  let firstTap = column0 / channels;
  let firstRow = firstTap / tapsAcross();
  var taps = vec2u(firstTap);
  var tapRows = vec2u(firstRow);
  var tap = vec4u(firstTap);
  var r = vec4u(firstRow);
  if (lastOfTile >= (firstTap + 1u) * channels) {
    taps.y = lastOfTile / channels;
    tapRows.y = taps.y / tapsAcross();
    tap = j / channels;
    r = tap / tapsAcross();
  }
  let top = r - params.padH;
  let left = tap - r * tapsAcross() - params.padW;
  let columns = Columns(top, left, (top * params.inW + left) * channels + j - tap * channels);
  // The rectangle of the tile's taps; across several taps of a row, or several rows of the kernel, it is as wide as the map.
  let inRow = !WINDOW && tapRows.x == tapRows.y;
  let down = spanOf(tapRows.x, tapRows.y, params.outH, params.inH, params.padH);
  let across = spanOf(select(0u, taps.x - tapRows.x * params.s, inRow), select(params.s - 1u, taps.y - tapRows.y * params.s, inRow),
    params.outW, params.inW, params.padW);
  let toLineStart = (across.count - 1u) * stride;
  let toImageStart = (down.count - 1u) * stride * params.inW;
  let begin = vec2u(across.first, down.first);
  let raster = Raster(begin * stride, (begin + vec2u(across.count, down.count)) * stride,
    vec2u(stride * channels, 1u),
    vec2u((stride * params.inW - toLineStart) * channels, params.outW - across.count + 1u),
    vec2u((params.inH * params.inW - toImageStart - toLineStart) * channels,
      (params.outH - down.count + 1u) * params.outW - across.count + 1u));
  let pixels = params.batch * down.count * across.count;
  var first = 0u;
  var end = pixels;
  var q = across.first;
  var p = down.first;
  var image = 0u;
  if (splits > 1u) {
    let perSplit = 4u * ((pixels + 4u * splits - 1u) / (4u * splits));
    first = split * perSplit;
    end = min(pixels, first + perSplit);
    let line = first / max(across.count, 1u);
    image = line / max(down.count, 1u);
    q += first - line * across.count;
    p += line - image * down.count;
  }
  var pixel = Pixel(q * stride, p * stride, ((image * params.inH + p * stride) * params.inW + q * stride) * channels,
    (image * params.outH + p) * params.outW + q);
  var tiles: Tiles;
  var x4 = vec4f();
  var x5 = vec4f();
  for (var at = first; at < end; at += 4u) {
    // Every load of a step comes before its arithmetic: loads are branches on these drivers, and what lives across spills.
    let p1 = nextPixel(pixel, raster);
    let p2 = nextPixel(p1, raster);
    let p3 = nextPixel(p2, raster);
    let rows = min(vec4u(pixel.to, p1.to, p2.to, p3.to), vec4u(params.batch * params.outH * params.outW - 1u));
    var f: Frag;
    f.v0 = rowsAt(rows[fragStep(0u, lane)], rowQuad);
    if (FRAGS_M > 1u) {
      f.v1 = rowsAt(rows[fragStep(1u, lane)], rowQuad);
    }
    if (FRAGS_M > 2u) {
      f.v2 = rowsAt(rows[fragStep(2u, lane)], rowQuad);
      f.v3 = rowsAt(rows[fragStep(3u, lane)], rowQuad);
    }
    if (WINDOW) {
      // Six pixels: two that the step before has loaded, unless a line begins, and four after them.
      var x0 = x4;
      var x1 = x5;
      if (pixel.x == 0u || at == first) {
        x0 = columnsAt(columns, pixel, true);
        x1 = columnsAt(columns, p1, true);
      }
      let x2 = columnsAt(columns, p2, true);
      let x3 = columnsAt(columns, p3, true);
      x4 = columnsAt(columns, Pixel(p3.x + 1u, p3.y, p3.at + channels, 0u), true);
      x5 = columnsAt(columns, Pixel(p3.x + 2u, p3.y, p3.at + 2u * channels, 0u), true);
      macM(&tiles.s0, f, mat4x4f(x0, x1, x2, x3), lane);
      macM(&tiles.s1, f, mat4x4f(x1, x2, x3, x4), lane);
      macM(&tiles.s2, f, mat4x4f(x2, x3, x4, x5), lane);
    } else {
      let b = mat4x4f(columnsAt(columns, pixel, true), columnsAt(columns, p1, at + 1u < pixels),
        columnsAt(columns, p2, at + 2u < pixels), columnsAt(columns, p3, at + 3u < pixels));
      macM(&tiles.s0, f, b, lane);
    }
    pixel = nextPixel(p3, raster);
  }
  return tiles;
}

fn put(k: u32, column: u32, split: u32, v: vec4f) {
  let columns = params.r * params.s * params.inC;
  if (k < params.outC && column < columns) {
    dw[((split * params.outC + k) * columns + column) >> 2u] = DwElem(v);
  }
}

fn putScalar(k: u32, column: u32, split: u32, v: vec4f) {
  let columns = params.r * params.s * params.inC;
  if (k < params.outC) {
    for (var i = 0u; i < 4u; i++) {
      if (column + i < columns) {
        dwScalar[(split * params.outC + k) * columns + column + i] = DwScalar(v[i]);
      }
    }
  }
}

@compute @workgroup_size(LANES * TEAMS)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32) {
  let origin = tileOrigin(workgroup, grid, vec2u(params.outC, extent()));
  if (origin.x >= params.outC || origin.y >= extent()) {
    return;
  }
  let lane = local % LANES;
  let k = origin.x + local / LANES * ROWS;
  var column = origin.y + 4u * lane;
  var tiles = tilesAt(k, origin.y, lane, workgroup.z, grid.z);
  if (WINDOW) {
    column += 2u * (column / params.inC) * params.inC;
  }
  // All tiles leave by the same stores: each place that touches memory is what lavapipe takes long to compile.
  for (var s = 0u; s < select(1u, 3u, WINDOW); s++) {
    var t = finishM(tiles.s0, lane);
    for (var row = k; row < min(k + ROWS, params.outC); row += 4u) {
      put(row, column, workgroup.z, t.r0);
      put(row + 1u, column, workgroup.z, t.r1);
      put(row + 2u, column, workgroup.z, t.r2);
      put(row + 3u, column, workgroup.z, t.r3);
      dropFourRows(&t);
    }
    tiles.s0 = tiles.s1;
    tiles.s1 = tiles.s2;
    column += params.inC;
  }
}

@compute @workgroup_size(LANES * TEAMS)
fn ragged(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32) {
  let origin = tileOrigin(workgroup, grid, vec2u(params.outC, extent()));
  if (origin.x >= params.outC || origin.y >= extent()) {
    return;
  }
  let lane = local % LANES;
  let k = origin.x + local / LANES * ROWS;
  let column = origin.y + 4u * lane;
  var t = finishM(tilesAt(k, origin.y, lane, workgroup.z, grid.z).s0, lane);
  for (var row = k; row < min(k + ROWS, params.outC); row += 4u) {
    putScalar(row, column, workgroup.z, t.r0);
    putScalar(row + 1u, column, workgroup.z, t.r1);
    putScalar(row + 2u, column, workgroup.z, t.r2);
    putScalar(row + 3u, column, workgroup.z, t.r3);
    dropFourRows(&t);
  }
}
