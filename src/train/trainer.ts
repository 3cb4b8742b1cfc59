import { ConfigError } from '../core/errors.ts';
import { checkSeed } from '../core/random.ts';
import { repeated } from '../core/repeat.ts';
import { Tensor } from '../core/tensor.ts';
import { augmentationNamed, inputSide } from '../data/augment.ts';
import { Batches, type Normalisation } from '../data/batches.ts';
import type { ImageSet } from '../data/dataset.ts';
import type { Module } from '../nn/index.ts';
import * as ops from '../ops/index.ts';
import { LossScale, type Optimizer, Plateau, type Rates } from '../optim/index.ts';
import { balancedWeights } from './classweights.ts';
import type { TrainConfig } from './config.ts';
import { DivergenceError } from './divergence.ts';
import { Evaluator } from './evaluator.ts';
import { type Phase, phaseAt, setFrozen } from './finetune.ts';
import { rehearseLoss } from './kernels.ts';
import { batchLoss } from './loss.ts';
import { addPredictions, noSums, type Prediction, PredictionBuffer, type Sums } from './predictions.ts';
import { checkPrecision, optimizerOf, phasesOf } from './recipe.ts';

/** Batches that the GPU may be ahead of what the host has seen. */
const BUFFERED_BATCHES = 64;
/** How often the host looks at losses, at most: each look costs the GPU a moment. */
const LOOK_MS = 400;

/** Where a run stands between two steps; with the tensors, all that a continuation needs. */
export interface Position {
  /** Epochs completed. */
  epoch: number;
  /** Steps completed in the running epoch. */
  step: number;
  /** Sums over the running epoch's steps so far. */
  sums: Sums;
  plateau: Plateau['state'];
}

/** The latest losses, as they come back from the GPU. */
export interface LatestLosses {
  epoch: number;
  /** Steps completed since the start of the run. */
  step: number;
  /** Mean over the running epoch so far. */
  loss: number;
  accuracy: number;
}

export interface EpochResult {
  epoch: number;
  step: number;
  lr: number;
  train: Sums;
  valid: Sums;
  predictions: Prediction[];
  /** How long the predictions took. */
  validationMs: number;
}

/** Called by `run` at its few moments. Between them nothing waits. */
export interface TrainerHooks {
  /** After a step; return true to stop there. */
  afterStep(position: Position): Promise<boolean>;
  progress(latest: LatestLosses): void;
  epochEnd(result: EpochResult): Promise<void>;
  /** Asked before each epoch: true ends the training there, as the last epoch would. */
  enough?(): boolean;
  /** Asked before each epoch, whether it has been begun or not: true stops there, to be continued. */
  interrupted?(): boolean;
}

export interface TrainerParts {
  model: Module;
  config: TrainConfig;
  train: ImageSet;
  valid: ImageSet;
  normalisation: Normalisation;
  /** For messages. */
  classNames?: readonly string[];
}

/** Forward and backward on a batch; where rates are given, the update as well. */
type Pass = (indices: Uint32Array, rates: Rates | null) => Promise<void>;

/** Trains one network on one data set: the loop, and the step inside it. */
export class Trainer {
  readonly model: Module;
  readonly optimizer: Optimizer;
  /** With f16. */
  readonly lossScale: LossScale | null;
  readonly stepsPerEpoch: number;
  position: Position = { epoch: 0, step: 0, sums: noSums(), plateau: new Plateau().state };
  private readonly config: TrainConfig;
  /** Batches of the training images. */
  readonly train: Batches;
  private readonly evaluator: Evaluator;
  private readonly phases: readonly Phase[];
  private readonly plateau = new Plateau();
  private readonly predictions: PredictionBuffer;
  private readonly classes: number;
  /** With `classWeights`. */
  private readonly weight: Tensor | null;
  /**
   * With class weights and `accumulate`: the class weight of each training image, and this batch's total over the mean of its update's
   * batches. The loss divides by its own batch's; times that ratio it is the weighted mean over the whole update. Null where all batches
   * weigh the same.
   */
  private readonly shares: { imageWeights: Float32Array; ratio: Tensor } | null;
  private readonly passes = new Map<string, Pass>();
  private looking: Promise<void> | null = null;
  private lookedAtMs = 0;
  /** What went wrong while nobody was waiting. */
  private failure: unknown;

