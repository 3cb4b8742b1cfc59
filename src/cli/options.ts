import { SEEDS } from '../core/random.ts';
import { MODEL_NAMES } from '../models/names.ts';
import { operands, option, required, type Values } from './option.ts';
import { choice, form, number, text, toggle, whole } from './value.ts';

/** The data set that the program draws itself. */
export const TOYFACES = 'toyfaces';

export const headNames = ['vgg', 'linear', 'fastai'] as const;
const optimizerNames = ['sgd', 'adam', 'adamw', 'fastai-adam'] as const;
const decayNames = ['all', 'weights'] as const;
const scheduleNames = ['one-cycle', 'cosine', 'step', 'plateau', 'constant'] as const;
/** `crop` mirrors and shifts; `fer` is Khaireddin and Chen's, `fastai` is aug_transforms. */
export const augmentNames = ['none', 'flip', 'crop', 'fer', 'fastai'] as const;
const classWeightNames = ['none', 'balanced'] as const;
const precisionNames = ['f32', 'f16'] as const;
const splitNames = ['train', 'valid', 'test'] as const;

const share = /^\d+(\.\d+)? ?%$/;
const shareInWords = "a share such as '10%'";
const validNames = ['PublicTest', 'both'];

const model = required('Model', text('FILE'), 'weights and facts of a trained network: the model.safetensors of a run');
const tta = option(
  'Model',
  form('N', ['ten-crop'], /^([1-9]\d?|100)$/, 'a whole number of passes (1 to 100)'),
  null,
  'test-time augmentation: N passes with what training images went through and one without, averaged; or ten-crop',
  { otherwise: 'none' },
);
const json = option('Output', toggle, false, 'prints JSON, for scripts');

