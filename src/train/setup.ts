import { ConfigError, DataError } from '../core/errors.ts';
import { pcg4d } from '../core/random.ts';
import { setSeed } from '../core/stepbuffer.ts';
import { augmentationNamed, inputSide } from '../data/augment.ts';
import { normalisationOf } from '../data/batches.ts';
import type { Dataset } from '../data/dataset.ts';
import type { Gpu } from '../gpu/gpu.ts';
import { activationBytes, createModel, type ModelOptions, smallestBatch } from '../models/index.ts';
import { SMALLEST_SIZE } from '../models/options.ts';
import type { TrainConfig } from './config.ts';
import { checkTensorFits } from './fits.ts';
import type { ModelFacts } from './modelfile.ts';
import { loadPretrained, type PretrainedRecord, readPretrained } from './pretrained.ts';
import type { RunRecord } from './runrecord.ts';
import { Trainer } from './trainer.ts';

/** The stream that seeds come from. */
const STREAM = 0x73656564;

/**
 * Builds network, optimizer and batches as the options say, from the seed and the pretrained weights; those of a run that is
 * continued are in its checkpoint, so that `resumed`, its record, replaces their file. Throws ConfigError for what does not fit
 * together or the adapter, DataError for weights that do not fit the network. Of what it returns, `seed` is that of order,
 * augmentation and dropout.
 */
export function setUp(
  gpu: Gpu,
  config: TrainConfig,
  data: Dataset,
  resumed: Pick<RunRecord, 'pretrained'> | null = null,
): { facts: ModelFacts; trainer: Trainer; pretrained: PretrainedRecord | null; seed: number } {
  const { arch, channels } = config;
  const options: ModelOptions = {
    classes: data.classes.length,
    channels,
    size: config.size ?? inputSide(augmentationNamed(config.augment), data.train.side),
    width: config.width,
    head: config.head,
    pool: config.pool ?? 1,
    dropout: config.dropout,
    seed: config.seed,
  };
  if (config.size === null && options.size < SMALLEST_SIZE)
    throw new ConfigError(
      `${data.name}: the images show ${options.size} px a side, and ${arch} takes ${SMALLEST_SIZE} or more. Give size ${SMALLEST_SIZE}, to which they are resized.`,
    );
  checkFits(gpu, config, options);
  if (config.pretrained !== null && resumed && !resumed.pretrained)
    throw new DataError('run.json: pretrained is missing. Restore the file, or start the run again in another folder.');
  // Read first: a wrong name is to be said before a large network is drawn.
  const file = config.pretrained === null || resumed ? null : readPretrained(config.pretrained);
  const model = createModel(arch, options);
  const pretrained = file
    ? loadPretrained(model, file, { arch, channels, classes: data.classes })
    : (resumed?.pretrained ?? null);
  const normalisation = pretrained?.normalisation ?? normalisationOf(data.train, channels);
  const { side: storedSide, channels: storedChannels } = data.train;
  const earlier = pretrained?.draws ?? [];
  const seed = unusedSeed(config.seed, earlier);
  setSeed(seed);
  const parts = {
    model,
    config: { ...config, seed },
    train: data.train,
    valid: data.valid,
    normalisation,
    classNames: data.classes,
  };
  return {
    facts: {
      ...{ arch, options, classes: data.classes, normalisation, storedSide, storedChannels },
      augment: config.augment,
      trainedOn: data.origin,
      startedFrom: pretrained?.origins ?? [],
      draws: [seed, ...earlier],
    },
    trainer: new Trainer(parts, data.classes.length),
    ...{ pretrained, seed },
  };
}

/**
 * The seed of a training's order, augmentation and dropout: its own, but where the weights that it starts from were trained with that,
 * one that follows from it. In the same order and under the same masks they would be trained again on what they know.
 */
function unusedSeed(seed: number, used: readonly number[]): number {
  let unused = seed;
  for (let again = 1; used.includes(unused); again++) [unused] = pcg4d(seed, again, STREAM, 0);
  return unused;
}

/** Refuses, before anything is made, a batch too small for the network's batch norms or too large for the adapter. */
function checkFits(gpu: Gpu, config: TrainConfig, options: ModelOptions): void {
  const least = smallestBatch(config.arch, options);
  if (config.batch < least) {
    throw new ConfigError(
      `batch ${config.batch}: a batch norm of ${config.arch} with head ${config.head} has one value per channel and image, whose variance is 0. Use batch ${least} or more.`,
    );
  }
  const perImage = activationBytes(config.arch, options) / (config.precision === 'f16' ? 2 : 1);
  checkTensorFits(gpu, `batch ${config.batch}`, { perImage, batch: config.batch }, (images) => {
    const fits = Math.floor(images);
    return fits >= 1
      ? `Use batch ${fits} or less${fits > 1 ? ', and accumulate for the same effect' : ''}.`
      : 'Use a smaller size or width.';
  });
}
