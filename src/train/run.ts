import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { DataError } from '../core/errors.ts';
import { isHeld, removeLeftovers, writeFileAtomic } from '../data/atomic.ts';
import type { Dataset } from '../data/dataset.ts';
import type { Gpu } from '../gpu/gpu.ts';
import { createModel } from '../models/index.ts';
import type { Module } from '../nn/index.ts';
import { planOf } from '../ops/matrix/plan.ts';
import { writeArtifacts } from './artifacts.ts';
import { type CheckpointFacts, loadCheckpoint, saveCheckpoint } from './checkpoint.ts';
import type { TrainConfig } from './config.ts';
import { DivergenceError } from './divergence.ts';
import { prepareKernels, racesMs } from './kernels.ts';
import { type EpochRow, metricsCsv, parseMetricsCsv, recorded } from './metrics.ts';
import { loadTensors, type ModelFacts, readModelFile, saveModel } from './modelfile.ts';
import { addPredictions, noSums, type Prediction } from './predictions.ts';
import { loadPretrained, type PretrainedRecord, readPretrained } from './pretrained.ts';
import type { Progress } from './progress.ts';
import type { RunFolder } from './runfolder.ts';
import { type RunRecord, type RunResult, writeRecord } from './runrecord.ts';
import { readSafetensors } from './safetensors.ts';
import { setUp } from './setup.ts';
import type { EpochResult, Trainer } from './trainer.ts';

/** The part of a run's facts that is known before the network is built. */
export type RunOrigin = Pick<
  RunRecord,
  'commandLine' | 'startedAt' | 'options' | 'seed' | 'versions' | 'adapter' | 'data' | 'pretrained'
>;

export interface RunRequest {
  gpu: Gpu;
  /** When the command was called, by `performance.now()`: what is read, compiled and timed before the first step is time, too. */
  calledMs: number;
  config: TrainConfig & {
    /** From `calledMs` on; null for no limit. One step is made in any case. */
    maxMinutes: number | null;
    checkpointEvery: number | null;
    /** Epochs without a better validation accuracy that end the run; null for any number. */
    patience: number | null;
    tune: boolean;
  };
  data: Dataset;
  origin: RunOrigin;
  /** Makes the folder; called once nothing can be wrong with the options any more. */
  openFolder(): RunFolder;
  /** Continue from the folder's checkpoint. */
  resume: boolean;
  /** The display, made when the number of steps is known. */
  createProgress(options: { totalSteps: number; epochs: number }): Progress;
  /** Asked between steps: true stops the run cleanly. */
  interrupted(): boolean;
}

/** One training run and its folder: what happens between two steps, and at the end. */
export class Run {
  readonly folder: RunFolder;
  readonly trainer: Trainer;
  /** The weights that it started from, where they are not its own. */
  readonly pretrained: PretrainedRecord | null;
  private readonly request: RunRequest;
  private readonly facts: ModelFacts;
  private readonly record: Omit<RunRecord, 'version'>;
  /** The plan of the run that is continued. */
  private recordedPlan: Readonly<Record<string, string>> = {};
  /** Set when kernels were chosen in earnest: what an interruption left unchecked must not bind the continuation. */
  private prepared = false;
  private startedMs = performance.now();
  private readonly progress: Progress;
  private rows: EpochRow[] = [];
  /** Some of the rows are not in the file yet. */
  private metricsBehind = false;
  private best: CheckpointFacts['best'] = null;
  private bestPredictions: Prediction[] | null = null;
  private secondsBefore = 0;
  /** Of `startedMs` to now. */
  private validationMs = 0;
  private epochStartedMs = performance.now();
  /** Seconds of the running epoch in processes before this one. */
  private epochSecondsBefore = 0;
  private readonly startStep: number;

  constructor(request: RunRequest) {
    const { gpu, config, data, origin } = request;
    this.request = request;
    const { facts, trainer, pretrained } = setUp(gpu, config, data, request.resume ? origin : null);
    this.facts = facts;
    this.trainer = trainer;
    this.pretrained = pretrained;
    this.record = {
      ...origin,
      kernelPlan: {},
      pretrained,
      model: { ...facts.options, pool: config.pool, arch: config.arch, parameters: trainer.model.parameterCount() },
      result: null,
    };
    this.folder = request.openFolder();
    if (request.resume) this.restore();
    this.startStep = this.trainer.steps;
    const { totalSteps, epochs } = this.trainer;
    this.progress = request.createProgress({ totalSteps, epochs });
    const { epoch } = this.trainer.position;
    const lost = epoch - this.rows.length;
    if (lost > 0) {
      const epochs =
        epoch === 1 ? 'the first epoch' : `${lost < epoch ? `${lost} of the` : 'all'} ${epoch} epochs so far`;
      this.progress.message(`warning: ${this.folder.metrics} lacks ${epochs}, and so will the report.`);
    }
  }

