import { Canvas, curve, ellipse, type Point } from './canvas.ts';
import type { ImageSet } from './dataset.ts';
import { type Expression, perform } from './expressions.ts';
import { Pcg } from './pcg.ts';
import { emotions } from './rows.ts';

/** Side of a toyface in pixels: FER2013's. */
const toyfaceSide = 48;

/** Which numbers the splits' images have. They never change, so that `toyfaces #12` is the same face in every run. */
const numbers = { train: [0, 2100], valid: [2100, 2800], test: [2800, 3500] } as const;
const setSeed = 1;

/**
 * The toyfaces: 2,100 images to train, 700 to validate and 700 to test, 48×48 gray, the seven classes equally often.
 * They do not depend on the run's seed, so runs with different seeds compare. `limit` takes the first images of each split.
 */
export function drawToyfaces(limit = Number.POSITIVE_INFINITY) {
  const draw = ([from, to]: readonly [number, number]) => drawRange(setSeed, from, Math.min(to, from + limit));
  return {
    train: draw(numbers.train),
    valid: draw(numbers.valid),
    test: draw(numbers.test),
    firstNumber: { train: numbers.train[0], valid: numbers.valid[0], test: numbers.test[0] },
  };
}

/** Faces `from` to `to` (exclusive) of a seed; a face's label is its number modulo 7. */
export function drawRange(seed: number, from: number, to: number): ImageSet {
  const count = to - from;
  const area = toyfaceSide * toyfaceSide;
  const pixels = new Uint8Array(count * area);
  const labels = new Uint8Array(count);
  for (let i = 0; i < count; i++) {
    labels[i] = (from + i) % emotions.length;
    pixels.set(drawToyface(seed, from + i, labels[i]!), i * area);
  }
  return { pixels, labels, count, side: toyfaceSide, channels: 1 };
}

/** Draws face `number` of a seed with the given expression: [48, 48] gray u8, the same bytes on every machine. */
export function drawToyface(seed: number, number: number, label: number): Uint8Array {
  const random = new Pcg(seed, number);
  const canvas = new Canvas(
    toyfaceSide,
    24 + random.uniform(-1.8, 1.8),
    24 + random.uniform(-1.8, 1.8),
    random.uniform(20.5, 24),
    random.uniform(-0.07, 0.07),
  );
  const face = randomFace(random);
  const expression = perform(random, label);
  drawBackground(canvas, random);
  drawHead(canvas, random, face);
  drawBrowsAndEyes(canvas, random, face, expression);
  drawNose(canvas, face, expression);
  drawMouth(canvas, random, face, expression);
  drawExtras(canvas, random, face);
  return develop(canvas, random);
}

/** What stays the same whatever the face expresses. */
interface Face {
  width: number;
  skin: number;
  hair: number;
  lip: number;
  /** Turn to the side and up or down; −1 to 1. */
  yaw: number;
  pitch: number;
  eyeX: number;
  eyeY: number;
  eyeWidth: number;
  browY: number;
  browWidth: number;
  mouthY: number;
  nose: number;
  hasGlasses: boolean;
}

function randomFace(random: Pcg): Face {
  const skin = random.uniform(0.45, 0.9);
  // Fair hair on dark skin happens too: brows are not always the darker part.
  const hair = random.chance(0.12)
    ? Math.min(1, skin + random.uniform(0.15, 0.4))
    : Math.max(0, skin - random.uniform(0.35, 0.7));
  const lip = skin + (random.chance(0.15) ? 1 : -1) * random.uniform(0.1, 0.25);
  return {
    width: random.uniform(0.72, 0.92),
    skin,
    hair,
    lip,
    yaw: random.uniform(-1, 1),
    pitch: random.uniform(-1, 1),
    eyeX: random.uniform(0.31, 0.39),
    eyeY: random.uniform(-0.2, -0.1),
    eyeWidth: random.uniform(0.14, 0.19),
    browY: random.uniform(-0.45, -0.37),
    browWidth: random.uniform(0.065, 0.12),
    mouthY: random.uniform(0.44, 0.55),
    nose: random.uniform(0.16, 0.3),
    hasGlasses: random.chance(0.25),
  };
}

