export * from './adam.ts';
export type { WeightAverage } from './average.ts';
export * from './layers.ts';
export { LossScale, type LossScaleOptions, type LossScaleState } from './lossscale.ts';
export {
  Optimizer,
  type OptimizerOptions,
  type ParamGroup,
  type StepValues,
  type UpdateKernels,
  type UpdateRange,
} from './optimizer.ts';
export * from './schedule.ts';
export * from './sgd.ts';
