import { checkHalf } from '../core/dtype.ts';
import { layerGroups, type Module } from '../nn/index.ts';
import {
  Adam,
  AdamW,
  constantRate,
  cosine,
  evenRates,
  fastaiAdam,
  type LossScale,
  type Optimizer,
  oneCycle,
  perLayer,
  type Schedule,
  SGD,
  stepDecay,
  warmUp,
} from '../optim/index.ts';
import type { TrainConfig } from './config.ts';
import { fineTunePhases, type Phase, paramGroups } from './finetune.ts';

/** Refuses f16 where the adapter cannot compute in it. */
export function checkPrecision({ precision }: Pick<TrainConfig, 'precision'>): void {
  if (precision === 'f16') checkHalf('precision f16', 'precision f32');
}

/** The momentum at one-cycle's peak: 0.1 below the start, as fast.ai's 0.95 and 0.85. */
const lowered = (momentum: number): number => Math.max(0, Number((momentum - 0.1).toFixed(6)));

/** What a run of so many steps an epoch does one after the other: a fine-tuning has a phase with a frozen body first. */
export function phasesOf(config: TrainConfig, model: Module, stepsPerEpoch: number): Phase[] {
  const { epochs, freezeEpochs, lr, lrMult, momentum } = config;
  const groups = layerGroups(model).length;
  if (freezeEpochs > 0) {
    const momentums = [momentum, lowered(momentum), momentum] as const;
    return fineTunePhases(groups, { epochs, baseLr: lr, freezeEpochs, lrMult, momentums });
  }
  const make = (rate: number) => scheduleOf({ ...config, lr: rate }, stepsPerEpoch);
  const schedule = lrMult === 1 ? make(lr) : perLayer(evenRates(lr / lrMult, lr, groups), make);
  return [{ epochs, freezeTo: 0, schedule }];
}

/** The schedule of a run of so many steps an epoch. */
function scheduleOf(config: TrainConfig, stepsPerEpoch: number): Schedule {
  const { lr, momentum, epochs } = config;
  const schedules: Record<TrainConfig['schedule'], () => Schedule> = {
    'one-cycle': () => oneCycle(lr, { momentums: [momentum, lowered(momentum), momentum] }),
    cosine: () => cosine(lr, momentum),
    step: () => stepDecay(lr, momentum, Math.ceil((epochs * stepsPerEpoch) / 3)),
    plateau: () => constantRate(lr, momentum),
    constant: () => constantRate(lr, momentum),
  };
  const schedule = schedules[config.schedule]();
  return config.warmup > 0 ? warmUp(schedule, Math.round(config.warmup * stepsPerEpoch)) : schedule;
}

/** The optimizer of a run, over all parameters of the network. */
export function optimizerOf(
  { optimizer, weightDecay, decay, nesterov, clip, ema }: TrainConfig,
  model: Module,
  lossScale: LossScale | null,
): Optimizer {
  const params = paramGroups(model, { weightDecay, decay });
  const shared = { ...(lossScale && { lossScale }), ...(clip !== null && { clip }), ...(ema > 0 && { ema }) };
  if (optimizer === 'sgd') return new SGD(params, { ...shared, nesterov });
  if (optimizer === 'fastai-adam') return fastaiAdam(params, shared);
  return optimizer === 'adam' ? new Adam(params, shared) : new AdamW(params, shared);
}