/** Where a point of the face's front goes when the head turns: sideways more in the middle, which is nearer. */
function posed({ yaw, pitch }: Face, x: number, y: number): Point {
  return [x * (1 - 0.1 * yaw * yaw) + 0.2 * yaw * (1 - 0.7 * x * x), y + 0.12 * pitch * (1 - 0.5 * y * y)];
}

function drawBackground(canvas: Canvas, random: Pcg): void {
  const tone = random.uniform(0.05, 0.95);
  const [slopeX, slopeY] = [random.uniform(-0.15, 0.15), random.uniform(-0.15, 0.15)];
  canvas.shape(
    [0, 0],
    [6, 6],
    () => -1,
    (x, y) => tone + slopeX * x + slopeY * y,
  );
  for (let blobs = random.below(5); blobs > 0; blobs--) {
    const centre: Point = [random.uniform(-1.5, 1.5), random.uniform(-1.5, 1.5)];
    canvas.ellipse(
      centre,
      random.uniform(0.1, 0.7),
      random.uniform(0.1, 0.7),
      random.uniform(0, 1),
      0.5,
      random.uniform(1, 5),
    );
  }
}

function drawHead(canvas: Canvas, random: Pcg, face: Face): void {
  const { width, skin, hair } = face;
  const style = random.below(5);
  const longHair = style === 1 || style === 2;
  if (longHair) canvas.ellipse([0, 0.05], width + random.uniform(0.12, 0.3), random.uniform(1.15, 1.4), hair);
  else if (style > 0) canvas.ellipse([0, -0.22], width + 0.08, random.uniform(0.9, 1.02), hair);

  const shoulders = random.uniform(0.1, 0.9);
  canvas.ellipse([0, 2.05], 1.35, 0.85, shoulders);
  canvas.ellipse([0, 1], 0.38, 0.5, skin * 0.82);
  for (const side of longHair ? [] : [-1, 1]) canvas.ellipse([side * width, -0.05], 0.1, 0.2, skin * 0.88);

  const [lightX, lightY] = [random.uniform(-0.3, 0.3), random.uniform(-0.25, 0.2)];
  const round = random.uniform(0.05, 0.3);
  const head = ellipse(0, 0, width, 1);
  const lit = (x: number, y: number) => skin * (1 + lightX * x + lightY * y - (round * (x * x + y * y)) / 2);
  canvas.shape([0, 0], [width, 1], head, lit);
  if (random.chance(0.2)) {
    // Half the face in shadow, with a soft edge that follows nothing in the face.
    const [nx, ny, at] = [random.uniform(-1, 1), random.uniform(-0.5, 0.5), random.uniform(-0.2, 0.4)];
    canvas.shape(
      [0, 0],
      [width, 1],
      (x, y) => Math.max(head(x, y), at - (nx * x + ny * y)),
      skin * 0.5,
      random.uniform(0.2, 0.5),
      4,
    );
  }
  if (style > 0) {
    const hairline = random.uniform(-0.82, -0.58);
    const bend = random.uniform(-0.3, 0.4);
    const parting = random.uniform(-0.25, 0.25);
    // A little beyond the head's edge, where skin would else shine through between hair and hair.
    canvas.shape(
      [0, -0.5],
      [width, 0.6],
      (x, y) => Math.max(head(x, y) - 0.04, y - hairline - bend * x * x - parting * x),
      hair,
    );
  }
}

