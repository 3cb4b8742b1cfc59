import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { basename, extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ConfigError, isUserError } from '../core/errors.ts';
import { counted } from '../core/words.ts';
import { removeLeftovers, writeFileAtomic } from '../data/atomic.ts';
import { quoted } from '../train/call.ts';
import { comparisonMarkdown, comparisonSvg } from '../train/comparison.ts';
import { checkOut, makeFolder } from '../train/runfolder.ts';
import type { RunRecord } from '../train/runrecord.ts';
import { type Changes, type Experiment, type ExperimentList, readExperiments } from './experimentfile.ts';
import { clearRemains, compared, type State, stateOf } from './experimentstate.ts';
import { argumentsOf, flagOf, longNameOf, type Table } from './option.ts';
import { type ExperimentsOptions, TOYFACES, type TrainOptions, trainOptions } from './options.ts';
import { printable } from './printable.ts';
import { lockFolder, type WorkLock } from './worklock.ts';

/** An experiment, and what is known of it before it is run, or has become of it. */
interface Planned {
  experiment: Experiment;
  state: State;
  status: string;
}

/**
 * `dawngrad experiments`: trains a list of configurations, each into a folder of its own, and compares them. What is finished is
 * skipped, what was killed goes on from its checkpoint.
 *
 * Each run is a process of its own: one that dies of the driver or of memory takes no other with it, and each begins with a GPU on which
 * nothing is. It ends with the process that started it.
 */
export async function experiments(options: ExperimentsOptions): Promise<void> {
  const file = options.files[0]!;
  const out = normalize(options.out ?? join('runs', basename(file, extname(file))));
  const list = readExperiments(file, { given: changesOf(options), without: namesIn(options.without), out });
  const planned = list.experiments.map((experiment): Planned => {
    const state = stateOf(experiment, out, file);
    return { experiment, state, status: statusOf(state) };
  });
  if (options.list) {
    for (const [k, { experiment, status }] of planned.entries()) {
      console.log(`${k + 1}. ${experiment.name}: ${status}\n   ${inWords(commandOf(experiment, out))}`);
    }
    return;
  }
  checkFiles(planned, file);
  checkOut(out);
  makeFolder(`--out ${out}`, out);
  const lock = await lockFolder(`--out ${out}`, out, (line) => console.error(line));
  try {
    // A process that was left behind may have ended a run meanwhile.
    for (const one of planned) {
      one.state = stateOf(one.experiment, out, file);
      one.status = statusOf(one.state);
    }
    removeLeftovers(out);
    await new Series(list, planned, out, lock, changesInWords(options)).run();
  } finally {
    lock.release();
  }
}

/** What the command line has in place of the file's options. */
function changesOf({ data, limit, epochs, precision, adapter }: ExperimentsOptions): Changes['given'] {
  const changes = { data, limit, epochs, precision, adapter };
  return Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== null)) as Partial<TrainOptions>;
}

/** The same as a shell reads it, with what is left out; empty where the file is taken as it is. */
const changesInWords = (options: ExperimentsOptions): string =>
  [
    ...argumentsOf(trainOptions, changesOf(options)),
    ...(options.without === null ? [] : ['--without', namesIn(options.without).join(',')]),
  ]
    .map(quoted)
    .join(' ');

const namesIn = (names: string | null): string[] => (names === null ? [] : names.split(',').map((name) => name.trim()));

function statusOf(state: State): string {
  if (state.kind === 'new') return 'not begun';
  if (state.kind === 'begun') return 'begun';
  return state.record.result!.status;
}

const commandOf = ({ name, given }: Experiment, out: string): string[] => [
  ...argumentsOf(trainOptions, given),
  '--out',
  join(out, name),
];

/** As a shell reads it back; but for control characters, which the file that they come from may have meant for the terminal. */
const inWords = (args: readonly string[]): string => printable(['train', ...args].map(quoted).join(' '));

/** Options that may stand beside --resume. */
const resumable = (given: object): object =>
  Object.fromEntries(Object.entries(given).filter(([key]) => (trainOptions as Table)[key]!.resumable));

/** Data and weights that are not there would end a run hours from now. */
function checkFiles(planned: readonly Planned[], file: string): void {
  const table: Table = trainOptions;
  for (const { experiment, state } of planned) {
    if (state.kind === 'done') continue;
    for (const [key, value] of Object.entries(experiment.given)) {
      const { placeholder } = table[key]!.kind;
      const path =
        (placeholder === 'PATH' || placeholder === 'FILE') && typeof value === 'string' && value !== TOYFACES;
      // Weights of an experiment before it are to come; those that a run began with are in its checkpoint.
      const needed = key === 'data' || (experiment.from === null && state.kind === 'new');
      if (!path || !needed || existsSync(value)) continue;
      const flag = flagOf(key, table[key]!);
      // What is for weights alone goes with them.
      const withIt = Object.keys(table).filter((k) => k in experiment.given && table[k]!.group === table[key]!.group);
      const mend =
        key === 'data'
          ? `Give ${flag} PATH.`
          : `Put it there, or leave it out with --without ${withIt.map(longNameOf).join(',')}.`;
      throw new ConfigError(`${file}: experiment '${experiment.name}': ${flag} ${value}: no such file. ${mend}`);
    }
  }
}

/** What holds for the runs that there are: one sentence for all, or several, each with the names of those that it is about. */
function factsOf(planned: readonly Planned[], fact: (record: RunRecord) => string): string[] {
  const namesBy = new Map<string, string[]>();
  for (const { experiment, state } of planned) {
    if (state.kind === 'new') continue;
    const sentence = fact(state.record);
    namesBy.set(sentence, [...(namesBy.get(sentence) ?? []), experiment.name]);
  }
  const alone = namesBy.size === 1;
  return [...namesBy].map(([sentence, names]) => (alone ? `${sentence}.` : `${names.join(', ')}: ${sentence}.`));
}

