import cliProgress from 'cli-progress';

/** Where progress is shown: process.stderr, or what a test puts in its place. */
export interface ProgressStream {
  write(text: string): unknown;
  isTTY?: boolean;
  columns?: number;
}

/** What the display has to know beforehand. */
export interface ProgressOptions {
  /** Steps of the whole run. */
  totalSteps: number;
  epochs: number;
  /** Seconds between lines where the output is no terminal. */
  everySeconds?: number;
  /** Milliseconds; a test's clock. */
  now?: () => number;
}

/** A training step. Numbers that are not yet read back from the GPU are left out. */
export interface ProgressStep {
  epoch: number;
  /** From the run's start, counting from 1. */
  step: number;
  loss?: number;
  accuracy?: number;
  imagesPerSecond?: number;
}

/** A finished epoch. Accuracies are fractions. */
export interface ProgressEpoch {
  epoch: number;
  trainLoss: number;
  trainAccuracy: number;
  validLoss: number;
  validAccuracy: number;
  seconds: number;
  imagesPerSecond: number;
  /** The best epoch so far: marked. */
  best?: boolean;
}

/** The display of a run. `stop` has to be called, also after an error: the bar's timer keeps the process alive. */
export interface Progress {
  step(step: ProgressStep): void;
  epochEnd(row: ProgressEpoch): void;
  /** A line that stays. */
  message(line: string): void;
  stop(): void;
}

/**
 * Shows training: on a terminal a bar that is redrawn and a table that grows by a row an epoch; elsewhere, as in a log
 * file or CI, plain lines that can be read alone, at most one every `everySeconds` and one an epoch.
 */
export function createProgress(stream: ProgressStream, options: ProgressOptions): Progress {
  const terminal = stream.isTTY === true && process.env.TERM !== 'dumb';
  return terminal ? terminalProgress(stream, options) : plainProgress(stream, options);
}

function terminalProgress(stream: ProgressStream, options: ProgressOptions): Progress {
  const timeLeft = timer(options);
  let shown: ProgressStep = { epoch: 1, step: 0 };
  let started = false;
  let running = false;
  let tableHead: string | null = null;
  const bar = new cliProgress.SingleBar({
    // The bar asks for all of Node's interface, and uses of it what is there.
    stream: stream as NodeJS.WriteStream,
    // A line that is full would wrap, and with it the ^C that a terminal echoes behind the bar.
    format: (_, { progress }) => barLine(shown, progress, timeLeft.seconds(), options, columnsOf(stream) - 3),
    clearOnComplete: true,
    // Neither cursor nor line wrapping is switched off: a killed run leaves the terminal as it was.
    linewrap: true,
    hideCursor: null,
    fps: 8,
  });
  const show = () => {
    if (running || !started) return;
    bar.start(options.totalSteps, shown.step);
    running = true;
  };
  const hide = () => {
    if (running) bar.stop();
    running = false;
  };
  const print = (...lines: string[]) => {
    hide();
    stream.write(lines.map((line) => `${line}\n`).join(''));
    show();
  };
  return {
    step(step) {
      started = true;
      timeLeft.update(step.step);
      shown = { ...shown, ...step };
      show();
      bar.update(step.step);
    },
    epochEnd(row) {
      const [head, cells] = tableRow(row, columnsOf(stream) - 1);
      print(...(head === tableHead ? [] : [head]), cells);
      tableHead = head;
    },
    message(line) {
      print(line);
      // The table's head would be too far above its next row.
      tableHead = null;
    },
    stop() {
      hide();
      started = false;
    },
  };
}

function plainProgress(stream: ProgressStream, options: ProgressOptions): Progress {
  const { everySeconds = 15, now = Date.now, epochs } = options;
  const timeLeft = timer(options);
  let last = Number.NEGATIVE_INFINITY;
  const print = (line: string) => stream.write(`${line}\n`);
  return {
    step(step) {
      timeLeft.update(step.step);
      if (now() - last < 1000 * everySeconds) return;
      last = now();
      const place = `epoch ${step.epoch}/${epochs}  step ${step.step}/${options.totalSteps}`;
      print([place, ...figures(step), clock(timeLeft.seconds(), ' left')].filter(Boolean).join('  '));
    },
    epochEnd(row) {
      last = now();
      const train = `train ${fixed(row.trainLoss, 4)} ${percent(row.trainAccuracy)}`;
      const valid = `valid ${fixed(row.validLoss, 4)} ${percent(row.validAccuracy)}${row.best ? ' best' : ''}`;
      const speed = `${rate(row.imagesPerSecond)} img/s  ${clock(row.seconds)}`;
      print(`epoch ${row.epoch}/${epochs} done  ${train}  ${valid}  ${speed}`);
    },
    message: print,
    stop() {},
  };
}

