// Runs the test files by uvu, in several processes at once: on a software adapter most of the suite's time goes into compiling
// kernels and into commands that start, and both keep one core busy.
//
//   node --import tsx test/run.ts [--full] [NAME…]
//
// NAME is a file's name, or how it begins; without one all files run. --full: slow tests too (variants, kills, slow networks).
// DAWNGRAD_TEST_WORKERS: how many processes run at once; as many as there are cores, four at most, where it is not set.
// Exit code 1 where a test failed, or a process ended before its tests did.
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { stripVTControlCharacters } from 'node:util';
import { didYouMean } from '../src/core/nearest.ts';

const folder = new URL('.', import.meta.url);
const root = fileURLToPath(new URL('..', folder));
const uvu = fileURLToPath(new URL('../node_modules/uvu/bin.js', folder));
const suffix = '.test.ts';
const WORKERS = 4;
/** Files that compile the same kernels. */
const SAME_KERNELS = ['fuzz', 'tile', 'variants', 'winograd'];

const counted = ['Total', 'Passed', 'Skipped'] as const;
type Counts = Record<(typeof counted)[number], number>;

/**
 * The files of each process, those first that take longest. Processes share no compiled kernels, so there are only as many as run at
 * once, and files that compile the same ones go into one; but a file of tests that run commands gains nothing from others, and is a
 * share of its own for whoever is free.
 */
function shares(names: readonly string[], workers: number): string[][] {
  const text = (name: string) => readFileSync(new URL(name + suffix, folder), 'utf8');
  const runCommands = names.filter((name) => text(name).includes("'./child.ts'"));
  const ofKernels = names.filter((name) => SAME_KERNELS.includes(name));
  const rest = names.filter((name) => !runCommands.includes(name) && !ofKernels.includes(name));
  const parts = Array.from({ length: workers }, (_, i) => rest.filter((_, k) => k % workers === i));
  parts[0]!.push(...ofKernels);
  runCommands.sort((a, b) => text(b).length - text(a).length);
  return [...parts, ...runCommands.map((name) => [name])].filter((share) => share.length > 0);
}

const print = (lines: readonly string[]): void => void process.stdout.write(lines.map((line) => `${line}\n`).join(''));

/** Lines that stood before the first file's name: each process says the same of the adapter. */
const said = new Set<string>();

/** Runs uvu on some files and prints what it says once a file is through, so that those of different processes do not mix. */
async function run(names: readonly string[], killers: Set<() => void>): Promise<Counts> {
  const pattern = `^(${names.join('|')})\\.test\\.ts$`;
  const child = spawn(process.execPath, ['--import', import.meta.resolve('tsx'), uvu, fileURLToPath(folder), pattern], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const kill = () => child.kill('SIGKILL');
  killers.add(kill);
  const ended = new Promise<number | string | null>((resolve) => {
    child.on('error', ({ message }) => resolve(message));
    child.on('close', (code, signal) => resolve(code ?? signal));
  });

  const counts: Partial<Counts> = {};
  let section: string[] | null = null;
  for await (const line of createInterface({ input: child.stdout })) {
    const text = stripVTControlCharacters(line);
    const count = /^ {2}(Total|Passed|Skipped|Duration): +([\d.]+)/.exec(text);
    if (text.endsWith(suffix)) {
      print(section ?? []);
      section = [line];
    } else if (count) counts[count[1] as keyof Counts] = Number(count[2]);
    else if (section) section.push(line);
    else if (!said.has(line)) {
      said.add(line);
      print([line]);
    }
  }
  print(section ?? []);
  const code = await ended;
  killers.delete(kill);
  const { Total = 0, Passed = 0, Skipped = 0 } = counts;
  if (code === 0 && counts.Total !== undefined) return { Total, Passed, Skipped };
  // uvu counts tests that failed, but not a file that cannot be loaded or a process that dies.
  if (Passed === Total) print([`Of ${names.join(', ')}: the process ended (${code}) before its tests did.`, '']);
  return { Total: Math.max(Total, Passed + 1), Passed, Skipped };
}

function wanted(asked: readonly string[]): string[] {
  const all = readdirSync(folder)
    .filter((name) => name.endsWith(suffix))
    .map((name) => name.slice(0, -suffix.length))
    .sort();
  for (const name of asked) {
    if (all.some((one) => one.startsWith(name))) continue;
    throw new Error(`no test file is called ${name}${suffix}, or begins so.${didYouMean(name, all)}`);
  }
  return asked.length === 0 ? all : all.filter((one) => asked.some((name) => one.startsWith(name)));
}

async function main(args: readonly string[]): Promise<void> {
  if (args.includes('--full')) process.env.DAWNGRAD_TEST = 'full';
  const names = wanted(args.filter((arg) => arg !== '--full').map((arg) => arg.replace(/\.test\.ts$/, '')));
  const workers = Number(process.env.DAWNGRAD_TEST_WORKERS || Math.min(availableParallelism(), WORKERS));
  if (!Number.isInteger(workers) || workers < 1)
    throw new Error(
      `DAWNGRAD_TEST_WORKERS: expected a whole number from 1 on, got '${process.env.DAWNGRAD_TEST_WORKERS}'.`,
    );
  const queue = workers === 1 ? [names] : shares(names, workers);
  const killers = new Set<() => void>();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      for (const kill of killers) kill();
      process.exit(1);
    });
  }

  const started = performance.now();
  const sums: Counts = { Total: 0, Passed: 0, Skipped: 0 };
  const work = async (): Promise<void> => {
    for (let share = queue.shift(); share; share = queue.shift()) {
      const counts = await run(share, killers);
      for (const what of counted) sums[what] += counts[what];
    }
  };
  await Promise.all(Array.from({ length: workers }, work));
  print(counted.map((what) => `  ${`${what}:`.padEnd(10)} ${sums[what]}`));
  print([`  Duration:  ${((performance.now() - started) / 1000).toFixed(1)} s`]);
  if (sums.Passed < sums.Total) process.exitCode = 1;
}

main(process.argv.slice(2)).catch((error: Error) => {
  console.error(error.message);
  process.exitCode = 1;
});