  constructor({ model, config, train, valid, normalisation, classNames }: TrainerParts, classes: number) {
    checkPrecision(config);
    checkSeed(config.seed);
    this.model = model;
    this.config = config;
    this.classes = classes;
    const augmentation = augmentationNamed(config.augment);
    const { batch, channels, mixup, precision: dtype } = config;
    const shared = { batch, size: config.size ?? inputSide(augmentation, train.side), channels, normalisation, dtype };
    this.train = new Batches(train, { ...shared, augmentation, mixup });
    this.evaluator = new Evaluator(valid, { ...shared, framing: augmentation.framing });
    this.stepsPerEpoch = Math.floor(this.train.full / config.accumulate);
    if (this.stepsPerEpoch === 0) {
      throw new ConfigError(
        `accumulate ${config.accumulate}: times batch ${config.batch} it is more than the ${train.count} training images. Lower one of them.`,
      );
    }
    this.phases = phasesOf(config, model, this.stepsPerEpoch);
    this.lossScale = config.precision === 'f16' ? new LossScale() : null;
    this.optimizer = optimizerOf(config, model, this.lossScale);
    const weights = config.classWeights === 'balanced' ? balancedWeights(train.labels, classes, classNames) : null;
    this.weight = weights && Tensor.from(weights);
    // The mean of mixup divides by the number of images.
    this.shares =
      weights && config.accumulate > 1 && mixup === 0
        ? { imageWeights: Float32Array.from(train.labels, (label) => weights[label]!), ratio: Tensor.full([1], 1) }
        : null;
    this.predictions = new PredictionBuffer(config.batch, BUFFERED_BATCHES);
  }

  /** Epochs in all, those with a frozen body among them. */
  get epochs(): number {
    return this.phases.reduce((sum, { epochs }) => sum + epochs, 0);
  }

  get totalSteps(): number {
    return this.epochs * this.stepsPerEpoch;
  }

  /** Steps completed since the start of the run. */
  get steps(): number {
    return this.position.epoch * this.stepsPerEpoch + this.position.step;
  }

  /** Continues from `position` (a checkpoint's) instead of the start. */
  resumeAt(position: Position): void {
    this.position = position;
    this.plateau.state = position.plateau;
  }

  /** The rates of the step after `steps` completed ones. */
  rates(steps = this.steps): Rates {
    const { phase, first } = phaseAt(this.phases, Math.floor(steps / this.stepsPerEpoch));
    const rates = phase.schedule(steps - first * this.stepsPerEpoch, phase.epochs * this.stepsPerEpoch);
    const { factor } = this.plateau.state;
    const layerLrs = rates.layerLrs && { layerLrs: rates.layerLrs.map((lr) => lr * factor) };
    return { ...rates, lr: rates.lr * factor, ...layerLrs };
  }

  /** Trains until the last epoch is over, or a hook stops it. Resolves to true when all is done, or `enough` says so. */
  async run(hooks: TrainerHooks): Promise<boolean> {
    while (this.position.epoch < this.epochs && !hooks.enough?.()) {
      if (hooks.interrupted?.()) return false;
      this.enterPhase();
      const order = this.train.order(this.position.epoch, this.config.seed);
      while (this.position.step < this.stepsPerEpoch) {
        await this.trainStep(order);
        this.position.step++;
        this.look(hooks);
        if (await hooks.afterStep(this.position)) return false;
      }
      await this.finishEpoch(hooks);
    }
    return true;
  }

  /** Freezes what the running epoch's phase says; the first epoch of another one begins with a cleared optimizer. */
  private enterPhase(): void {
    const { epoch, step } = this.position;
    const { phase, first } = phaseAt(this.phases, epoch);
    setFrozen(this.model, phase.freezeTo);
    // A checkpoint between two phases has the state of the one before.
    if (step === 0 && epoch === first && epoch > 0) this.optimizer.clearState();
  }

  /** One update: forward, backward and optimizer in one submit (one for each accumulated batch). */
  private async trainStep(order: Uint32Array): Promise<void> {
    const { accumulate, batch } = this.config;
    this.model.train();
    const rates = this.rates();
    const all = order.subarray(this.position.step * accumulate * batch, (this.position.step + 1) * accumulate * batch);
    for (let part = 0; part < accumulate; part++) {
      const indices = all.subarray(part * batch, (part + 1) * batch);
      const last = part === accumulate - 1;
      this.writeShare(indices, all);
      await this.pass(part === 0, last)(indices, last ? rates : null);
      if (this.predictions.full) await this.settle();
    }
  }

  /** Says what the images of a batch weigh among all of its update. */
  private writeShare(batch: Uint32Array, all: Uint32Array): void {
    if (!this.shares) return;
    const { imageWeights, ratio } = this.shares;
    const weightOf = (indices: Uint32Array) => indices.reduce((sum, i) => sum + imageWeights[i]!, 0);
    ratio.write(Float32Array.of((this.config.accumulate * weightOf(batch)) / weightOf(all)));
  }

