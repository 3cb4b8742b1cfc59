// The matrices of F(2×2, 3×3), applied to one line of a tile: four data, three weights, two results. The points are 0, ±1, ∞.
const POINTS: u32 = 4u;
const OUT: u32 = 2u;

struct Line { v0: f32, v1: f32, v2: f32, v3: f32, v4: f32, v5: f32 }

// Bᵀ: four data.
fn dataLine(l: Line) -> Line {
  return Line(l.v0 - l.v2, l.v1 + l.v2, l.v2 - l.v1, l.v1 - l.v3, 0.0, 0.0);
}

// G: three weights to four.
fn weightLine(l: Line) -> Line {
  let even = 0.5 * (l.v0 + l.v2);
  let odd = 0.5 * l.v1;
  return Line(l.v0, even + odd, even - odd, l.v2, 0.0, 0.0);
}

// Aᵀ: four products to two results.
fn resultLine(l: Line) -> Line {
  return Line(l.v0 + l.v1 + l.v2, l.v1 - l.v2 - l.v3, 0.0, 0.0, 0.0, 0.0);
}

// A: the gradient of two results to four.
fn resultGradientLine(l: Line) -> Line {
  return Line(l.v0, l.v0 + l.v1, l.v0 - l.v1, -l.v1, 0.0, 0.0);
}

// Gᵀ: four to the gradient of three weights.
fn weightGradientLine(l: Line) -> Line {
  let sum = 0.5 * (l.v1 + l.v2);
  return Line(l.v0 + sum, 0.5 * (l.v1 - l.v2), sum + l.v3, 0.0, 0.0, 0.0);
}
