// winograd: the transforms of a 3×3 convolution of stride 1 by F(OUT×OUT, 3×3), f32 (Lavin & Gray, arXiv 1509.09308).
//
//   y tile = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A,   d a tile of POINTS×POINTS pixels, POINTS = OUT + 2; the tiles of y lie side by side
//
// Summed over channels, the products ⊙ are POINTS² matrix products, one for each place of a tile; matmul.wgsl (on GPUs
// matmul_tile.wgsl) makes them from what `data` and `weights` write, and `results` reads what it makes. OUT² results take POINTS²
// products in place of 9·OUT²: 2.25 times fewer for OUT 2, 4 times for OUT 4. The gradient of the data is the same convolution
// of dy with the weights turned round (`turned`) and their roles exchanged. The gradient of the weights is the transpose of the
// whole,
//
//   dg = Gᵀ [ Σ over tiles of (A dy Aᵀ) ⊙ (Bᵀ d B) ] G,
//
// `resultGradient`, matmul and `weightGradient`. All transforms are written as two passes of one line each
// (lib/winograd*.wgsl). An invocation takes one tile of one channel and keeps it in registers: what is transformed is read
// once and written once, and neighbours share no more than the border of a tile, which the cache has. One channel, not four: 144
// registers spill (lavapipe and SwiftShader take a tenth to a quarter longer), and lavapipe compiles five times as long.
//
// host: TRANSFORM is lib/winograd2.wgsl or lib/winograd4.wgsl. All channel counts are multiples of 4.
//       `data`            source [N,H,W,C], result [POINTS²,tiles,C]; height H, width W, channels C, padH, padW
//       `weights`         source [K,3,3,C], result [POINTS²,K,C]; channels C, tiles K. turned 1: result [POINTS²,C,K];
//                         channels K, tiles C
//       `results`         source [POINTS²,tiles,K], bias [K], result [N,P,Q,K]; height P, width Q, channels K. biased 0:
//                         anything stands in for the bias
//       `resultGradient` source [N,P,Q,K], result [POINTS²,tiles,K]; height P, width Q, channels K
//       `weightGradient` source [POINTS²,K,C], result [K,3,3,C]; channels C, tiles K
//       tiles: those of `images` images from image `first` on, down × across each, rounded up to a multiple of 4 so that matmul
//       can sum over them; data of the tiles too many is zero. Invocations: tiles · channels.
//#include TRANSFORM "lib/winograd4.wgsl"
//#include "lib/grid.wgsl"