  /** Trains to the end, or until it is stopped or diverges, and writes everything that there is to write. */
  async train(): Promise<RunResult> {
    const { gpu } = this.request;
    await this.prepare();
    // Parameters have moved into the optimizer's arena: what they were made in is free, and counts for nothing.
    await gpu.trim();
    gpu.pool.resetPeak();
    // First the record: a folder that has anything else of a run says which run that is, whenever it is killed.
    this.writeRecord(null);
    const { dir, last } = this.folder;
    mkdirSync(last, { recursive: true });
    // A new run, too, may find what one that was killed at its start has left.
    for (const folder of [dir, last]) removeLeftovers(folder);
    if (!this.request.resume) await this.checkpoint();
    else if (this.isBest) await this.saveBest();
    let status: RunResult['status'] = 'finished';
    try {
      const done =
        this.prepared &&
        (await this.trainer.run({
          afterStep: ({ step }) => this.afterStep(step),
          progress: ({ epoch, step, loss, accuracy }) =>
            this.progress.step({ epoch, step, loss, accuracy, imagesPerSecond: this.imagesPerSecond() }),
          epochEnd: (result) => this.epochEnd(result),
          enough: () => this.outOfPatience(),
          interrupted: this.request.interrupted,
        }));
      if (!done) status = 'stopped';
      else if (this.outOfPatience()) this.progress.message(this.early());
    } catch (error) {
      if (!(error instanceof DivergenceError)) throw error;
      status = 'diverged';
      this.progress.message(error.message);
    } finally {
      this.progress.stop();
    }
    const result = { ...this.result(status), ...(await this.scaling()) };
    // What is asked of the network from here on is no part of the run.
    const { kernelPlan } = this;
    if (status === 'diverged') await this.keepLastGood();
    if (this.metricsBehind) this.writeMetrics();
    if (this.best) {
      const predictions = this.bestPredictions ?? (await this.evaluateBest());
      // The best network comes beside the one that was trained: what training took for its steps makes room.
      await gpu.trim();
      await writeArtifacts({
        folder: this.folder,
        record: this.record,
        result,
        options: this.facts.options,
        rows: this.rows,
        predictions,
        data: this.request.data,
        batch: this.request.config.batch,
        prepare: async (body) => this.say((await prepareKernels(gpu, body, 'remembered')).lines),
      });
    }
    // The last file: a run that says how it ended has everything else, too.
    this.writeRecord(result, kernelPlan);
    return result;
  }

  /** Settles which kernels are used: those of the run that is continued, else those that are fastest here. */
  private async prepare(): Promise<void> {
    const { gpu, config, resume, interrupted } = this.request;
    const plan = planOf(gpu);
    plan.follow(Object.entries(this.recordedPlan));
    const undecided = !resume || (this.trainer.steps === 0 && Object.keys(this.recordedPlan).length === 0);
    const { lines } = await prepareKernels(
      gpu,
      () => this.trainer.rehearse(),
      config.tune && undecided ? 'fastest' : 'usual',
      {
        interrupted,
        totalMs: Math.min(racesMs(gpu), (60_000 * (config.maxMinutes ?? Number.POSITIVE_INFINITY)) / 4),
      },
    );
    this.prepared = !interrupted();
    const others = [...plan.used()].filter(([problem, variant]) => (this.recordedPlan[problem] ?? variant) !== variant);
    if (others.length > 0) {
      lines.push(
        `Note: ${others.length} of the kernels that the run was started with are not to be had here; it continues, but not to the same bits.`,
      );
    }
    this.say(lines);
    // A run's time is that of its training.
    this.startedMs = performance.now();
    this.epochStartedMs = performance.now();
  }

  private say(lines: readonly string[]): void {
    for (const line of lines) this.progress.message(line);
  }

  private get kernelPlan(): Record<string, string> {
    if (!this.prepared) return this.recordedPlan;
    return { ...this.recordedPlan, ...Object.fromEntries(planOf(this.request.gpu).used()) };
  }

