/**
 * The training step of VGG16_bn here and in what else runs on WebGPU, on one adapter with the same Dawn and the same flags; and in
 * PyTorch on the CPU, where it is installed.
 *
 *     npm i --prefix DIR @tensorflow/tfjs@4.22.0 @tensorflow/tfjs-backend-webgpu@4.22.0 @jax-js/jax@0.1.25
 *     npm run bench:peers -- --packages DIR
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { cpus, loadavg } from 'node:os';
import { join, resolve } from 'node:path';
import { refuseNull } from '../../src/cli/adapter.ts';
import { command } from '../../src/cli/command.ts';
import { main } from '../../src/cli/main.ts';
import { option, type Values } from '../../src/cli/option.ts';
import { infoOptions } from '../../src/cli/options.ts';
import { number, text, whole } from '../../src/cli/value.ts';
import { versions } from '../../src/cli/version.ts';
import { ConfigError } from '../../src/core/errors.ts';
import { inPercent } from '../../src/core/words.ts';
import { openDevice } from '../../src/gpu/dawn.ts';
import { median, quantile } from '../harness.ts';
import { checkJson, toJson, writeJson } from '../result.ts';
import { digits } from '../table.ts';
import { Contestant, type Engine } from './contestant.ts';

const OURS = 'dawngrad';
const TFJS = ['@tensorflow/tfjs', '@tensorflow/tfjs-backend-webgpu'];
const engines: readonly Engine[] = [
  { name: OURS, program: 'ours.ts', needs: [] },
  { name: 'tfjs', program: 'tfjs.mjs', needs: TFJS },
  { name: 'tfjs, GEMM_DX', program: 'tfjs.mjs', needs: TFJS, env: { GEMM_DX: '1' } },
  { name: 'jax-js', program: 'jaxjs.mjs', needs: ['@jax-js/jax'] },
  { name: 'PyTorch, CPU', program: 'torch_cpu.py', needs: [] },
];

const options = {
  packages: option('Run', text('DIR'), null, "folder whose node_modules has the peers' packages", {
    otherwise: 'none: they are left out',
  }),
  engines: option(
    'Run',
    text('NAMES'),
    null,
    `those to run, parts of names with commas: ${engines.map(({ name }) => name).join('; ')}`,
    {
      otherwise: 'all',
    },
  ),
  adapter: infoOptions.adapter,
  batch: option('Run', whole('N', { from: 2 }), null, 'images a step', { otherwise: '4; 8 on SwiftShader' }),
  width: option('Run', number('F', { above: 0, to: 1 }), null, 'of the network', {
    otherwise: '0.25; 1 on hardware',
  }),
  rounds: option('Run', whole('N', { from: 1 }), 5, 'times that each engine has its turn'),
  steps: option('Run', whole('N', { from: 1 }), 4, 'steps of a turn'),
  maxMinutes: option('Run', number('MIN', { above: 0 }), null, 'begins no further round after so long', {
    otherwise: 'no limit',
  }),
  limitMinutes: option(
    'Run',
    number('MIN', { above: 0 }),
    10,
    'an engine that compiles or computes longer is left out',
  ),
  json: option('Output', text('FILE'), null, 'writes the results to FILE', { otherwise: 'none' }),
};

interface Result {
  name: string;
  version?: string;
  /** Median of the steps. */
  ms?: number;
  msPerImage?: number;
  /** Half the distance between the quartiles, as a share of the median. */
  spread?: number;
  steps?: number;
  /** Its time over ours. */
  ratio?: number;
  /** Why it has no figures. */
  skipped?: string;
}