function drawBrowsAndEyes(canvas: Canvas, random: Pcg, face: Face, expression: Expression): void {
  const { eyeX, eyeY, eyeWidth, browY, browWidth, hair, skin } = face;
  const { browInner, browOuter, browArch, eyeOpen, furrows } = expression;
  const white = Math.min(1, skin + random.uniform(0.12, 0.4));
  const iris = random.uniform(0.02, 0.2);
  const [gazeX, gazeY] = [random.uniform(-0.05, 0.05), random.uniform(-0.025, 0.025)];
  const lid = Math.max(0, skin - random.uniform(0.25, 0.5));
  for (const side of [-1, 1]) {
    const [x, y] = posed(face, side * eyeX, eyeY);
    const opening = ellipse(x, y, eyeWidth, Math.max(0.03, eyeOpen));
    if (eyeOpen > 0.03) {
      const pupil = ellipse(x + gazeX, y + gazeY, 0.085, 0.085);
      canvas.shape([x, y], [eyeWidth, eyeOpen], opening, white);
      canvas.shape([x, y], [eyeWidth, eyeOpen], (px, py) => Math.max(opening(px, py), pupil(px, py)), iris);
    }
    const lift = Math.max(0.02, eyeOpen) * 2;
    canvas.stroke(curve([x - eyeWidth, y], [x, y - lift], [x + eyeWidth, y]), 0.045, lid);
    canvas.stroke(curve([x - eyeWidth, y], [x, y + lift * 0.85], [x + eyeWidth, y]), 0.03, lid, 0.5);

    const jitter = random.uniform(-0.015, 0.015);
    const inner = posed(face, side * (eyeX - 0.19), browY + browInner + jitter);
    const outer = posed(face, side * (eyeX + 0.2), browY + browOuter - jitter);
    const middle = posed(face, side * eyeX, browY + (browInner + browOuter) / 2 - browArch * 2);
    canvas.stroke(curve(inner, middle, outer), browWidth, hair, 0.95);
    if (furrows > 0) {
      canvas.stroke(
        [posed(face, side * 0.055, browY - 0.02), posed(face, side * 0.045, browY + 0.14)],
        0.035,
        skin * 0.55,
        furrows * 0.7,
      );
    }
  }
}

function drawNose(canvas: Canvas, face: Face, { wrinkles }: Expression): void {
  const { eyeY, nose, skin, yaw } = face;
  const bridge = posed(face, 0.04 * yaw, eyeY + 0.08);
  const tip = posed(face, 0.08 * yaw, eyeY + 0.16 + nose);
  const wing = yaw > 0 ? 0.09 : -0.09;
  canvas.stroke([bridge, [tip[0] + wing, tip[1]], [tip[0] - wing * 0.8, tip[1] + 0.03]], 0.035, skin * 0.7, 0.7);
  if (wrinkles === 0) return;
  for (const rise of [0.02, 0.1]) {
    const [left, middle, right] = [
      posed(face, -0.12, eyeY + rise),
      posed(face, 0, eyeY + rise - 0.06),
      posed(face, 0.12, eyeY + rise),
    ];
    canvas.stroke(curve(left, middle, right), 0.035, skin * 0.5, wrinkles * 0.8);
  }
  for (const side of [-1, 1]) {
    const fold = curve(
      posed(face, side * 0.15, eyeY + 0.36),
      posed(face, side * 0.34, eyeY + 0.42),
      posed(face, side * 0.38, eyeY + 0.6),
    );
    canvas.stroke(fold, 0.035, skin * 0.55, wrinkles * 0.7);
  }
}