/**
 * The time left, from the mean time of the steps so far, validation included. The first step does not count: it builds
 * the pipelines.
 */
function timer({ totalSteps, now = Date.now }: ProgressOptions) {
  let first: { step: number; at: number } | undefined;
  let latest: { step: number; at: number } | undefined;
  return {
    update(step: number): void {
      latest = { step, at: now() };
      first ??= latest;
    },
    seconds(): number | undefined {
      if (!first || !latest || latest.step <= first.step) return undefined;
      const perStep = (latest.at - first.at) / (latest.step - first.step);
      // Counts on between steps, so that a long step does not look like a stop.
      return Math.max(0, ((totalSteps - latest.step) * perStep - (now() - latest.at)) / 1000);
    },
  };
}

/** The fullest line that fits into `width` columns, its bar as long as there is room. */
function barLine(
  step: ProgressStep,
  progress: number,
  secondsLeft: number | undefined,
  { totalSteps, epochs }: ProgressOptions,
  width: number,
): string {
  const count = `${step.step}/${totalSteps}`;
  const [loss, accuracy, speed] = figures(step);
  const left = clock(secondsLeft, ' left');
  const versions = [
    [`epoch ${step.epoch}/${epochs}`, `step ${count}`, loss, accuracy, speed, left],
    [`${step.epoch}/${epochs}`, count, loss, accuracy, speed, left],
    [count, loss, accuracy, speed, clock(secondsLeft)],
    [count, loss, accuracy, clock(secondsLeft)],
    [count, loss],
    [count],
  ].map((parts) => parts.filter(Boolean).join('  '));
  const shortestBar = 8;
  const fitting = versions.find((text) => text.length + 2 + shortestBar <= width);
  if (fitting === undefined) return versions.at(-1)!.slice(0, Math.max(0, width));
  const length = Math.min(32, width - fitting.length - 2);
  const filled = Math.round(progress * length);
  return `${'█'.repeat(filled)}${'░'.repeat(length - filled)}  ${fitting}`;
}

const figures = ({ loss, accuracy, imagesPerSecond }: ProgressStep): [string, string, string] => [
  loss === undefined ? '' : `loss ${fixed(loss, 3)}`,
  accuracy === undefined ? '' : `acc ${percent(accuracy)}`,
  imagesPerSecond === undefined ? '' : `${rate(imagesPerSecond)} img/s`,
];

/** The table's head and a row of it; the columns that are missed least are left out where `width` is too small for all. */
function tableRow({ epoch, best, ...row }: ProgressEpoch, width: number): [head: string, row: string] {
  // Each with how dear it is.
  let columns: [head: string, cell: string, width: number, rank: number][] = [
    ['epoch', `${epoch}`, 5, 4],
    ['train loss', fixed(row.trainLoss, 4), 12, 4],
    ['acc', percent(row.trainAccuracy), 7, 3],
    ['valid loss', fixed(row.validLoss, 4), 12, 4],
    ['acc', percent(row.validAccuracy), 7, 4],
    ['time', clock(row.seconds), 8, 2],
    ['img/s', rate(row.imagesPerSecond), 6, 1],
  ];
  const star = ' *';
  for (let least = 2; least <= 4; least++) {
    const wide = columns.reduce((sum, [, , cell]) => sum + cell, star.length);
    if (wide > width) columns = columns.filter(([, , , rank]) => rank >= least);
  }
  const line = (which: 0 | 1) => columns.map((column) => column[which].padStart(column[2])).join('');
  return [line(0), line(1) + (best ? star : '')];
}

/** Of the terminal. */
const columnsOf = (stream: ProgressStream): number => stream.columns || 80;

const fixed = (value: number, digits: number) => {
  if (!Number.isFinite(value)) return String(value);
  return Math.abs(value) >= 1e5 ? value.toExponential(2) : value.toFixed(digits);
};
const percent = (share: number) => (Number.isFinite(share) ? `${(100 * share).toFixed(1)}%` : '–');
const rate = (value: number) => (Number.isFinite(value) ? value.toFixed(value < 10 ? 1 : 0) : '–');

/** Seconds as 0:07, 12:34 or 1:02:03. */
function clock(seconds: number | undefined, suffix = ''): string {
  if (seconds === undefined || !Number.isFinite(seconds)) return '';
  const whole = Math.round(seconds);
  const [h, min, s] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  const two = (value: number) => String(value).padStart(2, '0');
  return (h > 0 ? `${h}:${two(min)}:${two(s)}` : `${min}:${two(s)}`) + suffix;
}
