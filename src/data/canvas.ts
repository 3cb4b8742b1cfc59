/** A point of the drawing plane. */
export type Point = [x: number, y: number];

/**
 * A square gray picture drawn by signed distances in coordinates of its own, so that every edge is anti-aliased over one pixel.
 *
 * Only + − × ÷ and square roots, which IEEE 754 rounds exactly: the bytes are the same on every machine.
 */
export class Canvas {
  readonly side: number;
  readonly values: Float64Array;
  private readonly originX: number;
  private readonly originY: number;
  private readonly unit: number;
  private readonly cos: number;
  private readonly sin: number;

  /** Drawing coordinates: origin in pixels, `unit` pixels to 1, turned by the angle whose half has the tangent `halfTan`. */
  constructor(side: number, originX: number, originY: number, unit: number, halfTan: number) {
    this.side = side;
    this.values = new Float64Array(side * side);
    this.originX = originX;
    this.originY = originY;
    this.unit = unit;
    this.cos = (1 - halfTan * halfTan) / (1 + halfTan * halfTan);
    this.sin = (2 * halfTan) / (1 + halfTan * halfTan);
  }

  /**
   * Blends `tone(x, y)` over the pixels where `distance(x, y)` (negative inside) says so, within the box of half sides
   * `reachX` and `reachY` around the centre. `soft` is the width of the edge in pixels.
   */
  shape(
    [centreX, centreY]: Point,
    [reachX, reachY]: Point,
    distance: (x: number, y: number) => number,
    tone: number | ((x: number, y: number) => number),
    alpha = 1,
    soft = 1,
  ): void {
    const { side, unit, cos, sin, originX, originY, values } = this;
    const middleX = originX + (centreX * cos - centreY * sin) * unit;
    const middleY = originY + (centreX * sin + centreY * cos) * unit;
    const width = (cos * reachX + Math.abs(sin) * reachY) * unit + soft;
    const height = (cos * reachY + Math.abs(sin) * reachX) * unit + soft;
    const left = Math.max(0, Math.floor(middleX - width));
    const right = Math.min(side, Math.ceil(middleX + width));
    const top = Math.max(0, Math.floor(middleY - height));
    const bottom = Math.min(side, Math.ceil(middleY + height));
    for (let row = top; row < bottom; row++) {
      const dy = (row + 0.5 - originY) / unit;
      for (let column = left; column < right; column++) {
        const dx = (column + 0.5 - originX) / unit;
        const x = dx * cos + dy * sin;
        const y = dy * cos - dx * sin;
        const inside = 0.5 - (distance(x, y) * unit) / soft;
        if (inside <= 0) continue;
        const cover = inside < 1 ? alpha * inside : alpha;
        const at = row * side + column;
        const value = typeof tone === 'number' ? tone : tone(x, y);
        values[at] = values[at]! + (value - values[at]!) * cover;
      }
    }
  }

  /** A line of constant width through the points, with round ends. */
  stroke(points: Point[], width: number, tone: number, alpha = 1): void {
    const xs = points.map(([x]) => x);
    const ys = points.map(([, y]) => y);
    const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const half = width / 2;
    // Each pixel asks every segment: what a segment is, is worked out once.
    const segments = points.slice(1).map(([toX, toY], i) => {
      const [fromX, fromY] = points[i]!;
      const [dx, dy] = [toX - fromX, toY - fromY];
      return { fromX, fromY, dx, dy, square: dx * dx + dy * dy + 1e-12 };
    });
    const distance = (x: number, y: number) => {
      let nearest = Number.POSITIVE_INFINITY;
      for (const { fromX, fromY, dx, dy, square } of segments) {
        const px = x - fromX;
        const py = y - fromY;
        const t = Math.min(1, Math.max(0, (px * dx + py * dy) / square));
        const ex = px - t * dx;
        const ey = py - t * dy;
        const away = ex * ex + ey * ey;
        if (away < nearest) nearest = away;
      }
      return Math.sqrt(nearest) - half;
    };
    const centre: Point = [(left + right) / 2, (top + bottom) / 2];
    this.shape(centre, [(right - left) / 2 + half, (bottom - top) / 2 + half], distance, tone, alpha);
  }

  /** An ellipse with its axes along the drawing's. */
  ellipse([centreX, centreY]: Point, radiusX: number, radiusY: number, tone: number, alpha = 1, soft = 1): void {
    const distance = ellipse(centreX, centreY, radiusX, radiusY);
    this.shape([centreX, centreY], [radiusX, radiusY], distance, tone, alpha, soft);
  }

  /** One pass of the binomial filter (1 2 1)/4 along both axes, edges repeated, mixed in by `amount`. */
  blur(amount: number): void {
    const { side, values } = this;
    const across = new Float64Array(side * side);
    for (let row = 0; row < side; row++) {
      for (let column = 0; column < side; column++) {
        const i = row * side + column;
        const before = column === 0 ? i : i - 1;
        const after = column === side - 1 ? i : i + 1;
        across[i] = (values[before]! + 2 * values[i]! + values[after]!) / 4;
      }
    }
    for (let row = 0; row < side; row++) {
      const above = Math.max(0, row - 1) * side;
      const below = Math.min(side - 1, row + 1) * side;
      for (let column = 0; column < side; column++) {
        const i = row * side + column;
        const smooth = (across[above + column]! + 2 * across[i]! + across[below + column]!) / 4;
        values[i] = values[i]! + (smooth - values[i]!) * amount;
      }
    }
  }
}

/** Signed distance to an ellipse, first order: exact on the edge, which is where it counts. */
export function ellipse(centreX: number, centreY: number, radiusX: number, radiusY: number) {
  return (x: number, y: number): number => {
    const nx = (x - centreX) / radiusX;
    const ny = (y - centreY) / radiusY;
    const k = Math.sqrt(nx * nx + ny * ny);
    const [sx, sy] = [nx / radiusX, ny / radiusY];
    // Not Math.hypot or **: their rounding is the engine's own business.
    const slope = Math.sqrt(sx * sx + sy * sy);
    return slope === 0 ? -Math.min(radiusX, radiusY) : (k * (k - 1)) / slope;
  };
}

/** Points on the parabola through `from` and `to` whose middle control point is `control` (a quadratic Bézier curve). */
export function curve(from: Point, control: Point, to: Point, segments = 6): Point[] {
  return Array.from({ length: segments + 1 }, (_, i) => {
    const t = i / segments;
    const [a, b, c] = [(1 - t) * (1 - t), 2 * t * (1 - t), t * t];
    return [a * from[0] + b * control[0] + c * to[0], a * from[1] + b * control[1] + c * to[1]];
  });
}