  private writeRecord(result: RunResult | null, kernelPlan = this.kernelPlan): void {
    writeRecord(this.folder.record, { ...this.record, kernelPlan, result });
  }

  /** Stopped by the user, or by `--max-minutes`. */
  private overdue(): boolean {
    const { config, calledMs, interrupted } = this.request;
    const late = config.maxMinutes !== null && performance.now() - calledMs >= 60_000 * config.maxMinutes;
    return late || interrupted();
  }

  private async afterStep(step: number): Promise<boolean> {
    const { config } = this.request;
    const { steps, stepsPerEpoch } = this.trainer;
    // The last step of an epoch is followed by the checkpoint of the epoch.
    const due = config.checkpointEvery !== null && steps % config.checkpointEvery === 0 && step < stepsPerEpoch;
    if (due) await this.checkpoint();
    const stop = this.overdue();
    if (stop && !due) await this.checkpoint();
    return stop;
  }

  private async epochEnd({ epoch, step, lr, train, valid, predictions, validationMs }: EpochResult): Promise<void> {
    const seconds = this.epochSeconds();
    const accuracy = valid.correct / valid.count;
    const row = recorded({
      epoch,
      step,
      lr,
      trainLoss: train.loss / train.count,
      trainAccuracy: train.correct / train.count,
      validLoss: valid.loss / valid.count,
      validAccuracy: accuracy,
      seconds,
      imagesPerSecond: train.count / (seconds - validationMs / 1000),
    });
    this.rows.push(row);
    this.validationMs += validationMs;
    const best = this.best === null || accuracy > this.best.accuracy;
    if (best) {
      this.best = { epoch, accuracy };
      this.bestPredictions = predictions;
    }
    this.writeMetrics();
    this.epochStartedMs = performance.now();
    this.epochSecondsBefore = 0;
    await this.checkpoint();
    // After the checkpoint that says so, from which a continued run writes it again: no kill leaves other weights than those.
    if (best) await this.saveBest();
    this.progress.epochEnd({ ...row, best });
  }

  /** A spreadsheet that shows the file must not end the run: what it keeps out now comes with the next epoch, or at the end. */
  private writeMetrics(): void {
    try {
      writeFileAtomic(this.folder.metrics, metricsCsv(this.rows));
      this.metricsBehind = false;
    } catch (error) {
      if (!isHeld(error)) throw error;
      this.metricsBehind = true;
      this.progress.message(`warning: ${(error as Error).message} Close it where it is open.`);
    }
  }

  /** True from the end of an epoch that was the best one to the next step: the weights are those of the model file. */
  private get isBest(): boolean {
    const { epoch, step } = this.trainer.position;
    return step === 0 && epoch === this.best?.epoch;
  }

  private saveBest(): Promise<void> {
    const { trainer, facts, folder } = this;
    return trainer.withAveraged(() => saveModel(folder.model, trainer.model, facts, this.batches));
  }

  /** Batches that a batch norm has seen. */
  private get batches(): number {
    return this.trainer.steps * this.request.config.accumulate;
  }

  /**
   * True where validation has not been better for as many epochs as `--patience` grants, and there are more to come. Those with a
   * frozen body do not count: what comes after them trains other layers. fast.ai's callback begins anew with each phase, too.
   */
  private outOfPatience(): boolean {
    const { patience, freezeEpochs } = this.request.config;
    const { steps, totalSteps, position } = this.trainer;
    if (patience === null || this.best === null || steps >= totalSteps) return false;
    return position.epoch - Math.max(this.best.epoch, freezeEpochs) >= patience;
  }

  private early(): string {
    const { patience } = this.request.config;
    const { position, totalSteps, stepsPerEpoch } = this.trainer;
    const last = patience === 1 ? 'it was not' : `none of the last ${patience} was`;
    return `Stopped early, after epoch ${position.epoch} of ${totalSteps / stepsPerEpoch}: ${last} better than epoch ${this.best!.epoch} (patience ${patience}).`;
  }

  private async checkpoint(): Promise<void> {
    await saveCheckpoint(this.folder.checkpoint, this.trainer, {
      seconds: this.seconds(),
      epochSeconds: this.epochSeconds(),
      best: this.best,
      kernelPlan: this.kernelPlan,
    });
  }

