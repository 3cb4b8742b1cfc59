// The matrices of F(4×4, 3×3), applied to one line of a tile: six data, three weights, four results.
//
// The points are 0, ±3/4, ±3/2 and ∞. They give half the rounding error of the textbook's 0, ±1, ±2, ∞, keep the symmetry that
// lets ± pairs share their sums, and all of Aᵀ and Bᵀ is exact in f32.
const POINTS: u32 = 6u;
const OUT: u32 = 4u;

struct Line { v0: f32, v1: f32, v2: f32, v3: f32, v4: f32, v5: f32 }

// The points a and b, their powers, and the scales of G's rows for them and for 0; worked out in f64 and rounded to f32 where used.
const A = 0.75;
const B = 1.5;
const A2 = A * A;
const B2 = B * B;
const SCALE_A = 0.5 / (A2 * (A2 - B2));
const SCALE_B = 0.5 / (B2 * (B2 - A2));
const SCALE_0 = 1.0 / (A2 * B2);

fn scaled(by: f32, x: f32, y: f32) -> f32 { return fma(by, x, y); }

// Bᵀ: six data.
fn dataLine(l: Line) -> Line {
  let even1 = scaled(-B2, l.v2, l.v4);
  let odd1 = scaled(-B2, l.v1, l.v3);
  let even2 = scaled(-A2, l.v2, l.v4);
  let odd2 = scaled(-A2, l.v1, l.v3);
  return Line(scaled(A2 * B2, l.v0, scaled(-A2 - B2, l.v2, l.v4)), scaled(A, odd1, even1), scaled(-A, odd1, even1),
    scaled(B, odd2, even2), scaled(-B, odd2, even2), scaled(A2 * B2, l.v1, scaled(-A2 - B2, l.v3, l.v5)));
}

// G: three weights to six.
fn weightLine(l: Line) -> Line {
  let even1 = scaled(A2, l.v2, l.v0);
  let even2 = scaled(B2, l.v2, l.v0);
  return Line(SCALE_0 * l.v0, SCALE_A * scaled(A, l.v1, even1), SCALE_A * scaled(-A, l.v1, even1),
    SCALE_B * scaled(B, l.v1, even2), SCALE_B * scaled(-B, l.v1, even2), l.v2);
}

// Aᵀ: six products to four results.
fn resultLine(l: Line) -> Line {
  let sum1 = l.v1 + l.v2;
  let difference1 = l.v1 - l.v2;
  let sum2 = l.v3 + l.v4;
  let difference2 = l.v3 - l.v4;
  return Line(l.v0 + (sum1 + sum2), scaled(A, difference1, B * difference2), scaled(A2, sum1, B2 * sum2),
    scaled(A2 * A, difference1, scaled(B2 * B, difference2, l.v5)), 0.0, 0.0);
}

// A: the gradient of four results to six.
fn resultGradientLine(l: Line) -> Line {
  let even1 = scaled(A2, l.v2, l.v0);
  let odd1 = scaled(A2, l.v3, l.v1);
  let even2 = scaled(B2, l.v2, l.v0);
  let odd2 = scaled(B2, l.v3, l.v1);
  return Line(l.v0, scaled(A, odd1, even1), scaled(-A, odd1, even1), scaled(B, odd2, even2), scaled(-B, odd2, even2), l.v3);
}

// Gᵀ: six to the gradient of three weights.
fn weightGradientLine(l: Line) -> Line {
  let sum1 = l.v1 + l.v2;
  let sum2 = l.v3 + l.v4;
  return Line(scaled(SCALE_0, l.v0, scaled(SCALE_A, sum1, SCALE_B * sum2)),
    scaled(SCALE_A * A, l.v1 - l.v2, (SCALE_B * B) * (l.v3 - l.v4)), scaled(SCALE_B * B2, sum2 - sum1, l.v5),
    0.0, 0.0, 0.0);
}
