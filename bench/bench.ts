/**
 * Kernel throughput against the adapter's own measured ceilings, the whole training step, and what the host costs.
 *
 *     npm run bench -- --filter conv --json results.json
 */
import { cpus, loadavg } from 'node:os';
import { refuseNull } from '../src/cli/adapter.ts';
import { command } from '../src/cli/command.ts';
import { onInterrupt } from '../src/cli/interrupt.ts';
import { main } from '../src/cli/main.ts';
import { option, type Values, withDefaults } from '../src/cli/option.ts';
import { infoOptions, trainOptions as trained } from '../src/cli/options.ts';
import { text, toggle } from '../src/cli/value.ts';
import { versions } from '../src/cli/version.ts';
import { ConfigError } from '../src/core/errors.ts';
import type { AdapterKind } from '../src/gpu/adapters.ts';
import type { OpenedDevice } from '../src/gpu/dawn.ts';
import type { Gpu } from '../src/gpu/gpu.ts';
import type { Kernels } from '../src/train/kernels.ts';
import { checkPrecision } from '../src/train/recipe.ts';
import { measureCase } from './cases.ts';
import { measureCeilings } from './ceilings.ts';
import { openForBench } from './gpu.ts';
import type { Pace } from './harness.ts';
import { measureHost } from './host.ts';
import { kernelCases, type Scale } from './kernels.ts';
import type { StepShape } from './network.ts';
import { type BenchResult, checkJson, readResult, toJson, writeJson } from './result.ts';
import { measureStep } from './step.ts';
import {
  busyLines,
  caseFoot,
  caseHead,
  caseLine,
  ceilingLines,
  comparisonLines,
  hostLines,
  stepLines,
  variantLines,
} from './table.ts';

const options = {
  filter: option('Run', text('NAME'), null, 'runs only what has NAME in its name: conv, wgrad, fc1, step, host …', {
    otherwise: 'all',
  }),
  tune: option('Run', toggle, true, 'takes the usual kernels, without finding out which are fastest here'),
  quick: option('Run', toggle, false, 'a few cases and repetitions, for CI'),
  batch: option('Network', trained.batch.kind, null, 'images of a batch', {
    otherwise: '64; 4 on lavapipe, 8 on SwiftShader',
  }),
  width: option('Network', trained.width.kind, null, "multiplies VGG16_bn's channels", {
    otherwise: '1; 0.25 on software adapters',
  }),
  size: option('Network', trained.size.kind, 48, "side of the training step's input"),
  augment: option('Network', trained.augment.kind, 'crop', 'what the images of the training step go through'),
  precision: option('Network', trained.precision.kind, 'f32', 'what the training step computes in'),
  adapter: infoOptions.adapter,
  json: option('Output', text('FILE'), null, 'writes the results to FILE', { otherwise: 'none' }),
  compare: option('Output', text('FILE'), null, 'prints ratios to the results in FILE', { otherwise: 'none' }),
};

const STEP = 'training step';
const HOST = 'host';

/** What an adapter is asked to do: software ones get VGG16_bn at a quarter of its width. */
interface Work {
  scale: Scale;
  /** Weights that an optimizer updates. */
  weights: number;
  ceilings: Pace;
  kernels: Pace;
  steps: Pace;
}

function workFor(kind: AdapterKind, quick: boolean): Work {
  // Ceilings count by their fastest batch: many short ones.
  const ceilings = { batchMs: 10, caseMs: quick ? 50 : 250 };
  if (kind === 'hardware') {
    const kernels = { batchMs: 20, caseMs: quick ? 80 : 250 };
    const steps = { batchMs: 300, caseMs: quick ? 600 : 3000 };
    return { scale: { batch: 64, width: 1 }, weights: 2 ** 25, ceilings, kernels, steps };
  }
  const kernels = quick ? { batchMs: 15, caseMs: 50 } : { batchMs: 40, caseMs: 250 };
  const steps = quick ? { batchMs: 1, caseMs: 500 } : { batchMs: 250, caseMs: 3000 };
  return { scale: { batch: kind === 'lavapipe' ? 4 : 8, width: 0.25 }, weights: 2 ** 21, ceilings, kernels, steps };
}