  private restore(): void {
    const { seconds, epochSeconds, best, kernelPlan = {} } = loadCheckpoint(this.folder.checkpoint, this.trainer);
    this.secondsBefore = seconds;
    this.epochSecondsBefore = epochSeconds;
    this.best = best;
    this.recordedPlan = kernelPlan;
    if (best && !this.isBest) this.checkBest(best.epoch);
    const { metrics } = this.folder;
    const { epoch } = this.trainer.position;
    if (existsSync(metrics)) {
      this.rows = parseMetricsCsv(readFileSync(metrics, 'utf8'), metrics).filter((row) => row.epoch <= epoch);
    }
  }

  /** Throws DataError where the model file, whose weights may stay the best ones, is not there or damaged. */
  private checkBest(epoch: number): void {
    const { model } = this.folder;
    const mend = `It held the best weights so far, of epoch ${epoch}: put it back, or start again in another folder.`;
    if (!existsSync(model)) throw new DataError(`${model}: no such file. ${mend}`);
    try {
      readModelFile(model);
    } catch (error) {
      if (!(error instanceof DataError)) throw error;
      throw new DataError(`${error.message} ${mend}`);
    }
  }

  /**
   * After a divergence: where no epoch was complete, the checkpoint's weights are the last good ones. One of within the epoch may
   * hold what the update that went wrong left, finite and absurd: weights that do worse than a guess give way to the first ones.
   */
  private async keepLastGood(): Promise<void> {
    if (existsSync(this.folder.model)) return;
    const { trainer, facts } = this;
    const { position } = loadCheckpoint(this.folder.checkpoint, trainer);
    if (position.step > 0) {
      const { loss, count } = addPredictions(noSums(), await trainer.withAveraged(() => trainer.validate()));
      const guess = Math.log(facts.classes.length);
      if (!(loss / count < guess)) {
        return saveModel(this.folder.model, this.firstModel(), facts, 0);
      }
    }
    await trainer.withAveraged(() => saveModel(this.folder.model, trainer.model, facts, this.batches));
  }

  /** The network as it was before the first step; without the pretrained weights where their file is gone. */
  private firstModel(): Module {
    const { arch, options, classes } = this.facts;
    const model = createModel(arch, options);
    const path = this.pretrained?.path;
    if (path && existsSync(path)) loadPretrained(model, readPretrained(path), { arch, ...options, classes });
    return model;
  }

  /** Predictions of the best weights, where they were found before this process was started. */
  private async evaluateBest(): Promise<Prediction[]> {
    loadTensors(this.trainer.model, readSafetensors(this.folder.model).tensors, this.folder.model);
    return this.trainer.validate();
  }

  private seconds(): number {
    return this.secondsBefore + (performance.now() - this.startedMs) / 1000;
  }

  private epochSeconds(): number {
    return this.epochSecondsBefore + (performance.now() - this.epochStartedMs) / 1000;
  }

  /** Of training alone, in this process. */
  private imagesPerSecond(): number {
    const { batch, accumulate } = this.request.config;
    const steps = this.trainer.steps - this.startStep;
    return (steps * batch * accumulate * 1000) / (performance.now() - this.startedMs - this.validationMs);
  }

  private async scaling(): Promise<Pick<RunResult, 'lossScale'>> {
    const state = await this.trainer.lossScale?.read();
    return state ? { lossScale: { scale: state.scale, skippedUpdates: state.skipped } } : {};
  }

  private result(status: RunResult['status']): RunResult {
    // Its row may be lost with metrics.csv; the checkpoint has told which it was, too.
    const best = this.rows.find(({ epoch }) => epoch === this.best?.epoch);
    // All epochs have the same number of images.
    const secondsPerImage = this.rows.reduce((sum, row) => sum + 1 / row.imagesPerSecond, 0) / this.rows.length;
    return {
      status,
      ...(status === 'finished' && this.outOfPatience() && { stoppedEarly: true as const }),
      epochs: this.trainer.position.epoch,
      steps: this.trainer.steps,
      bestEpoch: this.best?.epoch ?? null,
      validLoss: best?.validLoss ?? null,
      validAccuracy: best?.validAccuracy ?? this.best?.accuracy ?? null,
      seconds: this.seconds(),
      imagesPerSecond: this.rows.length > 0 ? 1 / secondsPerImage : this.imagesPerSecond(),
      peakGpuBytes: this.request.gpu.pool.stats.peakBytes,
    };
  }
}
