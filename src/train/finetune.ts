import { checkNumbers, checkWholes } from '../core/bounds.ts';
import { ConfigError } from '../core/errors.ts';
import { layerGroups, type Module } from '../nn/index.ts';
import {
  evenRates,
  headRates,
  type Optimizer,
  oneCycle,
  type ParamGroup,
  perLayer,
  type Schedule,
} from '../optim/index.ts';

/** Epochs that are trained alike: what is frozen in them, and a schedule over their steps. */
export interface Phase {
  epochs: number;
  /** The first layer group that is trained; those before it are frozen. */
  freezeTo: number;
  schedule: Schedule;
}

export interface FineTuneOptions {
  /** With all layers, after the frozen ones. */
  epochs: number;
  /** Highest rate of the head while the body is frozen; the second phase has half of it. Default 2e-3. */
  baseLr?: number;
  /** With a frozen body. Default 1. */
  freezeEpochs?: number;
  /** The first layer group's rate is the head's divided by this, in the second phase. Default 100. */
  lrMult?: number;
  /** Of the second phase's one-cycle. Defaults .3 and 5. */
  pctStart?: number;
  div?: number;
  /** Momentum at start, peak and end of each phase. Default .95, .85, .95. */
  momentums?: readonly [number, number, number];
}

/**
 * fast.ai's `fine_tune` as two phases: one-cycle with a frozen body, peak at 99 % of the steps, the body's norms at a tenth of
 * `baseLr`; then with all layers, rates rising evenly from the first group's baseLr/2/lrMult to the head's baseLr/2.
 *
 *     for (const { epochs, freezeTo, schedule } of train.fineTunePhases(3, { epochs: 4 })) {
 *       train.freezeTo(model, optimizer, freezeTo);
 *       for (…)  // epochs · batches.full steps
 *         optimizer.step(schedule(step, steps));
 *     }
 *
 * `groups` is how many layer groups the network has; the optimizer takes its parameters from `paramGroups`. Pure. Source: fast.ai
 * v2's `Learner.fine_tune`.
 */
export function fineTunePhases(groups: number, options: FineTuneOptions): Phase[] {
  const { epochs, baseLr = 2e-3, freezeEpochs = 1, lrMult = 100, pctStart = 0.3, div = 5 } = options;
  checkWholes('fineTunePhases', { epochs, freezeEpochs }, { from: 0 });
  checkNumbers('fineTunePhases', { baseLr, lrMult }, { above: 0 });
  const momentums = options.momentums && { momentums: options.momentums };
  const head = baseLr / 2;
  const phases: Phase[] = [
    {
      epochs: freezeEpochs,
      freezeTo: groups - 1,
      schedule: perLayer(headRates(baseLr, groups), (lr) => oneCycle(lr, { pctStart: 0.99, ...momentums })),
    },
    {
      epochs,
      freezeTo: 0,
      schedule: perLayer(evenRates(head / lrMult, head, groups), (lr) => oneCycle(lr, { pctStart, div, ...momentums })),
    },
  ];
  return phases.filter((phase) => phase.epochs > 0);
}

/** The phase that an epoch, counted from 0, is part of, and the first epoch of it. */
export function phaseAt(phases: readonly Phase[], epoch: number): { phase: Phase; first: number } {
  let first = 0;
  for (const phase of phases) {
    if (epoch < first + phase.epochs) return { phase, first };
    first += phase.epochs;
  }
  const phase = phases.at(-1)!;
  return { phase, first: first - phase.epochs };
}

/**
 * Parameter groups for an optimizer, by layer group and decay: each knows the rate of its layers. With `decay: 'weights'`, the
 * default, norms and biases have no weight decay, as with fast.ai; with `all` everything has, as with PyTorch.
 */
export function paramGroups(
  model: Module,
  { weightDecay = 0.01, decay = 'weights' }: { weightDecay?: number; decay?: 'all' | 'weights' } = {},
): ParamGroup[] {
  return layerGroups(model).flatMap((parameters, layer) => {
    const decays = parameters.filter(({ norm, bias }) => decay === 'all' || !(norm || bias));
    const others = parameters.filter((parameter) => !decays.includes(parameter));
    const group = (list: typeof parameters, wd: number) => ({
      params: list.map(({ tensor }) => tensor),
      weightDecay: wd,
      layer,
    });
    return [group(decays, weightDecay), group(others, 0)].filter(({ params }) => params.length > 0);
  });
}

/**
 * Freezes the layer groups before number `n`, counted from the end where it is negative: their weights and biases get no gradient,
 * which is not computed either. Their norms are trained all the same and stay in training mode, as with fast.ai's `train_bn`.
 * Returns `n`, counted from the start. Throws ConfigError where there is no such group.
 */
export function setFrozen(model: Module, n: number): number {
  const groups = layerGroups(model);
  const first = n < 0 ? groups.length + n : n;
  if (!(Number.isInteger(first) && first >= 0 && first < groups.length)) {
    throw new ConfigError(
      `freezeTo ${n}: the network has ${groups.length} layer groups. Give a number from ${-groups.length} to ${groups.length - 1}.`,
    );
  }
  for (const [g, parameters] of groups.entries()) {
    for (const { tensor, norm } of parameters) tensor.requiresGrad = g >= first || norm;
  }
  return first;
}

/** Freezes the layer groups before number `n` (see `setFrozen`) and clears the optimizer's state. fast.ai's `freeze_to`. */
export function freezeTo(model: Module, optimizer: Optimizer, n: number): void {
  setFrozen(model, n);
  optimizer.clearState();
}

/** Freezes all but the head. */
export const freeze = (model: Module, optimizer: Optimizer): void => freezeTo(model, optimizer, -1);

/** Trains all layers again. */
export const unfreeze = (model: Module, optimizer: Optimizer): void => freezeTo(model, optimizer, 0);