  /**
   * The step on one batch. The first of an update overwrites the gradients, the others add to them, and the last one updates:
   * each kind is recorded by itself.
   */
  private pass(first: boolean, last: boolean): Pass {
    const kind = `${first} ${last}`;
    const before = this.passes.get(kind);
    if (before) return before;
    const { accumulate } = this.config;
    const pass = repeated(
      (indices: Uint32Array, rates: Rates | null) => {
        this.train.choose(indices);
        this.predictions.next();
        if (rates) this.optimizer.prepare(rates);
      },
      () => {
        const batch = this.train.gather();
        const logits = ops.cast(this.model.forward(batch.x), 'f32');
        const loss = batchLoss(logits, batch, this.lossOptions);
        // Before the way back, which frees the logits that mixup's loss was made of.
        this.predictions.write(logits, batch);
        const start = this.lossScale?.gradient(1 / accumulate) ?? Tensor.full([1], 1 / accumulate);
        loss.backward(this.shares ? ops.mul(start, this.shares.ratio) : start);
        if (last) this.optimizer.apply();
      },
    );
    this.passes.set(kind, pass);
    return pass;
  }

  /** Goes through one step of each phase and one of validation on the host alone, so that `prepare` sees what they compute. */
  rehearse(): void {
    this.model.train();
    for (const { freezeTo } of this.phases) {
      setFrozen(this.model, freezeTo);
      rehearseLoss(() => {
        const batch = this.train.take([]);
        return batchLoss(this.model.forward(batch.x), batch);
      });
    }
    // Of fewer images than a batch has, its own shapes.
    this.evaluator.rehearse(this.model);
  }

  /** Class weights apply to the loss that is minimised; the one that is shown has none, so that it compares with validation's. */
  private get lossOptions(): ops.CrossEntropyOptions {
    const { labelSmoothing } = this.config;
    return { labelSmoothing, ...(this.weight && { weight: this.weight }) };
  }

  /** Runs `fn` with the weights that validation sees and model files hold: with `ema` their moving average. */
  withAveraged<T>(fn: () => Promise<T>): Promise<T> {
    const { average } = this.optimizer;
    return average ? average.during(fn) : fn();
  }

  /** Forward passes over the validation set. */
  validate(): Promise<Prediction[]> {
    return this.evaluator.predictions(this.model);
  }

  /** Waits for all losses so far: call it before `position` is saved. */
  async settle(): Promise<void> {
    await this.looking;
    if (this.failure) throw this.failure;
    this.take(await this.predictions.take());
  }

  private async finishEpoch(hooks: TrainerHooks): Promise<void> {
    await this.settle();
    this.report(hooks);
    const { lr } = this.rates(this.steps - 1);
    const startedMs = performance.now();
    const predictions = await this.withAveraged(() => this.validate());
    const validationMs = performance.now() - startedMs;
    const valid = addPredictions(noSums(), predictions);
    // The epoch's last update is in no training loss yet; only this shows what it did to the weights.
    if (!Number.isFinite(valid.loss)) throw this.divergence(valid.loss);
    if (this.config.schedule === 'plateau') this.plateau.next(valid.correct / valid.count);
    const { epoch, sums: train } = this.position;
    this.position = { epoch: epoch + 1, step: 0, sums: noSums(), plateau: this.plateau.state };
    await hooks.epochEnd({ epoch: epoch + 1, step: this.steps, lr, train, valid, predictions, validationMs });
  }

  /** Asks for the latest losses now and then; they are reported whenever they arrive. */
  private look(hooks: TrainerHooks): void {
    if (this.failure) throw this.failure;
    if (this.looking || performance.now() - this.lookedAtMs < LOOK_MS) return;
    this.lookedAtMs = performance.now();
    this.looking = this.predictions
      .take()
      .then((predictions) => {
        this.take(predictions);
        this.report(hooks);
      })
      .catch((error: unknown) => {
        this.failure = error;
      })
      .finally(() => {
        this.looking = null;
      });
  }

  private take(predictions: readonly Prediction[]): void {
    const fresh = addPredictions(noSums(), predictions);
    const loss = fresh.loss / Math.max(1, fresh.count);
    if (!Number.isFinite(loss) || loss > 1000 * Math.log(this.classes)) {
      throw this.divergence(loss);
    }
    addPredictions(this.position.sums, predictions);
  }

  private divergence(loss: number): DivergenceError {
    const place = `epoch ${this.position.epoch + 1}, near step ${this.steps}`;
    return new DivergenceError(place, loss, this.config.lr);
  }

  private report(hooks: TrainerHooks): void {
    const { loss, correct, count } = this.position.sums;
    if (count === 0) return;
    hooks.progress({ epoch: this.position.epoch + 1, step: this.steps, loss: loss / count, accuracy: correct / count });
  }
}
