// The matrices of F(2×2, 3×3), applied to one line of a tile: four data, three weights, two results. The points are 0, ±1, ∞.
const POINTS: u32 = 4u;
const OUT: u32 = 2u;

struct Line { v0: vec4f, v1: vec4f, v2: vec4f, v3: vec4f, v4: vec4f, v5: vec4f }

// Bᵀ: four data.
fn dataLine(l: Line) -> Line {
  return Line(l.v0 - l.v2, l.v1 + l.v2, l.v2 - l.v1, l.v1 - l.v3, vec4f(), vec4f());
}

// G: three weights to four.
fn weightLine(l: Line) -> Line {
  let even = 0.5 * (l.v0 + l.v2);
  let odd = 0.5 * l.v1;
  return Line(l.v0, even + odd, even - odd, l.v2, vec4f(), vec4f());
}

// Aᵀ: four products to two results.
fn resultLine(l: Line) -> Line {
  return Line(l.v0 + l.v1 + l.v2, l.v1 - l.v2 - l.v3, vec4f(), vec4f(), vec4f(), vec4f());
}

// A: the gradient of two results to four.
fn resultGradientLine(l: Line) -> Line {
  return Line(l.v0, l.v0 + l.v1, l.v0 - l.v1, -l.v1, vec4f(), vec4f());
}

// Gᵀ: four to the gradient of three weights.
fn weightGradientLine(l: Line) -> Line {
  let sum = 0.5 * (l.v1 + l.v2);
  return Line(l.v0 + sum, 0.5 * (l.v1 - l.v2), sum + l.v3, vec4f(), vec4f(), vec4f());
}
