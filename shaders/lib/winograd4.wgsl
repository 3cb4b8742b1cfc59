// The matrices of F(4×4, 3×3), applied to one line of a tile: six data, three weights, four results.
//
// The points are 0, ±3/4, ±3/2 and ∞. They give half the rounding error of the textbook's 0, ±1, ±2, ∞, keep the symmetry that
// lets ± pairs share their sums, and all of Aᵀ and Bᵀ is exact in f32.
const POINTS: u32 = 6u;
const OUT: u32 = 4u;

struct Line { v0: vec4f, v1: vec4f, v2: vec4f, v3: vec4f, v4: vec4f, v5: vec4f }

// Bᵀ: six data.
fn dataLine(l: Line) -> Line {
  let even1 = l.v4 - 2.25 * l.v2;
  let odd1 = 0.75 * l.v3 - 1.6875 * l.v1;
  let even2 = l.v4 - 0.5625 * l.v2;
  let odd2 = 1.5 * l.v3 - 0.84375 * l.v1;
  return Line(fma(vec4f(1.265625), l.v0, fma(vec4f(-2.8125), l.v2, l.v4)), even1 + odd1, even1 - odd1, even2 + odd2,
    even2 - odd2, fma(vec4f(1.265625), l.v1, fma(vec4f(-2.8125), l.v3, l.v5)));
}

// G: three weights to six.
fn weightLine(l: Line) -> Line {
  let even1 = (-128.0 / 243.0) * l.v0 + (-8.0 / 27.0) * l.v2;
  let odd1 = (-32.0 / 81.0) * l.v1;
  let even2 = (32.0 / 243.0) * l.v0 + (8.0 / 27.0) * l.v2;
  let odd2 = (16.0 / 81.0) * l.v1;
  return Line((64.0 / 81.0) * l.v0, even1 + odd1, even1 - odd1, even2 + odd2, even2 - odd2, l.v2);
}

// Aᵀ: six products to four results.
fn resultLine(l: Line) -> Line {
  let sum1 = l.v1 + l.v2;
  let difference1 = l.v1 - l.v2;
  let sum2 = l.v3 + l.v4;
  let difference2 = l.v3 - l.v4;
  return Line(l.v0 + sum1 + sum2, 0.75 * difference1 + 1.5 * difference2, 0.5625 * sum1 + 2.25 * sum2,
    0.421875 * difference1 + 3.375 * difference2 + l.v5, vec4f(), vec4f());
}

// A: the gradient of four results to six.
fn resultGradientLine(l: Line) -> Line {
  let even1 = l.v0 + 0.5625 * l.v2;
  let odd1 = 0.75 * l.v1 + 0.421875 * l.v3;
  let even2 = l.v0 + 2.25 * l.v2;
  let odd2 = 1.5 * l.v1 + 3.375 * l.v3;
  return Line(l.v0, even1 + odd1, even1 - odd1, even2 + odd2, even2 - odd2, l.v3);
}

// Gᵀ: six to the gradient of three weights.
fn weightGradientLine(l: Line) -> Line {
  let sum1 = l.v1 + l.v2;
  let sum2 = l.v3 + l.v4;
  return Line((64.0 / 81.0) * l.v0 + (-128.0 / 243.0) * sum1 + (32.0 / 243.0) * sum2,
    (-32.0 / 81.0) * (l.v1 - l.v2) + (16.0 / 81.0) * (l.v3 - l.v4), (8.0 / 27.0) * (sum2 - sum1) + l.v5,
    vec4f(), vec4f(), vec4f());
}
