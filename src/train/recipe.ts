import { ConfigError } from '../core/errors.ts';
import { currentGpu } from '../gpu/gpu.ts';
import type { Module } from '../nn/index.ts';
import {
  Adam,
  AdamW,
  constantRate,
  cosine,
  type LossScale,
  type Optimizer,
  oneCycle,
  type Schedule,
  SGD,
  stepDecay,
  warmUp,
} from '../optim/index.ts';
import type { TrainConfig } from './config.ts';

/** Refuses f16 where the adapter cannot compute in it. */
export function checkPrecision({ precision }: Pick<TrainConfig, 'precision'>): void {
  const { adapter } = currentGpu();
  if (precision === 'f16' && !adapter.features.has('shader-f16')) {
    throw new ConfigError(
      `--precision f16: ${adapter.name} has no shader-f16. Use --precision f32, or an adapter that has it (\`dawngrad info\` lists features).`,
    );
  }
}

/** The momentum at one-cycle's peak: 0.1 below the start, as fast.ai's 0.95 and 0.85. */
const lowered = (momentum: number): number => Math.max(0, Number((momentum - 0.1).toFixed(6)));

/** The schedule of a run of so many steps an epoch. */
export function scheduleOf(config: TrainConfig, stepsPerEpoch: number): Schedule {
  const { lr, momentum, epochs } = config;
  const schedules: Record<TrainConfig['schedule'], () => Schedule> = {
    'one-cycle': () => oneCycle(lr, { momentums: [momentum, lowered(momentum), momentum] }),
    cosine: () => cosine(lr, momentum),
    step: () => stepDecay(lr, momentum, Math.max(1, Math.round(epochs / 3)) * stepsPerEpoch),
    plateau: () => constantRate(lr, momentum),
    constant: () => constantRate(lr, momentum),
  };
  const schedule = schedules[config.schedule]();
  return config.warmup > 0 ? warmUp(schedule, Math.round(config.warmup * stepsPerEpoch)) : schedule;
}

/** The optimizer of a run, over all parameters of the network. */
export function optimizerOf(
  { optimizer, weightDecay, nesterov }: TrainConfig,
  model: Module,
  lossScale: LossScale | null,
): Optimizer {
  const params = model.parameters().values();
  const shared = { weightDecay, ...(lossScale && { lossScale }) };
  if (optimizer === 'sgd') return new SGD(params, { ...shared, nesterov });
  return optimizer === 'adam' ? new Adam(params, shared) : new AdamW(params, shared);
}