struct Params {
  first: u32,
  images: u32,
  height: u32,
  width: u32,
  channels: u32,
  padH: u32,
  padW: u32,
  down: u32,
  across: u32,
  tiles: u32,
  biased: u32,
  turned: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> result: array<f32>;

// Which tile and channel an invocation has: the first pixel of the tile's results, its image (past the last one for a tile
// too many), and where the tile's first place lies in [POINTS²,tiles,channels].
struct Task { exists: bool, y: u32, x: u32, image: u32, tile: u32, channel: u32, channels: u32, at: u32 }

fn taskOf(group: vec3u, local: vec3u, groups: vec3u) -> Task {
  let channels = params.channels;
  let i = flatIndex(group, local, groups);
  let tile = i / channels;
  let line = tile / params.across;
  let image = line / params.down;
  return Task(tile < params.tiles, (line - image * params.down) * OUT, (tile - line * params.across) * OUT, image, tile,
    i - tile * channels, channels, i);
}

// A pixel, zero outside of the image.
fn pixel(task: Task, y: u32, x: u32) -> f32 {
  let inside = y < params.height && x < params.width && task.image < params.images;
  let at = (((params.first + task.image) * params.height + y) * params.width + x) * task.channels + task.channel;
  return select(0.0, source[select(0u, at, inside)], inside);
}

// Column x of a tile of POINTS rows.
fn dataColumn(task: Task, y: u32, x: u32) -> Line {
  var l: Line;
  l.v0 = pixel(task, y, x);
  l.v1 = pixel(task, y + 1u, x);
  l.v2 = pixel(task, y + 2u, x);
  l.v3 = pixel(task, y + 3u, x);
  if (POINTS > 4u) {
    l.v4 = pixel(task, y + 4u, x);
    l.v5 = pixel(task, y + 5u, x);
  }
  return dataLine(l);
}

// Column x of the gradient of a tile's OUT rows.
fn resultGradientColumn(task: Task, x: u32) -> Line {
  var l: Line;
  l.v0 = pixel(task, task.y, x);
  l.v1 = pixel(task, task.y + 1u, x);
  if (OUT > 2u) {
    l.v2 = pixel(task, task.y + 2u, x);
    l.v3 = pixel(task, task.y + 3u, x);
  }
  return resultGradientLine(l);
}

fn weightColumn(task: Task, s: u32) -> Line {
  var l: Line;
  var at = (task.tile * 9u + s) * task.channels + task.channel;
  var down = 3u * task.channels;
  if (params.turned != 0u) {
    at = (task.channel * 9u + 8u - s) * params.tiles + task.tile;
    down = 0u - 3u * params.tiles;
  }
  l.v0 = source[at];
  l.v1 = source[at + down];
  l.v2 = source[at + 2u * down];
  return weightLine(l);
}

// Column j of what lies in [POINTS²,tiles,channels].
fn placesColumn(task: Task, j: u32) -> Line {
  var l: Line;
  let matrix = params.tiles * task.channels;
  l.v0 = source[task.at + j * matrix];
  l.v1 = source[task.at + (POINTS + j) * matrix];
  l.v2 = source[task.at + (2u * POINTS + j) * matrix];
  l.v3 = source[task.at + (3u * POINTS + j) * matrix];
  if (POINTS > 4u) {
    l.v4 = source[task.at + (4u * POINTS + j) * matrix];
    l.v5 = source[task.at + (5u * POINTS + j) * matrix];
  }
  return l;
}

// Row i of [POINTS²,tiles,channels].
fn putPlaces(task: Task, i: u32, l: Line) {
  let matrix = params.tiles * task.channels;
  let at = task.at + i * POINTS * matrix;
  result[at] = l.v0;
  result[at + matrix] = l.v1;
  result[at + 2u * matrix] = l.v2;
  result[at + 3u * matrix] = l.v3;
  if (POINTS > 4u) {
    result[at + 4u * matrix] = l.v4;
    result[at + 5u * matrix] = l.v5;
  }
}

fn putPixel(task: Task, y: u32, x: u32, v: f32) {
  if (y < params.height && x < params.width) {
    result[(((params.first + task.image) * params.height + y) * params.width + x) * task.channels + task.channel] = v;
  }
}

// Row i of the tile's results.
fn putResults(task: Task, i: u32, l: Line, add: f32) {
  putPixel(task, task.y + i, task.x, l.v0 + add);
  putPixel(task, task.y + i, task.x + 1u, l.v1 + add);
  if (OUT > 2u) {
    putPixel(task, task.y + i, task.x + 2u, l.v2 + add);
    putPixel(task, task.y + i, task.x + 3u, l.v3 + add);
  }
}

fn putWeights(task: Task, r: u32, l: Line) {
  let at = (task.tile * 9u + 3u * r) * task.channels + task.channel;
  result[at] = l.v0;
  result[at + task.channels] = l.v1;
  result[at + 2u * task.channels] = l.v2;
}

@compute @workgroup_size(GROUP)
fn data(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let task = taskOf(group, local, groups);
  if (!task.exists) { return; }
  let y = task.y - params.padH; // wraps above the image, as x does left of it
  let x = task.x - params.padW;
  let c0 = dataColumn(task, y, x);
  let c1 = dataColumn(task, y, x + 1u);
  let c2 = dataColumn(task, y, x + 2u);
  let c3 = dataColumn(task, y, x + 3u);
  var c4: Line;
  var c5: Line;
  if (POINTS > 4u) {
    c4 = dataColumn(task, y, x + 4u);
    c5 = dataColumn(task, y, x + 5u);
  }
  putPlaces(task, 0u, dataLine(Line(c0.v0, c1.v0, c2.v0, c3.v0, c4.v0, c5.v0)));
  putPlaces(task, 1u, dataLine(Line(c0.v1, c1.v1, c2.v1, c3.v1, c4.v1, c5.v1)));
  putPlaces(task, 2u, dataLine(Line(c0.v2, c1.v2, c2.v2, c3.v2, c4.v2, c5.v2)));
  putPlaces(task, 3u, dataLine(Line(c0.v3, c1.v3, c2.v3, c3.v3, c4.v3, c5.v3)));
  if (POINTS > 4u) {
    putPlaces(task, 4u, dataLine(Line(c0.v4, c1.v4, c2.v4, c3.v4, c4.v4, c5.v4)));
    putPlaces(task, 5u, dataLine(Line(c0.v5, c1.v5, c2.v5, c3.v5, c4.v5, c5.v5)));
  }
}

@compute @workgroup_size(GROUP)
fn weights(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let task = taskOf(group, local, groups);
  if (!task.exists) { return; }
  let c0 = weightColumn(task, 0u);
  let c1 = weightColumn(task, 1u);
  let c2 = weightColumn(task, 2u);
  let no = 0.0;
  putPlaces(task, 0u, weightLine(Line(c0.v0, c1.v0, c2.v0, no, no, no)));
  putPlaces(task, 1u, weightLine(Line(c0.v1, c1.v1, c2.v1, no, no, no)));
  putPlaces(task, 2u, weightLine(Line(c0.v2, c1.v2, c2.v2, no, no, no)));
  putPlaces(task, 3u, weightLine(Line(c0.v3, c1.v3, c2.v3, no, no, no)));
  if (POINTS > 4u) {
    putPlaces(task, 4u, weightLine(Line(c0.v4, c1.v4, c2.v4, no, no, no)));
    putPlaces(task, 5u, weightLine(Line(c0.v5, c1.v5, c2.v5, no, no, no)));
  }
}

@compute @workgroup_size(GROUP)
fn results(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let task = taskOf(group, local, groups);
  if (!task.exists || task.image >= params.images) { return; }
  let c0 = resultLine(placesColumn(task, 0u));
  let c1 = resultLine(placesColumn(task, 1u));
  let c2 = resultLine(placesColumn(task, 2u));
  let c3 = resultLine(placesColumn(task, 3u));
  var c4: Line;
  var c5: Line;
  if (POINTS > 4u) {
    c4 = resultLine(placesColumn(task, 4u));
    c5 = resultLine(placesColumn(task, 5u));
  }
  var add = 0.0;
  if (params.biased != 0u) {
    add = bias[task.channel];
  }
  putResults(task, 0u, resultLine(Line(c0.v0, c1.v0, c2.v0, c3.v0, c4.v0, c5.v0)), add);
  putResults(task, 1u, resultLine(Line(c0.v1, c1.v1, c2.v1, c3.v1, c4.v1, c5.v1)), add);
  if (OUT > 2u) {
    putResults(task, 2u, resultLine(Line(c0.v2, c1.v2, c2.v2, c3.v2, c4.v2, c5.v2)), add);
    putResults(task, 3u, resultLine(Line(c0.v3, c1.v3, c2.v3, c3.v3, c4.v3, c5.v3)), add);
  }
}

@compute @workgroup_size(GROUP)
fn resultGradient(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u,
  @builtin(num_workgroups) groups: vec3u) {
  let task = taskOf(group, local, groups);
  if (!task.exists) { return; }
  let no = 0.0;
  let c0 = resultGradientColumn(task, task.x);
  let c1 = resultGradientColumn(task, task.x + 1u);
  var c2: Line;
  var c3: Line;
  if (OUT > 2u) {
    c2 = resultGradientColumn(task, task.x + 2u);
    c3 = resultGradientColumn(task, task.x + 3u);
  }
  putPlaces(task, 0u, resultGradientLine(Line(c0.v0, c1.v0, c2.v0, c3.v0, no, no)));
  putPlaces(task, 1u, resultGradientLine(Line(c0.v1, c1.v1, c2.v1, c3.v1, no, no)));
  putPlaces(task, 2u, resultGradientLine(Line(c0.v2, c1.v2, c2.v2, c3.v2, no, no)));
  putPlaces(task, 3u, resultGradientLine(Line(c0.v3, c1.v3, c2.v3, c3.v3, no, no)));
  if (POINTS > 4u) {
    putPlaces(task, 4u, resultGradientLine(Line(c0.v4, c1.v4, c2.v4, c3.v4, no, no)));
    putPlaces(task, 5u, resultGradientLine(Line(c0.v5, c1.v5, c2.v5, c3.v5, no, no)));
  }
}

@compute @workgroup_size(GROUP)
fn weightGradient(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u,
  @builtin(num_workgroups) groups: vec3u) {
  let task = taskOf(group, local, groups);
  if (!task.exists) { return; }
  let c0 = weightGradientLine(placesColumn(task, 0u));
  let c1 = weightGradientLine(placesColumn(task, 1u));
  let c2 = weightGradientLine(placesColumn(task, 2u));
  let c3 = weightGradientLine(placesColumn(task, 3u));
  var c4: Line;
  var c5: Line;
  if (POINTS > 4u) {
    c4 = weightGradientLine(placesColumn(task, 4u));
    c5 = weightGradientLine(placesColumn(task, 5u));
  }
  putWeights(task, 0u, weightGradientLine(Line(c0.v0, c1.v0, c2.v0, c3.v0, c4.v0, c5.v0)));
  putWeights(task, 1u, weightGradientLine(Line(c0.v1, c1.v1, c2.v1, c3.v1, c4.v1, c5.v1)));
  putWeights(task, 2u, weightGradientLine(Line(c0.v2, c1.v2, c2.v2, c3.v2, c4.v2, c5.v2)));
}