async function bench({ adapter, json, compare, ...given }: Partial<Values<typeof options>>) {
  const before = compare ? readResult(compare) : null;
  if (json) checkJson(json);
  const { gpu, opened } = await openForBench(adapter);
  refuseNull(gpu.adapter, gpu);
  // Without a file there is nothing to save.
  const interrupt = json ? onInterrupt('Stopping after this measurement, and writing those so far.') : null;
  try {
    console.log(gpu.adapter.why);
    if (given.precision) checkPrecision({ precision: given.precision });
    const result = await measure(gpu, opened, withDefaults(options, given), () => interrupt?.requested() ?? false);
    if (json) writeJson(json, toJson(result));
    if (before) print('', ...comparisonLines(before, result, compare!));
    const wrong = result.cases.filter((entry) => 'wrong' in entry).map(({ name }) => name);
    if (result.step?.wrong) wrong.push(STEP);
    if (wrong.length > 0) {
      console.error(`bench: ${wrong.length} wrong: ${wrong.join(', ')}.`);
      process.exitCode = 1;
    }
  } finally {
    interrupt?.release();
    gpu.close();
  }
}

async function measure(
  gpu: Gpu,
  opened: OpenedDevice,
  wants: Values<typeof options>,
  interrupted: () => boolean,
): Promise<BenchResult> {
  const { filter, quick, tune, size, augment, precision } = wants;
  const kernels: Kernels = tune ? 'fastest' : 'usual';
  const work = workFor(gpu.adapter.kind, quick);
  const scale = { batch: wants.batch ?? work.scale.batch, width: wants.width ?? work.scale.width };
  const shape: StepShape = { ...scale, size, augment, precision };
  const all = kernelCases(scale, work.weights);
  const wanted = (name: string) => name.toLowerCase().includes((filter ?? '').toLowerCase());
  const cases = all.filter((entry) => wanted(entry.name) && (entry.quick || !quick));
  const [withStep, withHost] = [wanted(STEP), wanted(HOST)];
  if (cases.length === 0 && !withStep && !withHost) {
    const long = all.filter((entry) => wanted(entry.name)).map(({ name }) => name);
    const verb = long.length === 1 ? 'is' : 'are';
    if (long.length > 0)
      throw new ConfigError(`--filter ${filter}: ${long.join(', ')} ${verb} measured without --quick only.`);
    const names = [STEP, ...all.filter((entry) => entry.quick || !quick).map(({ name }) => name), HOST];
    throw new ConfigError(`--filter ${filter}: nothing is called that. There are ${names.join(', ')}.`);
  }
  const { kind, name, driver, fingerprint, why } = gpu.adapter;
  const result: BenchResult = {
    adapter: { kind, name, driver, fingerprint, why },
    flags: opened.flags,
    date: new Date().toISOString(),
    versions: versions(),
    machine: {
      platform: `${process.platform}-${process.arch}`,
      cpu: cpus()[0]?.model.trim() ?? 'unknown',
      cores: cpus().length,
      load: loadavg()[0]!,
    },
    ...{ quick, filter, ceilings: null, step: null, cases: [], host: null },
  };
  if (gpu.adapter.software) print(...busyLines(result.machine));
  if (withStep) {
    result.step = await measureStep(gpu, shape, work.steps, kernels);
    print('', ...stepLines(result.step));
  }
  if (cases.length > 0 && !interrupted()) {
    const ceilings = await measureCeilings(gpu, work.ceilings);
    result.ceilings = ceilings;
    print('', ...ceilingLines(ceilings), '', caseHead());
    for (const entry of cases) {
      if (interrupted()) break;
      const measured = await measureCase(gpu, entry, ceilings, work.kernels, kernels);
      result.cases.push(measured);
      print(caseLine(measured));
    }
    print(caseFoot(), ...variantLines(result.cases));
  }
  if (withHost && !interrupted()) {
    result.host = await measureHost({ batchMs: 50, caseMs: quick ? 300 : 1500 });
    print('', ...hostLines(result.host));
  }
  return result;
}

function print(...lines: readonly string[]): void {
  if (lines.length > 0) console.log(lines.join('\n'));
}

await main(
  ['bench', ...process.argv.slice(2)],
  [
    command(
      {
        name: 'bench',
        summary: 'measures kernels against the ceilings of the adapter, the training step, and the host',
        options,
        examples: ['', '--filter conv', '--json bench/results/mine.json', '--compare bench/results/mine.json'],
      },
      bench,
    ),
  ],
);
