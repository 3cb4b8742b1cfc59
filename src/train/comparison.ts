import { thousands } from '../core/words.ts';
import { type PlotOptions, render, type Spec, themes } from './figure.ts';
import { duration, percent, rate, unknown } from './reportparts.ts';

/** A figure to compare with. */
export interface Reference {
  /** A fraction. */
  accuracy: number;
  /** Where it comes from, and what was different. */
  note: string | null;
}

/** What is known of one run of a comparison. Accuracies are fractions; null where there is none yet. */
export interface ComparedRun {
  name: string;
  /** `finished`, or what has become of it. */
  status: string;
  best: number | null;
  bestEpoch: number | null;
  /** Of the last complete epoch. */
  last: number | null;
  epochs: number | null;
  imagesPerSecond: number | null;
  seconds: number | null;
  parameters: number | null;
  reference: Reference | null;
  note: string | null;
}

type Column = [head: string, right: boolean, cell: (run: ComparedRun) => string];

const columns: readonly Column[] = [
  ['experiment', false, ({ name }) => name],
  ['status', false, ({ status }) => status],
  ['best', true, ({ best }) => percent(best ?? Number.NaN)],
  ['in epoch', true, ({ bestEpoch }) => whole(bestEpoch)],
  ['last', true, ({ last }) => percent(last ?? Number.NaN)],
  ['reference', true, ({ reference }) => percent(reference?.accuracy ?? Number.NaN)],
  ['difference', true, (run) => difference(run)],
  ['epochs', true, ({ epochs }) => whole(epochs)],
  ['images/s', true, ({ imagesPerSecond }) => rate(imagesPerSecond ?? Number.NaN)],
  ['time', true, ({ seconds }) => duration(seconds ?? Number.NaN)],
  ['parameters', true, ({ parameters }) => whole(parameters)],
];

/** A comparison as Markdown: a row a run, then the remarks; `facts` are sentences that stand before. */
export function comparisonMarkdown(title: string, facts: readonly string[], runs: readonly ComparedRun[]): string {
  const lines = [
    `# ${escaped(title)}`,
    '',
    ...facts.flatMap((fact) => [escaped(fact), '']),
    `| ${columns.map(([head]) => head).join(' | ')} |`,
    `|${columns.map(([, right]) => (right ? '---:' : '---')).join('|')}|`,
    ...runs.map((run) => `| ${columns.map(([, , cell]) => escaped(cell(run))).join(' | ')} |`),
    '',
    'Accuracies are shares of the validation images; the difference is that of the last epoch to the reference, in points.',
    '',
    '![accuracy of each experiment](results.svg)',
    '',
  ];
  const remarks = runs.flatMap(({ name, note, reference }) => [
    ...(note ? [`- ${name}: ${escaped(note)}`] : []),
    ...(reference?.note ? [`- ${name}, reference: ${escaped(reference.note)}`] : []),
  ]);
  return [...lines, ...(remarks.length > 0 ? [...remarks, ''] : [])].join('\n');
}

/** Of the part of the figure that has the axis. */
const WIDTH = 520;
const shapes = { 'best epoch': 'circle', 'last epoch': 'square', reference: 'diamond' };
const subtitle = 'Validation accuracy; the number is that of the best epoch';
const series = ['best epoch', 'last epoch', 'reference'] as const;

/** The accuracies of a comparison, a line of points for each run: `results.svg`. */
export function comparisonSvg(title: string, runs: readonly ComparedRun[], options: PlotOptions = {}): Promise<string> {
  const theme = themes[options.theme ?? 'light'];
  const colours = { 'best epoch': theme.valid, 'last epoch': theme.lr, reference: theme.train };
  const points = runs.flatMap(({ name, best, last, reference }) =>
    [best, last, reference?.accuracy ?? null].flatMap((value, k) =>
      value === null ? [] : [{ name, series: series[k]!, value }],
    ),
  );
  const ends = runs.flatMap(({ name, best, last, reference }) => {
    const values = [best, last, reference?.accuracy ?? null].filter((value) => value !== null);
    return values.length === 0 ? [] : [{ name, low: Math.min(...values), high: Math.max(...values) }];
  });
  const labels = runs.map(({ name, status, best }) => ({ name, label: best !== null ? percent(best) : status }));
  const names = runs.map(({ name }) => name);
  const values = points.map(({ value }) => value);
  const drawn = series.filter((name) => points.some((point) => point.series === name));
  const [lowest, highest] = values.length ? [Math.min(...values), Math.max(...values)] : [0, 1];
  // Less than five points apart nothing is worth a figure.
  const spare = Math.max(0, 0.05 - (highest - lowest)) / 2;
  const [low, high] = [lowest - spare, highest + spare];
  const room = high - low;
  const x = {
    type: 'quantitative',
    title: null,
    scale: { domain: [Math.max(0, low - 0.05 * room), Math.min(1.02, high + 0.05 * room)], nice: false, zero: false },
    axis: { labelExpr: "datum.value > 1 ? '' : format(100 * datum.value, '~g') + ' %'", tickCount: 6, grid: true },
  };
  // Vega takes every character to be 0.8 em wide, which would leave half of the figure empty.
  const extent = 8 + 7.2 * Math.max(0, ...names.map((name) => name.length));
  const y = {
    field: 'name',
    type: 'nominal',
    sort: null,
    title: null,
    scale: { domain: names },
    axis: {
      labelFontSize: 13,
      labelLimit: 0,
      domain: false,
      ticks: false,
      minExtent: extent,
      maxExtent: extent,
    },
  };
  const legend = { title: null, orient: 'top', direction: 'horizontal', offset: 6, symbolSize: 90 };
  const layer: Spec[] = [
    {
      data: { values: ends },
      mark: { type: 'rule', color: theme.grid, strokeWidth: 2 },
      encoding: { x: { field: 'low', ...x }, x2: { field: 'high' }, y },
    },
    {
      data: { values: points },
      mark: { type: 'point', size: 75, opacity: 1, filled: true },
      encoding: {
        x: { field: 'value', ...x },
        y,
        // One above the other: they are often less than their width apart.
        yOffset: { field: 'series', type: 'nominal', scale: { domain: drawn, paddingOuter: 0.6 } },
        color: {
          field: 'series',
          type: 'nominal',
          scale: { domain: drawn, range: drawn.map((name) => colours[name]) },
          legend,
        },
        shape: {
          field: 'series',
          type: 'nominal',
          scale: { domain: drawn, range: drawn.map((name) => shapes[name]) },
          legend,
        },
      },
    },
    {
      data: { values: labels },
      // A column of its own: behind the last mark it would be taken for that one's number.
      mark: { type: 'text', align: 'left', dx: 10, fontSize: 12, color: theme.ink },
      encoding: { x: { value: WIDTH }, y, text: { field: 'label', type: 'nominal' } },
    },
  ];
  return render(
    { width: WIDTH, height: { step: 40, for: 'position' }, title: { text: title, subtitle }, layer },
    options,
  );
}

const whole = (value: number | null): string => (value === null ? unknown : thousands(value));

function difference({ last, reference }: ComparedRun): string {
  if (last === null || reference === null) return unknown;
  const points = 100 * (last - reference.accuracy);
  const shown = Math.abs(points).toFixed(2);
  return Number(shown) === 0 ? shown : `${points < 0 ? '−' : '+'}${shown}`;
}

/** Text in which Markdown sees nothing but text; HTML neither. */
const escaped = (text: string): string =>
  text
    .replace(/\s+/g, ' ')
    .replace(/[\\`*[\]|#]/g, '\\$&')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;');
