import type { Pcg } from './pcg.ts';

/** How an expression moves the face. Distances in face units: the head is about 2 high; y points down. */
export interface Expression {
  /** Brow ends, up when negative, and how far the middle arches above them. */
  browInner: number;
  browOuter: number;
  browArch: number;
  /** Half the height of the open eye. */
  eyeOpen: number;
  /** Half the width of the mouth; corners up when `smile` is positive. */
  mouthWidth: number;
  smile: number;
  /** How far the lips part above and below the mouth's line, and whether they part as an arc (0) or a box (1). */
  openUp: number;
  openDown: number;
  boxed: number;
  /** One corner higher than the other. */
  skew: number;
  /** Strength of teeth, of wrinkles on the nose, of furrows between the brows. */
  teeth: number;
  wrinkles: number;
  furrows: number;
}

const neutral: Expression = {
  browInner: 0,
  browOuter: 0.02,
  browArch: 0.05,
  eyeOpen: 0.1,
  mouthWidth: 0.34,
  smile: 0,
  openUp: 0,
  openDown: 0,
  boxed: 0,
  skew: 0,
  teeth: 0,
  wrinkles: 0,
  furrows: 0,
};

/** By label; what an expression does not name is as in the neutral face. Two entries of one emotion are drawn equally often. */
const expressions: Partial<Expression>[][] = [
  // angry: brows pulled down and together, eyes narrowed, lips pressed or teeth bared
  [
    { browInner: 0.17, browOuter: -0.12, browArch: 0.01, eyeOpen: 0.08, mouthWidth: 0.34, smile: -0.1, furrows: 1 },
    {
      browInner: 0.17,
      browOuter: -0.12,
      browArch: 0.01,
      eyeOpen: 0.09,
      mouthWidth: 0.36,
      smile: -0.05,
      openUp: 0.1,
      openDown: 0.11,
      boxed: 1,
      teeth: 1,
      furrows: 1,
    },
  ],
  // disgust: nose wrinkled, upper lip raised on one side, eyes squinted
  [
    {
      browInner: 0.09,
      browOuter: 0.04,
      browArch: 0.02,
      eyeOpen: 0.04,
      mouthWidth: 0.3,
      smile: -0.2,
      skew: 0.15,
      wrinkles: 1,
    },
    {
      browInner: 0.09,
      browOuter: 0.04,
      browArch: 0.02,
      eyeOpen: 0.04,
      mouthWidth: 0.3,
      smile: -0.18,
      openUp: 0.1,
      skew: 0.15,
      teeth: 0.7,
      wrinkles: 1,
    },
  ],
  // fear: brows raised and drawn together, eyes wide, mouth stretched
  [
    {
      browInner: -0.22,
      browOuter: 0,
      browArch: 0.01,
      eyeOpen: 0.2,
      mouthWidth: 0.46,
      smile: -0.14,
      openUp: 0.08,
      openDown: 0.12,
      boxed: 1,
      teeth: 0.5,
    },
  ],
  // happy: corners of the mouth up, cheeks up
  [
    { browInner: -0.03, browOuter: -0.01, browArch: 0.07, eyeOpen: 0.075, mouthWidth: 0.48, smile: 0.32 },
    {
      browInner: -0.03,
      browOuter: -0.01,
      browArch: 0.07,
      eyeOpen: 0.07,
      mouthWidth: 0.48,
      smile: 0.28,
      openDown: 0.22,
      teeth: 1,
    },
  ],
  // sad: inner ends of the brows up, lids low, corners of the mouth down
  [{ browInner: -0.16, browOuter: 0.13, browArch: 0, eyeOpen: 0.06, mouthWidth: 0.32, smile: -0.28 }],
  // surprise: brows high and arched, eyes wide, jaw dropped
  [
    {
      browInner: -0.16,
      browOuter: -0.15,
      browArch: 0.14,
      eyeOpen: 0.2,
      mouthWidth: 0.21,
      openUp: 0.14,
      openDown: 0.26,
    },
  ],
  // neutral
  [{}],
];

/** An expression of a class, weaker or stronger, and each part of it a little off. */
export function perform(random: Pcg, label: number): Expression {
  const variants = expressions[label]!;
  const goal = { ...neutral, ...variants[random.below(variants.length)]! };
  const strength = random.uniform(0.8, 1.15);
  const side = random.chance(0.5) ? 1 : -1;
  const towards = (name: keyof Expression, jitter: number) =>
    neutral[name] + (goal[name] - neutral[name]) * strength + random.normal() * jitter;
  return {
    browInner: towards('browInner', 0.018),
    browOuter: towards('browOuter', 0.018),
    browArch: towards('browArch', 0.015),
    eyeOpen: Math.max(0.02, towards('eyeOpen', 0.012)),
    mouthWidth: towards('mouthWidth', 0.025),
    smile: towards('smile', 0.02),
    openUp: goal.openUp === 0 ? 0 : towards('openUp', 0.012),
    openDown: goal.openDown === 0 ? 0 : towards('openDown', 0.02),
    boxed: goal.boxed,
    skew: side * towards('skew', 0.015),
    teeth: goal.teeth * random.uniform(0.6, 1),
    wrinkles: goal.wrinkles * random.uniform(0.6, 1),
    furrows: goal.furrows * random.uniform(0.5, 1),
  };
}