/** The runs of a list, one after another. */
class Series {
  private readonly list: ExperimentList;
  private readonly planned: readonly Planned[];
  private readonly out: string;
  private readonly lock: WorkLock;
  private readonly changes: string;
  private child: ChildProcess | null = null;
  private interrupted = false;

  constructor(list: ExperimentList, planned: readonly Planned[], out: string, lock: WorkLock, changes: string) {
    this.list = list;
    this.planned = planned;
    this.out = out;
    this.lock = lock;
    this.changes = changes;
  }

  async run(): Promise<void> {
    const interrupt = () => this.interrupt();
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, interrupt);
    try {
      for (const [index, one] of this.planned.entries()) {
        if (this.interrupted) break;
        const place = `[${index + 1}/${this.planned.length}] ${one.experiment.name}:`;
        if (one.state.kind === 'done') {
          console.error(`${place} ${one.status} before`);
          continue;
        }
        await this.train(one, place);
        await this.compare();
      }
      await this.compare();
    } finally {
      for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, interrupt);
    }
    this.conclude();
  }

  /** Runs one experiment to its end, whatever that is. */
  private async train(one: Planned, place: string): Promise<void> {
    const { experiment, state } = one;
    const dir = join(this.out, experiment.name);
    const base = this.planned.find(({ experiment: { name } }) => name === experiment.from);
    if (base && base.status !== 'finished') {
      one.status = `waits for ${experiment.from}`;
      console.error(`${place} starts from ${experiment.from}, which is not finished`);
      return;
    }
    if (state.kind === 'new' && state.remains) {
      try {
        const lock = await lockFolder(dir, dir, (line) => console.error(line));
        try {
          clearRemains(dir);
        } finally {
          lock.release();
        }
      } catch (error) {
        if (!isUserError(error)) throw error;
        one.status = 'failed';
        console.error(`${place} ${error.message}`);
        return;
      }
    }
    const args =
      state.kind === 'begun'
        ? ['--resume', dir, ...argumentsOf(trainOptions, resumable(experiment.given))]
        : commandOf(experiment, this.out);
    console.error(`${place} ${inWords(args)}`);
    const { code, signal } = await this.spawn(args);
    this.look(one);
    if (one.state.kind === 'done') return;
    if (this.interrupted || code === 0) {
      one.status = 'stopped';
      return;
    }
    one.status = 'failed';
    console.error(`${place} failed (${signal ? `killed by ${signal}` : `exit code ${code}`}); the list goes on`);
  }

  /** What has become of an experiment. A folder that a run left in disorder is a failure of it. */
  private look(one: Planned): void {
    try {
      one.state = stateOf(one.experiment, this.out, this.list.file);
      one.status = statusOf(one.state);
    } catch (error) {
      if (!isUserError(error)) throw error;
      console.error(error.message);
    }
  }

  private async spawn(args: readonly string[]): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
    const program = fileURLToPath(new URL(`./bin.${extension}`, import.meta.url));
    // The channel tells it to stop, by a message or by its end.
    const child = spawn(process.execPath, [...process.execArgv, program, 'train', ...args], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    this.child = child;
    if (child.pid !== undefined) this.lock.child(child.pid);
    try {
      return await new Promise((resolve, reject) => {
        child.on('error', reject);
        child.on('exit', (code, signal) => resolve({ code, signal }));
      });
    } finally {
      this.child = null;
      this.lock.child(null);
    }
  }

  /** Ctrl-C on a terminal reaches the run by itself, a signal to this process alone does not. A second one stops at once. */
  private interrupt(): void {
    if (this.interrupted) this.child?.kill('SIGKILL');
    else if (this.child?.connected) this.child.send('stop');
    this.interrupted = true;
  }

  /** Writes the comparison of all that there is so far. */
  private async compare(): Promise<void> {
    const { list, planned, out } = this;
    const runs = planned.map(({ experiment, status }) => compared(experiment, out, status));
    const facts = [
      ...factsOf(
        planned,
        ({ data }) =>
          `${data.name}: ${counted(data.counts.train, 'training image')}, ${data.counts.valid} to validate (${data.validName})`,
      ),
      ...factsOf(planned, ({ adapter, versions }) => `On ${adapter.name}, with dawngrad ${versions.dawngrad}`),
      ...(this.changes ? [`With ${this.changes} on the command line, in place of what the file says.`] : []),
    ];
    writeFileAtomic(join(out, 'results.md'), comparisonMarkdown(list.title, facts, runs));
    writeFileAtomic(join(out, 'results.svg'), await comparisonSvg(list.title, runs));
  }

  private conclude(): void {
    const named = (status: string) =>
      this.planned.filter((one) => one.status === status).map(({ experiment }) => experiment.name);
    const [failed, diverged, stopped] = [named('failed'), named('diverged'), named('stopped')];
    const waiting = this.planned
      .filter(({ status }) => status.startsWith('waits'))
      .map(({ experiment }) => experiment.name);
    console.error(`Comparison: ${join(this.out, 'results.md')} and results.svg`);
    if (this.interrupted || stopped.length > 0) console.error('Stopped; the same command goes on.');
    for (const [names, what] of [
      [failed, 'failed'],
      [diverged, 'diverged'],
      [waiting, 'had nothing to start from'],
    ] as const) {
      if (names.length > 0) console.error(`${names.length} of ${this.planned.length} ${what}: ${names.join(', ')}`);
    }
    if (failed.length + diverged.length + waiting.length > 0) process.exitCode = 1;
  }
}