/** The options of `train`: what is parsed, checked, explained by `--help`, and kept in run.json. */
export const trainOptions = {
  data: option(
    'Data',
    text('PATH'),
    TOYFACES,
    `a FER2013 CSV, a folder of class folders of PNG or JPEG images, or ${TOYFACES} (drawn by the program)`,
    { resumable: true },
  ),
  valid: option(
    'Data',
    form('NAME', validNames, share, shareInWords),
    null,
    'what validates: PublicTest rows, both (PublicTest and PrivateTest) or a share',
    {
      otherwise: 'PublicTest where there are such rows, else 10%',
    },
  ),
  limit: option('Data', whole('N', { from: 1 }), null, 'takes N images of each split', { otherwise: 'all' }),
  store: option('Data', whole('PX', { from: 16, to: 1024 }), null, 'side that images of a folder are stored at', {
    otherwise: '48',
  }),
  size: option('Data', whole('PX', { from: 32, to: 1024 }), null, 'side of the input, resized on the GPU', {
    otherwise: 'the stored side; with fer five sixths of it',
  }),
  channels: option('Data', choice('1|3', [1, 3]), 3, 'channels of the input; gray is replicated to 3'),
  augment: option('Data', choice('NAME', augmentNames), 'crop', 'what training images go through'),

  arch: option('Network', choice('NAME', MODEL_NAMES), 'vgg16_bn', 'the network'),
  width: option(
    'Network',
    number('F', { above: 0, to: 4 }),
    1,
    'multiplies every channel count, rounded to a multiple of 8',
  ),
  head: option(
    'Network',
    choice('NAME', headNames),
    'vgg',
    'the classifier: two hidden layers of 4096 (vgg), none (linear, for ResNet), or pooled maxima and means and one of 512 (fastai)',
  ),
  pool: option('Network', whole('N', { from: 1, to: 14 }), null, "the vgg head averages to N×N; 7 is torchvision's", {
    otherwise: '1',
  }),
  dropout: option(
    'Network',
    number('P', { from: 0, below: 1 }),
    0.5,
    'share of activations dropped in the head; linear drops none',
  ),

  pretrained: option(
    'Fine-tuning',
    text('FILE'),
    null,
    "starts from torchvision's weights (.pth, .safetensors) or a run's model.safetensors, in its width; with a new head where theirs does not fit",
    { otherwise: 'weights drawn at random' },
  ),
  freezeEpochs: option(
    'Fine-tuning',
    whole('N', { from: 0, to: 100_000 }),
    0,
    "epochs that train head and norms alone, before the --epochs; then --lr is fast.ai's base rate",
  ),
  lrMult: option(
    'Fine-tuning',
    number('F', { from: 1 }),
    1,
    "the head's learning rate over that of the first layers; those between rise evenly",
  ),

  epochs: option('Training', whole('N', { from: 1, to: 100_000 }), 30, 'passes over the training images'),
  batch: option('Training', whole('N', { from: 1, to: 65_536 }), 64, 'images a step'),
  accumulate: option('Training', whole('N', { from: 1, to: 1024 }), 1, 'batches whose gradients make one step'),
  optimizer: option('Training', choice('NAME', optimizerNames), 'sgd', "with PyTorch's semantics, or fast.ai's"),
  nesterov: option('Training', toggle, false, "Nesterov's momentum, with sgd"),
  lr: option('Training', number('F', { above: 0 }), 0.05, 'learning rate; the highest one of the schedule'),
  momentum: option('Training', number('F', { from: 0, below: 1 }), 0.9, 'momentum of sgd, first beta of the others'),
  weightDecay: option('Training', number('F', { from: 0 }), 5e-4, 'weight decay'),
  decay: option(
    'Training',
    choice('WHAT', decayNames),
    'all',
    'what weight decay is for: everything, or all but norms and biases (weights)',
  ),
  schedule: option(
    'Training',
    choice('NAME', scheduleNames),
    'one-cycle',
    'how the learning rate changes; step: to a tenth after each third',
  ),
  warmup: option(
    'Training',
    number('EPOCHS', { from: 0 }),
    0,
    'rises linearly to the learning rate; one-cycle has its own',
  ),
  labelSmoothing: option(
    'Training',
    number('P', { from: 0, below: 1 }),
    0,
    'share of the target spread over all classes',
  ),
  mixup: option('Training', number('ALPHA', { from: 0 }), 0, 'mixes images by shares from Beta(ALPHA, ALPHA)'),
  classWeights: option(
    'Training',
    choice('NAME', classWeightNames),
    'none',
    'weights of the classes in the training loss; balanced makes up for rare ones',
  ),
  clip: option('Training', number('F', { above: 0 }), null, 'shortens gradients to this norm, all of them together', {
    otherwise: 'any norm',
  }),
  ema: option(
    'Training',
    number('DECAY', { from: 0, below: 1 }),
    0,
    'validates and keeps a moving average of the weights; 0 for none',
  ),
  patience: option(
    'Training',
    whole('EPOCHS', { from: 1 }),
    null,
    'stops after so many epochs without better validation accuracy',
    { otherwise: 'never' },
  ),
  seed: option(
    'Training',
    whole('N', SEEDS),
    1,
    'decides weights, order, augmentation and dropout, and which images --limit and a share to validate take',
  ),
  maxMinutes: option(
    'Training',
    number('MIN', { above: 0 }),
    null,
    'stops cleanly so long after it was started, to be resumed',
    {
      otherwise: 'no limit',
      resumable: true,
    },
  ),

  adapter: option(
    'Machine',
    text('NAME'),
    'auto',
    "auto, hardware, software, lavapipe, swiftshader, or part of an adapter's name; also DAWNGRAD_ADAPTER",
    { env: 'DAWNGRAD_ADAPTER', resumable: true },
  ),
  precision: option(
    'Machine',
    choice('NAME', precisionNames),
    'f32',
    'f32, or f16 for activations and copies of the weights',
  ),
  tune: option(
    'Machine',
    toggle,
    true,
    'takes the usual kernels, without finding out which are fastest here; also where CI is set',
  ),

  out: option('Run folder', text('DIR'), null, 'where the run is written', { otherwise: 'runs/TIME-ARCH' }),
  resume: option('Run folder', text('DIR'), null, 'continues the run in DIR exactly where its last checkpoint is', {
    otherwise: 'a new run',
    resumable: true,
  }),
  checkpointEvery: option('Run folder', whole('STEPS', { from: 1 }), null, 'writes a checkpoint so often', {
    otherwise: 'after each epoch',
    resumable: true,
  }),
};

/** Everything that a training run is told; all of it is in run.json. */
export interface TrainOptions extends Values<typeof trainOptions> {}

const { data, valid, limit, store, size, channels, augment, arch, width, head, pool, dropout } = trainOptions;
const { pretrained, batch, optimizer, momentum, weightDecay, decay, labelSmoothing, clip } = trainOptions;
const { mixup, seed, adapter, precision } = trainOptions;

/** The options of `lr-find`: what `train` would run, and the range to sweep. */
export const lrFindOptions = {
  ...{ data, valid, limit, store, size, channels, augment, arch, width, head, pool, dropout },
  pretrained,
  freezeEpochs: {
    ...trainOptions.freezeEpochs,
    help: '0 sweeps with all layers; else with a frozen body, as in the first epochs of train',
    initial: null,
    otherwise: '1 with --pretrained',
  },
  ...{ batch, optimizer, momentum, weightDecay, decay, labelSmoothing, mixup, clip, seed, adapter, precision },
  startLr: option('Sweep', number('F', { above: 0 }), 1e-7, 'first learning rate'),
  endLr: option('Sweep', number('F', { above: 0 }), 10, 'last learning rate'),
  steps: option('Sweep', whole('N', { from: 20, to: 100_000 }), 100, 'learning rates tried, evenly spaced in log'),
  out: option('Output', text('DIR'), null, 'where table and SVG are written', { otherwise: 'runs/TIME-lr-find' }),
};
export interface LrFindOptions extends Values<typeof lrFindOptions> {}

