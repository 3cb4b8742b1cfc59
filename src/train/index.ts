export { type HeatMapOptions, heatMapsOf, type Wanted } from './cams.ts';
export { type CheckpointFacts, loadCheckpoint, saveCheckpoint } from './checkpoint.ts';
export { type ClassifyOptions, classify } from './classify.ts';
export { balancedWeights } from './classweights.ts';
export type { TrainConfig } from './config.ts';
export { type ContactOptions, type ContactRow, contactRows, contactSheetPng } from './contactsheet.ts';
export { DivergenceError } from './divergence.ts';
export { Evaluator, type EvaluatorOptions } from './evaluator.ts';
export {
  type FineTuneOptions,
  fineTunePhases,
  freeze,
  freezeTo,
  type Phase,
  paramGroups,
  unfreeze,
} from './finetune.ts';
export { type GradCam, type GradCamOptions, gradCam, LEAST_MAPS } from './gradcam.ts';
export { type HeatMap, heatColour, mostlyAt, overlay, stretched } from './heat.ts';
export { type Interpretation, interpret } from './interpretation.ts';
export { tune } from './kernels.ts';
export { batchLoss } from './loss.ts';
export * from './metrics.ts';
export {
  buildModel,
  loadModel,
  loadTensors,
  type ModelFacts,
  type ModelFile,
  readModelFile,
  saveModel,
  stateTensors,
} from './modelfile.ts';
export { addPredictions, noSums, type Prediction, PredictionBuffer, type Sums } from './predictions.ts';
export {
  IMAGENET,
  loadPretrained,
  type Pretrained,
  type PretrainedRecord,
  type PretrainedTarget,
  readPretrained,
} from './pretrained.ts';
export { readPth } from './pth.ts';
export { type RangeTestOptions, type RangeTestParts, rangeTest } from './rangetest.ts';
export { Run, type RunRequest } from './run.ts';
export * from './safetensors.ts';
export { type Picture, picturePng } from './sheet.ts';
export { type Suggestions, suggest } from './suggest.ts';
export {
  type EpochResult,
  type Position,
  Trainer,
  type TrainerHooks,
  type TrainerParts,
} from './trainer.ts';
export { loadTraining, saveTraining, type TrainingCounters, type TrainingParts } from './trainingstate.ts';
export { augmentedTta, once, type Tta, tenCropTta, type View } from './tta.ts';
