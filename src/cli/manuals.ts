import type { Manual } from './command.ts';
import { checkColorize, checkExperiments, checkGiven, checkPredict, presets, sweepPresets } from './defaults.ts';
import {
  colorizeOptions,
  contactSheetOptions,
  evaluateOptions,
  experimentsOptions,
  infoOptions,
  lrFindOptions,
  predictOptions,
  trainOptions,
} from './options.ts';

/** `train`. */
export const train: Manual<typeof trainOptions> = {
  name: 'train',
  summary: 'trains a network and writes a run folder',
  options: trainOptions,
  presets,
  examples: ['', '--data fer2013.csv --epochs 60 --augment fer', '--resume runs/NAME'],
  check: checkGiven,
};

/** `lr-find`. */
export const lrFind: Manual<typeof lrFindOptions> = {
  name: 'lr-find',
  summary: 'tests a range of learning rates and draws the loss over them',
  options: lrFindOptions,
  presets: sweepPresets,
  examples: ['', '--data fer2013.csv --batch 64 --end-lr 1'],
  check: checkGiven,
};

/** `evaluate`. */
export const evaluate: Manual<typeof evaluateOptions> = {
  name: 'evaluate',
  summary: 'measures a trained network: accuracy, precision and recall of each class',
  options: evaluateOptions,
  examples: [
    '--model model.safetensors --data fer2013.csv --split test',
    '--model model.safetensors --data faces/ --out evaluation/',
  ],
};

/** `predict`. */
export const predict: Manual<typeof predictOptions> = {
  name: 'predict',
  summary: 'gives the class probabilities of images',
  options: predictOptions,
  examples: ['--model model.safetensors face.png more-faces/', '--model model.safetensors faces/ --cam looks/'],
  check: checkPredict,
};

/** `contact-sheet`. */
export const contactSheet: Manual<typeof contactSheetOptions> = {
  name: 'contact-sheet',
  summary: 'shows what augmentation makes of training images, as a picture',
  options: contactSheetOptions,
  examples: ['--augment fastai --size 160 --out sheet.png', '--augment fer --mixup 0.4 --out fer.png'],
};

/** `colorize`. */
export const colorize: Manual<typeof colorizeOptions> = {
  name: 'colorize',
  summary: 'gives gray images colours, or trains the network that does',
  options: colorizeOptions,
  examples: ['--train photos/ --model colours.safetensors', '--model colours.safetensors faces/ coloured/'],
  check: checkColorize,
};

/** `experiments`. */
export const experiments: Manual<typeof experimentsOptions> = {
  name: 'experiments',
  summary: 'trains a list of configurations one after another, and compares them',
  options: experimentsOptions,
  examples: [
    'bench/experiments/toyfaces.json',
    'bench/experiments/fer2013.json --list',
    'bench/experiments/fer2013.json --data fer2013.csv',
  ],
  check: checkExperiments,
};

/** `info`. */
export const info: Manual<typeof infoOptions> = {
  name: 'info',
  summary: 'lists the adapters, and says which one is chosen and why',
  options: infoOptions,
  examples: ['', '--adapter software --json'],
};