/** The options of `evaluate`. */
export const evaluateOptions = {
  model,
  data: required('Data', data.kind, 'a FER2013 CSV, a folder of class folders, or toyfaces'),
  split: option('Data', choice('NAME', splitNames), 'valid', 'the part to evaluate on'),
  valid: {
    ...valid,
    kind: form('NAME', [...validNames, 'all'], share, shareInWords),
    help: 'what counts as valid: PublicTest rows, both, a share, or all images',
    otherwise: 'as in training on the same data; on other data PublicTest rows, 10% where others are set apart, or all',
  },
  seed: {
    ...seed,
    initial: null,
    help: 'draws the share, and what --limit and --tta N take',
    otherwise: 'as in training on the same data, else 1',
  },
  limit,
  store: { ...store, otherwise: 'as in training' },
  batch: { ...batch, initial: 64 },
  tta,
  adapter,
  out: option('Output', text('DIR'), null, 'writes confusion matrix, top losses, Grad-CAM and a report', {
    otherwise: 'none',
  }),
  json,
};
export interface EvaluateOptions extends Values<typeof evaluateOptions> {}

/** The options of `predict`. */
export const predictOptions = {
  images: operands(text('IMAGE_OR_FOLDER…'), 'PNG or JPEG images, or folders of them'),
  model,
  tta,
  adapter,
  cam: option('Output', text('DIR'), null, 'writes PNGs: each image under Grad-CAM of its prediction', {
    otherwise: 'none',
  }),
  camMaps: option(
    'Output',
    whole('N', { from: 1, to: 1024 }),
    null,
    'Grad-CAM of the last maps of at least N×N; 1 takes the last of all',
    { otherwise: '5' },
  ),
  json,
};
export interface PredictOptions extends Values<typeof predictOptions> {}

/** The options of `contact-sheet`. */
export const contactSheetOptions = {
  ...{ data, store, size, channels, augment, mixup },
  seed: { ...seed, help: 'decides which images, and what is drawn' },
  images: option('Sheet', whole('N', { from: 1, to: 64 }), 8, 'training images, a row each'),
  variants: option('Sheet', whole('N', { from: 1, to: 32 }), 7, 'how often each is drawn'),
  out: required('Sheet', text('FILE.png'), 'where the sheet is written'),
  adapter,
};
export interface ContactSheetOptions extends Values<typeof contactSheetOptions> {}

/** The options of `colorize`. */
export const colorizeOptions = {
  paths: {
    ...operands(text('IN OUT'), 'an image, or a folder of images, and where the coloured PNG goes'),
    initial: [],
  },
  model: required('Model', text('FILE'), 'a colouriser; with --train, where it is written'),
  train: option('Training', text('FOLDER'), null, 'learns from the colour images anywhere below FOLDER', {
    otherwise: 'colours IN instead',
  }),
  size: option('Training', whole('PX', { from: 16, to: 512 }), 48, 'side at which images are seen'),
  width: option('Training', number('F', { above: 0, to: 4 }), 1, 'multiplies the 32, 64 and 128 channels'),
  epochs: option('Training', whole('N', { from: 1, to: 100_000 }), 20, 'passes over the images'),
  batch: option('Training', whole('N', { from: 2, to: 65_536 }), 16, 'images a step'),
  lr: option('Training', number('F', { above: 0 }), 3e-3, 'highest learning rate of the cycle'),
  seed: option('Training', seed.kind, 1, 'decides weights, order and mirroring'),
  limit: option('Training', whole('N', { from: 1 }), null, 'takes the first N images', { otherwise: 'all' }),
  adapter,
};
export interface ColorizeOptions extends Values<typeof colorizeOptions> {}

/** The options of `experiments`: what the file leaves open, and what may be changed in all of its experiments at once. */
export const experimentsOptions = {
  files: operands(text('FILE'), 'a JSON file with a list of experiments'),
  out: option('Experiments', text('DIR'), null, 'where the runs and the comparison are written', {
    otherwise: "runs/ and the file's name",
  }),
  list: option('Experiments', toggle, false, 'lists what would be run, and runs nothing'),
  without: option(
    'Experiments',
    text('NAMES'),
    null,
    'leaves out options of the file, as in: pretrained,freeze-epochs',
    { otherwise: 'none' },
  ),
  data: { ...data, initial: null, otherwise: 'as the file says' },
  limit: { ...limit, otherwise: 'as the file says' },
  epochs: { ...trainOptions.epochs, initial: null, otherwise: 'as the file says' },
  precision: { ...precision, initial: null, otherwise: 'as the file says' },
  adapter: { ...adapter, initial: null, otherwise: 'as the file says, or auto' },
};
export interface ExperimentsOptions extends Values<typeof experimentsOptions> {}

/** The options of `info`. */
export const infoOptions = { adapter, json };
