import { checkNumbers, checkWholes } from '../core/bounds.ts';
import { step } from '../core/step.ts';
import type { Batches } from '../data/batches.ts';
import type { Module } from '../nn/index.ts';
import type { Optimizer } from '../optim/index.ts';
import { batchLoss } from './loss.ts';
import type { LrPoint } from './plots.ts';
import { Snapshot } from './snapshot.ts';

export interface RangeTestOptions {
  /** First learning rate. Default 1e-7. */
  startLr?: number;
  /** Where the sweep would end after all steps. Default 10. */
  endLr?: number;
  /** Learning rates tried, evenly spaced in log. Default 100. */
  steps?: number;
  /** Of SGD, β₁ of Adam: it does not change. Default 0.9. */
  momentum?: number;
  labelSmoothing?: number;
  /** Decides the order of the images. */
  seed?: number;
  /** Called after each step with the smoothed loss. */
  onStep?: (point: LrPoint, done: number, of: number) => void;
}

/** What is trained, on what. */
export interface RangeTestParts {
  model: Module;
  optimizer: Optimizer;
  batches: Batches;
}

/** Weight of the past in the smoothed loss. */
const SMOOTHING = 0.98;
/** The test ends where the smoothed loss is so many times the best one. */
const DIVERGED = 4;

/**
 * Learning-rate range test: one training step at each of `steps` rates, lr_i = startLr·(endLr/startLr)^(i/steps), until the smoothed
 * loss is above four times its best or no number.
 *
 *   smoothed_i = s_i/(1 − 0.98^(i+1)),  s_i = 0.98·s_(i−1) + 0.02·loss_i
 *
 * Weights, running statistics, optimizer and random state are afterwards what they were, to the bit. Source: Smith 2017; fast.ai
 * v2's `LRFinder`, whose own restoring forgets the running statistics' and random state. Throws ConfigError for options that cannot be.
 */
export async function rangeTest({ model, optimizer, batches }: RangeTestParts, options: RangeTestOptions = {}) {
  const { startLr = 1e-7, endLr = 10, steps = 100, momentum = 0.9, labelSmoothing = 0, seed = 1, onStep } = options;
  checkWholes('rangeTest', { steps }, { from: 2 });
  checkNumbers('rangeTest', { startLr }, { above: 0 });
  checkNumbers('rangeTest', { endLr }, { above: startLr });
  checkNumbers('rangeTest', { momentum }, { from: 0, below: 1 });
  const snapshot = new Snapshot(model, optimizer);
  const points: LrPoint[] = [];
  try {
    model.train();
    let average = 0;
    let best = Number.POSITIVE_INFINITY;
    for (const indices of batches.epochs(Number.POSITIVE_INFINITY, seed)) {
      const i = points.length;
      const lr = startLr * (endLr / startLr) ** (i / steps);
      const loss = await step(() => {
        const batch = batches.take(indices);
        const mean = batchLoss(model.forward(batch.x), batch, { labelSmoothing });
        mean.backward(optimizer.lossScale?.gradient());
        optimizer.step({ lr, momentum });
        return mean;
      });
      average = SMOOTHING * average + (1 - SMOOTHING) * (await loss.item());
      loss.free('the range test');
      const point = { lr, loss: average / (1 - SMOOTHING ** (i + 1)) };
      points.push(point);
      onStep?.(point, i + 1, steps);
      best = Math.min(best, point.loss);
      if (i + 1 >= steps || !(point.loss <= DIVERGED * best)) break;
    }
  } finally {
    snapshot.restore();
  }
  return points;
}
