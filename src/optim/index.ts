export * from './adam.ts';
export { Optimizer, type ParamGroup, type StepValues } from './optimizer.ts';
export * from './schedule.ts';
export * from './sgd.ts';