async function compare(given: Partial<Values<typeof options>>): Promise<void> {
  const { packages = null, rounds = 5, steps = 4, limitMinutes = 10, json } = given;
  if (json) checkJson(json);
  if (packages && !existsSync(packages)) throw new ConfigError(`--packages ${packages}: there is no such folder.`);
  const wanted = chosen(given.engines ?? null);
  const opened = await openDevice({
    adapter: given.adapter ?? undefined,
    flags: 'fast',
    onPrint: (text) => process.stderr.write(text),
  });
  refuseNull(opened, opened);
  const { kind, name, driver, fingerprint, why, flags } = opened;
  opened.close();
  console.log(why);
  const batch = given.batch ?? (kind === 'swiftshader' ? 8 : 4);
  const width = given.width ?? (kind === 'hardware' ? 1 : 0.25);
  console.log(`VGG16_bn, width ${width}, batch ${batch}, 48 px; ${rounds} rounds of ${steps} steps, in turn`);

  const task = { adapter: name, batch, width, packages: packages ? resolve(packages) : '' };
  const limitMs = 60_000 * limitMinutes;
  const end = performance.now() + 60_000 * (given.maxMinutes ?? Number.POSITIVE_INFINITY);
  const results = new Map<string, Result>(wanted.map((engine) => [engine.name, { name: engine.name }]));
  const running = new Map<string, Contestant>();
  /** Does `work` with a contestant, which is out where that throws. */
  const attempt = async (engine: string, contestant: Contestant, work: () => Promise<void>) => {
    try {
      await work();
    } catch (error) {
      contestant.end();
      running.delete(engine);
      skip(engine, (error as Error).message);
    }
  };
  const skip = (engine: string, why: string) => {
    // Where the packages are is nobody's business but this machine's.
    const reason = packages ? why.replaceAll(resolve(packages), 'DIR') : why;
    results.set(engine, { name: engine, skipped: reason });
    console.log(`${engine}: left out, ${reason}.`);
  };
  try {
    for (const engine of wanted) {
      const missing = engine.needs.find((need) => !installed(need, packages));
      if (missing) {
        skip(engine.name, `${missing} is not in the folder that --packages names`);
        continue;
      }
      const contestant = new Contestant(engine, task);
      running.set(engine.name, contestant);
      await attempt(engine.name, contestant, () => contestant.ready(limitMs));
    }
    for (let round = 0; round < rounds && (round === 0 || performance.now() < end); round++) {
      for (const [engine, contestant] of running) {
        await attempt(engine, contestant, () => contestant.round(steps, limitMs));
      }
    }
  } finally {
    for (const contestant of running.values()) contestant.end();
  }
  const ours = running.get(OURS);
  for (const [engine, { version, times }] of running) {
    const ms = median(times);
    const spread = (quantile(times, 0.75) - quantile(times, 0.25)) / 2 / ms;
    const ratio = ours && { ratio: ms / median(ours.times) };
    results.set(engine, { name: engine, version, ms, msPerImage: ms / batch, spread, steps: times.length, ...ratio });
  }
  for (const result of results.values()) if (result.ms !== undefined) console.log(lineOf(result));
  if (!json) return;
  const machine = { platform: `${process.platform}-${process.arch}`, cpu: cpus()[0]?.model.trim() ?? 'unknown' };
  const facts = {
    adapter: { kind, name, driver, fingerprint },
    ...{ flags, date: new Date().toISOString(), versions: versions() },
    machine: { ...machine, cores: cpus().length, load: loadavg()[0]! },
    ...{ network: 'vgg16_bn', size: 48, batch, width, rounds },
  };
  writeJson(json, toJson({ ...facts, results: [...results.values()] }));
}

function chosen(names: string | null): readonly Engine[] {
  const parts = names?.toLowerCase().split(',') ?? [''];
  const found = engines.filter(({ name }) => parts.some((part) => name.toLowerCase().includes(part.trim())));
  if (found.length > 0) return found;
  throw new ConfigError(`--engines ${names}: there are ${engines.map(({ name }) => name).join('; ')}.`);
}

function installed(name: string, packages: string | null): boolean {
  if (!packages) return false;
  try {
    createRequire(join(resolve(packages), 'package.json')).resolve(name);
    return true;
  } catch {
    return false;
  }
}

const lineOf = ({ name, version, msPerImage, spread, ratio }: Result): string =>
  [
    `${name} ${version}`.padEnd(28),
    `${digits(msPerImage!)} ms an image`.padStart(20),
    ` ±${inPercent(spread!, 0)}`.padStart(7),
    ratio === undefined ? '' : `${digits(ratio)}× ours`.padStart(14),
  ].join('');

await main(
  ['bench:peers', ...process.argv.slice(2)],
  [
    command(
      {
        name: 'bench:peers',
        summary: 'compares the training step with that of other engines on the same adapter',
        options,
        examples: ['--packages ../peers', '--packages ../peers --engines dawngrad,tfjs --width 1'],
      },
      compare,
    ),
  ],
);