function drawMouth(canvas: Canvas, random: Pcg, face: Face, expression: Expression): void {
  const { mouthY, skin, lip, hair } = face;
  const { mouthWidth, smile, openUp, openDown, boxed, skew, teeth } = expression;
  const [middleX, middleY] = posed(face, 0, mouthY);
  const width = mouthWidth * (1 - 0.12 * face.yaw * face.yaw);
  // The line between the lips over t = −1 … 1 from corner to corner, and how far they part there.
  const line = (t: number) => middleY + smile * (0.5 - t * t) - skew * t * (0.5 + 0.5 * t);
  const parting = (t: number) => (boxed > 0 ? 1 - t * t * t * t : 1 - t * t);
  const edge = (sign: number, open: number): Point[] =>
    Array.from({ length: 9 }, (_, i) => {
      const t = (i - 4) / 4;
      return [middleX + t * width, line(t) + sign * open * parting(t)];
    });
  if (random.chance(0.12)) canvas.stroke(edge(-1, openUp + 0.13).slice(1, 8), 0.1, hair, 0.85);
  if (openUp + openDown > 0.02) {
    const inside = (x: number, y: number) => {
      const t = (x - middleX) / width;
      const centre = line(Math.min(1, Math.max(-1, t)));
      const p = Math.max(0, parting(t));
      return Math.max(y - centre - openDown * p, centre - openUp * p - y, Math.abs(x - middleX) - width);
    };
    canvas.shape([middleX, middleY], [width, 0.5], inside, random.uniform(0, 0.15));
    if (teeth > 0) {
      const height = (openUp + openDown) * 0.5;
      const band = (x: number, y: number) => {
        const t = Math.min(1, Math.max(-1, (x - middleX) / width));
        return Math.max(inside(x, y), y - (line(t) - openUp * parting(t)) - height);
      };
      canvas.shape([middleX, middleY], [width, 0.5], band, Math.min(1, skin + 0.35), teeth);
    }
    canvas.stroke(edge(1, openDown), 0.06, lip);
    canvas.stroke(edge(-1, openUp), 0.055, lip);
  } else {
    canvas.stroke(edge(1, 0.035), 0.09, lip, 0.8);
    canvas.stroke(edge(0, 0), 0.05, Math.max(0, Math.min(skin, lip) - 0.3));
  }
}

/** Glasses, freckles, and things in front of the face that leave most of it to be seen. */
function drawExtras(canvas: Canvas, random: Pcg, face: Face): void {
  if (face.hasGlasses) {
    const rim = random.chance(0.7) ? random.uniform(0, 0.25) : random.uniform(0.7, 1);
    const radius = random.uniform(0.21, 0.27);
    const tint = random.chance(0.3) ? random.uniform(0.1, 0.35) : 0;
    for (const side of [-1, 1]) {
      const [x, y] = posed(face, side * (face.eyeX + 0.01), face.eyeY + 0.02);
      const lens = ellipse(x, y, radius, radius * 0.85);
      canvas.shape([x, y], [radius, radius], lens, 0.1, tint);
      canvas.shape([x, y], [radius + 0.03, radius], (px, py) => Math.abs(lens(px, py)) - 0.022, rim);
      canvas.stroke(
        [
          [x + side * radius, y],
          [side * face.width, face.eyeY - 0.03],
        ],
        0.045,
        rim,
      );
    }
    canvas.stroke([posed(face, -0.1, face.eyeY), posed(face, 0.1, face.eyeY)], 0.045, rim);
  }
  if (random.chance(0.25)) {
    // From the side, the top or the bottom: a hand, a scarf, a cap.
    const tone = random.uniform(0, 1);
    const side = random.chance(0.5) ? 1 : -1;
    const place = random.below(3);
    if (place === 0)
      canvas.ellipse(
        [side * random.uniform(0.75, 0.95), random.uniform(-0.5, 0.8)],
        random.uniform(0.2, 0.4),
        random.uniform(0.25, 0.5),
        tone,
      );
    else if (place === 1)
      canvas.ellipse([random.uniform(-0.3, 0.3), -1.25], random.uniform(0.9, 1.2), random.uniform(0.5, 0.65), tone);
    else canvas.ellipse([random.uniform(-0.4, 0.4), 1.35], random.uniform(0.7, 1.1), random.uniform(0.4, 0.55), tone);
  }
}

/** The camera's part: focus, exposure, contrast, noise, and eight bits. */
function develop(canvas: Canvas, random: Pcg): Uint8Array {
  canvas.blur(random.uniform(0, 0.9));
  const contrast = random.uniform(0.7, 1.1);
  const exposure = random.uniform(-0.15, 0.15);
  const grain = contrast * random.uniform(0.005, 0.035);
  const out = new Uint8Array(canvas.values.length);
  for (let i = 0; i < out.length; i++) {
    const value = (canvas.values[i]! - 0.5) * contrast + 0.5 + exposure + random.normal() * grain;
    out[i] = Math.min(255, Math.max(0, Math.floor(value * 255 + 0.5)));
  }
  return out;
}
