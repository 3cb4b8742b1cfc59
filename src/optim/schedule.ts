import { checkNumbers, checkWholes } from '../core/bounds.ts';

/** Learning rate and momentum (β₁ of Adam) of a step. */
export interface Rates {
  lr: number;
  /** β₁ of Adam. */
  momentum: number;
  /** Learning rates of the layer groups in place of `lr`, where each has its own. */
  layerLrs?: readonly number[];
}

/** A schedule: the rates of step `step` of `steps`, counted from 0. Pure, so that a run can be resumed anywhere. */
export type Schedule = (step: number, steps: number) => Rates;

/** Momentum, and β₁ of Adam. */
const MOMENTUM = { from: 0, below: 1 };

function checkRates(schedule: string, lr: number, momentum: number): void {
  checkNumbers(schedule, { lr }, { from: 0 });
  checkNumbers(schedule, { momentum }, MOMENTUM);
}

/** From `start` (position 0) to `end` (position 1) along half a cosine. */
const cosineBetween = (start: number, end: number, position: number): number =>
  start + ((1 + Math.cos(Math.PI * (1 - position))) * (end - start)) / 2;

export interface OneCycleOptions {
  /** Start at lr/div. */
  div?: number;
  /** End at lr/divFinal. */
  divFinal?: number;
  /** Share of the steps on the way up. */
  pctStart?: number;
  /** Momentum at start, peak and end. */
  momentums?: readonly [number, number, number];
}

/**
 * fast.ai's one-cycle policy: half a cosine up from lr/div to lr, half a cosine down to lr/divFinal, momentum the other way
 * round. Position = step/steps; beyond the last step the rates stay what they are at its end. Source: Smith 2018; `fit_one_cycle` of
 * fast.ai v2. Throws ConfigError, as the other schedules do, for a number that cannot be.
 */
export function oneCycle(
  lr: number,
  { div = 25, divFinal = 1e5, pctStart = 0.25, momentums = [0.95, 0.85, 0.95] }: OneCycleOptions = {},
): Schedule {
  checkNumbers('oneCycle', { lr }, { from: 0 });
  checkNumbers('oneCycle', { div, divFinal }, { above: 0 });
  checkNumbers('oneCycle', { pctStart }, { from: 0, to: 1 });
  const [first, middle, last] = momentums;
  checkNumbers('oneCycle momentums', { first, middle, last }, MOMENTUM);
  return (step, steps) => {
    const position = Math.min(step / steps, 1);
    if (position < pctStart || pctStart === 1) {
      const up = position / pctStart;
      return { lr: cosineBetween(lr / div, lr, up), momentum: cosineBetween(first, middle, up) };
    }
    const down = (position - pctStart) / (1 - pctStart);
    return { lr: cosineBetween(lr, lr / divFinal, down), momentum: cosineBetween(middle, last, down) };
  };
}

export function constantRate(lr: number, momentum: number): Schedule {
  checkRates('constantRate', lr, momentum);
  return () => ({ lr, momentum });
}

/** Half a cosine from lr to 0 over all steps, and 0 from then on. Source: PyTorch's `CosineAnnealingLR` with eta_min 0. */
export function cosine(lr: number, momentum: number): Schedule {
  checkRates('cosine', lr, momentum);
  return (step, steps) => ({ lr: cosineBetween(lr, 0, Math.min(step / steps, 1)), momentum });
}

/** lr·gamma^⌊step/every⌋. Source: PyTorch's `StepLR`. */
export function stepDecay(lr: number, momentum: number, every: number, gamma = 0.1): Schedule {
  checkRates('stepDecay', lr, momentum);
  checkNumbers('stepDecay', { every }, { above: 0 });
  checkNumbers('stepDecay', { gamma }, { from: 0 });
  return (step) => ({ lr: lr * gamma ** Math.floor(step / every), momentum });
}

/** Raises the rates evenly over the first `warmup` steps, from lr/warmup; then the schedule goes on as it would have. */
export function warmUp(schedule: Schedule, warmup: number): Schedule {
  checkNumbers('warmUp', { warmup }, { from: 0 });
  return (step, steps) => {
    const rates = schedule(step, steps);
    if (step >= warmup) return rates;
    const { lr, layerLrs } = rates;
    const raised = (rate: number) => (rate * Math.min(step + 1, warmup)) / warmup;
    return { ...rates, lr: raised(lr), ...(layerLrs && { layerLrs: layerLrs.map(raised) }) };
  };
}

/** What a plateau schedule remembers; goes into checkpoints. */
export interface PlateauState {
  factor: number;
  /** null before the first metric that is a number. */
  best: number | null;
  bad: number;
}

/**
 * Multiplies the rate by `factor` once the metric has not been `threshold` (relative) better than its best for more than
 * `patience` epochs. Call `next` after each epoch. Source: PyTorch's `ReduceLROnPlateau`, mode max.
 */
export class Plateau {
  state: PlateauState = { factor: 1, best: null, bad: 0 };
  private readonly factor: number;
  private readonly patience: number;
  private readonly threshold: number;

  constructor({ factor = 0.75, patience = 5, threshold = 1e-4 } = {}) {
    checkNumbers('Plateau', { factor }, { from: 0, below: 1 });
    checkWholes('Plateau', { patience }, { from: 0 });
    checkNumbers('Plateau', { threshold }, { from: 0 });
    this.factor = factor;
    this.patience = patience;
    this.threshold = threshold;
  }

  next(metric: number): void {
    const { factor, best, bad } = this.state;
    // A NaN is no better than nothing.
    const improved = metric > (best ?? Number.NEGATIVE_INFINITY) * (1 + this.threshold);
    if (improved) this.state = { factor, best: metric, bad: 0 };
    else if (bad + 1 > this.patience) this.state = { factor: factor * this.factor, best, bad: 0 };
    else this.state = { factor, best, bad: bad + 1 };
  }
}
