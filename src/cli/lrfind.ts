import { basename, join } from 'node:path';
import { ConfigError } from '../core/errors.ts';
import { writeFileAtomic } from '../data/atomic.ts';
import { callOf, quoted } from '../train/call.ts';
import { freeze } from '../train/finetune.ts';
import { lrFinderSvg } from '../train/plots.ts';
import { rangeTest } from '../train/rangetest.ts';
import { checkOut, createRunFolder, makeFolder } from '../train/runfolder.ts';
import { setUp } from '../train/setup.ts';
import { suggest } from '../train/suggest.ts';
import { openAdapter } from './adapter.ts';
import { prepareRemembered } from './kernels.ts';
import { argumentsOf, withDefaults } from './option.ts';
import { type LrFindOptions, lrFindOptions, TOYFACES, type TrainOptions, trainOptions } from './options.ts';
import { checkOutputs } from './outputs.ts';
import { loadFor, newOptions, originsOfPretrained } from './train.ts';

/** Lines that tell how far the sweep is, at most. */
const LINES = 20;

/** `dawngrad lr-find`: the loss over a sweep of learning rates, what to take from it, a table and a drawing. */
export async function lrFind(given: Partial<LrFindOptions>): Promise<void> {
  const { startLr, endLr, steps, out } = withDefaults(lrFindOptions, given);
  if (out === null) checkOut(null);
  else checkOutputs('--out', out, Object.values(filesIn(out)));
  if ((given.freezeEpochs ?? 0) > 0 && !given.pretrained)
    throw new ConfigError(`--freeze-epochs ${given.freezeEpochs} needs --pretrained FILE. Leave it out.`);
  if (startLr >= endLr)
    throw new ConfigError(
      `--start-lr ${startLr} is not below --end-lr ${endLr}: the sweep rises. Give a lower --start-lr or a higher --end-lr.`,
    );
  const gpu = await openAdapter(given.adapter);
  try {
    const { freezeEpochs, ...shared } = ofTrain(given);
    const situation = { software: gpu.adapter.software, data: given.data ?? TOYFACES };
    // The sweep is the schedule: momentum stays where it is.
    const options = newOptions({ ...shared, schedule: 'constant' } as Partial<TrainOptions>, situation);
    const data = await loadFor(options, originsOfPretrained(options));
    const { trainer, seed } = setUp(gpu, options, data);
    await prepareRemembered(gpu, () => trainer.rehearse());
    // As fast.ai's: pretrained weights are frozen until they are fine-tuned.
    if (options.pretrained !== null && freezeEpochs !== 0) freeze(trainer.model, trainer.optimizer);
    const dir = out ?? createRunFolder(null, 'lr-find').dir;
    makeFolder(`--out ${dir}`, dir);
    const every = Math.ceil(steps / LINES);
    const points = await rangeTest(
      { model: trainer.model, optimizer: trainer.optimizer, batches: trainer.train },
      {
        ...{ startLr, endLr, steps, momentum: options.momentum },
        ...{ labelSmoothing: options.labelSmoothing, seed },
        onStep: ({ lr, loss }, done) => {
          if (done % every !== 0 && done !== 1) return;
          console.error(
            `step ${String(done).padStart(String(steps).length)}/${steps}  lr ${lr.toExponential(2)}  loss ${loss.toFixed(4)}`,
          );
        },
      },
    );
    const found = suggest(points, steps);
    const { table, drawing } = filesIn(dir);
    writeFileAtomic(table, `lr,loss\n${points.map(({ lr, loss }) => `${lr},${loss}\n`).join('')}`);
    writeFileAtomic(drawing, await lrFinderSvg(points, found.valley));
    const shown = Object.entries(found).map(([name, lr]) => `${name} ${lr === undefined ? 'none' : lr.toPrecision(3)}`);
    console.log(`Suggested: ${shown.join(', ')}`);
    if (points.length < steps)
      console.error(`The loss went up after ${points.length} of ${steps} steps; the sweep ended there.`);
    console.error(`Loss over learning rate: ${drawing} and ${basename(table)}`);
    if (found.valley !== undefined) console.error(`Train with it: ${trainCall(given, found.valley)}`);
  } finally {
    gpu.close();
  }
}

const filesIn = (dir: string) => ({ table: join(dir, 'lr-find.csv'), drawing: join(dir, 'lr-find.svg') });

/** What was given of the options of `train`, but for --out. */
function ofTrain(given: Partial<LrFindOptions>) {
  const { startLr, endLr, steps, out, ...shared } = given;
  return shared;
}

/** The `train` of what was swept: network, data and the rest are as they were given. */
function trainCall(given: Partial<LrFindOptions>, lr: number): string {
  const { adapter, ...shared } = ofTrain(given);
  // What the environment says it says to `train` too.
  const named = adapter === process.env.DAWNGRAD_ADAPTER ? {} : { adapter };
  const words = [...argumentsOf(trainOptions, { ...shared, ...named }), '--lr', lr.toPrecision(3)];
  return callOf('train', ...words.map(quoted));
}
