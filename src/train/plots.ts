import { columns, cutApart } from '../core/columns.ts';
import { inPercent } from '../core/words.ts';
import {
  haloed,
  type PlotOptions,
  readableOn,
  render,
  type Spec,
  shareColour,
  type Theme,
  themes,
  titled,
} from './figure.ts';
import { type Confusion, type EpochRow, scores } from './metrics.ts';

const percentLabel = "format(100 * datum.value, '~g') + ' %'";

/** Columns of a class name in the confusion matrix. */
const LONGEST_NAME = 22;

/** One step of the learning-rate range test. */
export interface LrPoint {
  lr: number;
  loss: number;
}

/** Parts of a figure that do not share their colours. */
const separate = { scale: { color: 'independent' }, legend: { color: 'independent' } };

/** The three panels of a training run's curves. */
export const curvePanels = ['loss', 'accuracy', 'lr'] as const;
export type CurvePanel = (typeof curvePanels)[number];

/** Loss, accuracy and learning rate over epochs, side by side in one SVG: `curves.svg`. */
export function curvesSvg(rows: readonly EpochRow[], options: PlotOptions = {}): Promise<string> {
  const theme = themes[options.theme ?? 'light'];
  const spec = { spacing: 28, resolve: separate, hconcat: curvePanels.map((name) => panel(name, rows, theme)) };
  return render(spec, options);
}

/** One panel of the curves, for pages that lay panels out by themselves. */
export function curveSvg(name: CurvePanel, rows: readonly EpochRow[], options: PlotOptions = {}): Promise<string> {
  // A fixed frame, so that panels of one page have one size whatever their labels.
  const frame = { autosize: { type: 'none' }, padding: { left: 58, right: 14, top: 52, bottom: 44 } };
  return render({ ...panel(name, rows, themes[options.theme ?? 'light']), ...frame }, options);
}

/**
 * The confusion matrix: colour is the share of the row, so that rare classes read as well as common ones; counts are
 * text. Long names are cut, and whole under the pointer. Throws ShapeError for a matrix that is not square.
 */
export async function confusionSvg(
  confusion: Confusion,
  classes: readonly string[],
  options: PlotOptions = {},
): Promise<string> {
  const theme = themes[options.theme ?? 'light'];
  const supports = scores(confusion).classes.map(({ support }) => support);
  const names = confusion.map((_, k) => classes[k] ?? `${k}`);
  const labels = cutApart(names, LONGEST_NAME);
  const cells = confusion.flatMap((row, actual) =>
    row.map((count, predicted) => {
      const share = supports[actual] ? count / supports[actual] : 0;
      return {
        actual: labels[actual],
        predicted: labels[predicted],
        share,
        count: `${count}`,
        label: `${names[actual]} taken for ${names[predicted]}: ${count}`,
        percent: inPercent(share, 0),
        ink: count === 0 ? theme.muted : readableOn(shareColour(share, theme.shares)),
      };
    }),
  );
  const side = Math.round(Math.min(64, Math.max(34, 640 / Math.max(1, confusion.length))));
  const digits = Math.max(1, ...cells.map(({ count }) => count.length));
  const size = Math.min(15, Math.floor((side - 6) / (0.62 * digits)));
  const withPercent = side >= 46;
  const axis = { domain: false, ticks: false, grid: false, labelPadding: 6, labelFontSize: 13, labelLimit: 0 };
  // Vega takes every character to be 0.8 em wide, which would push the axes' titles far out.
  const labelWidth = 7.2 * Math.max(0, ...labels.map(columns));
  const upright = labelWidth < side;
  const text = (field: string, more: Spec, when?: string) => ({
    ...(when ? { transform: [{ filter: when }] } : {}),
    mark: { type: 'text', aria: false, ...more },
    encoding: { text: { field, type: 'nominal' }, color: { field: 'ink', type: 'nominal', scale: null } },
  });
  const spec = {
    width: { step: side },
    height: { step: side },
    title: { text: 'Confusion matrix', subtitle: 'Images; colour is the share of the actual class' },
    data: { values: cells },
    encoding: {
      x: {
        field: 'predicted',
        type: 'nominal',
        sort: null,
        title: 'predicted',
        scale: { domain: labels },
        axis: {
          ...axis,
          orient: 'top',
          labelAngle: upright ? 0 : -45,
          labelAlign: upright ? 'center' : 'left',
          maxExtent: upright ? 24 : 24 + 0.7 * labelWidth,
        },
      },
      y: {
        field: 'actual',
        type: 'nominal',
        sort: null,
        title: 'actual',
        scale: { domain: labels },
        axis: { ...axis, maxExtent: 8 + labelWidth },
      },
    },
    layer: [
      {
        mark: { type: 'rect', stroke: theme.ground, strokeWidth: 2, cornerRadius: 3 },
        encoding: {
          description: { field: 'label' },
          color: {
            field: 'share',
            type: 'quantitative',
            scale: { domain: [0, 0.5, 1], range: theme.shares, interpolate: 'rgb' },
            legend: {
              title: null,
              labelExpr: percentLabel,
              values: [0, 0.5, 1],
              gradientLength: Math.min(160, side * confusion.length),
              gradientThickness: 10,
              gradientStrokeColor: 'transparent',
              orient: 'right',
              offset: 16,
            },
          },
        },
      },
      text('count', { fontSize: size, fontWeight: 600, dy: withPercent ? -6 : 0 }),
      ...(withPercent ? [text('percent', { fontSize: 10, dy: 11 }, "datum.count !== '0'")] : []),
    ],
    resolve: separate,
  };
  const svg = await render(spec, options);
  return labels.reduce((drawn, label, k) => (label === names[k] ? drawn : titled(drawn, label, names[k]!)), svg);
}

/** Loss over the learning rate (log axis) of a range test, with the suggested rate marked. */
export function lrFinderSvg(
  points: readonly LrPoint[],
  suggestion: number | undefined,
  options: PlotOptions = {},
): Promise<string> {
  const theme = themes[options.theme ?? 'light'];
  const shown = points.filter(({ lr, loss }) => Number.isFinite(loss) && Number.isFinite(lr) && lr > 0);
  const losses = shown.map(({ loss }) => loss);
  const lowest = Math.min(...losses);
  const first = losses[0] ?? 1;
  // The test ends where the loss explodes; an axis up to there would flatten all that matters.
  const fall = first - lowest;
  const top = fall > 0 ? Math.min(Math.max(...losses), first + 0.5 * fall) : Math.max(first, ...losses);
  const pad = Math.max(0.05 * (top - lowest), 1e-6);
  const rates = shown.map(({ lr }) => lr);
  const range = rates.length ? [Math.min(...rates), Math.max(...rates)] : [1e-7, 1];
  const x = {
    field: 'lr',
    type: 'quantitative',
    title: 'learning rate',
    scale: { type: 'log', nice: false, domain: range[0] === range[1] ? [range[0]! / 10, range[1]! * 10] : range },
    axis: {
      grid: true,
      values: ticks(rates),
      labelExpr: "replace(format(datum.value, '.0e'), '+', '')",
      labelFlush: false,
    },
  };
  const y = {
    field: 'loss',
    type: 'quantitative',
    title: null,
    scale: losses.length
      ? { domain: [Math.max(0, lowest - pad), top + pad], nice: true, zero: false }
      : { domain: [0, 1] },
  };
  const nearest = (lr: number) =>
    shown.reduce((best, point) =>
      Math.abs(Math.log(point.lr / lr)) < Math.abs(Math.log(best.lr / lr)) ? point : best,
    );
  const marked =
    suggestion !== undefined && suggestion > 0 && shown.length > 0
      ? [{ lr: suggestion, loss: nearest(suggestion).loss, label: `suggested: ${Number(suggestion.toPrecision(3))}` }]
      : [];
  const spec = {
    width: 620,
    height: 300,
    title: 'Learning-rate range test: loss',
    layer: [
      {
        data: { values: shown },
        mark: { type: 'line', color: theme.valid, strokeWidth: 2, clip: true },
        encoding: { x, y },
      },
      {
        data: { values: marked },
        mark: { type: 'rule', color: theme.train, strokeWidth: 1.5, strokeDash: [5, 4] },
        encoding: { x },
      },
      {
        data: { values: marked },
        mark: { type: 'point', filled: true, color: theme.train, size: 90, opacity: 1, clip: true },
        encoding: { x, y },
      },
      ...haloed({ data: { values: marked }, encoding: { x, y, text: { field: 'label' } } }, theme, {
        color: theme.train,
        align: 'left',
        dx: 10,
        dy: -12,
      }),
    ],
  };
  return render(spec, options);
}

/** The powers of ten in a range, and of a short one what lies between: vega's own ticks on a log axis fill it with lines. */
function ticks(values: readonly number[]): number[] {
  if (values.length === 0) return [];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const every = (digits: readonly number[]) =>
    Array.from({ length: last - first + 1 }, (_, k) => digits.map((digit) => Number(`${digit}e${first + k}`)))
      .flat()
      .filter((value) => value >= low * (1 - 1e-9) && value <= high * (1 + 1e-9));
  const decades = every([1]);
  return decades.length > 1 ? decades : every([1, 2, 3, 5, 7]);
}

const titles = { loss: 'Loss', accuracy: 'Accuracy', lr: 'Learning rate' };

function panel(name: CurvePanel, rows: readonly EpochRow[], theme: Theme): Spec {
  const series: [label: string, key: keyof EpochRow, colour: string][] = {
    loss: [
      ['train', 'trainLoss', theme.train],
      ['valid', 'validLoss', theme.valid],
    ] as [string, keyof EpochRow, string][],
    accuracy: [
      ['train', 'trainAccuracy', theme.train],
      ['valid', 'validAccuracy', theme.valid],
    ] as [string, keyof EpochRow, string][],
    lr: [['learning rate', 'lr', theme.lr]] as [string, keyof EpochRow, string][],
  }[name];
  const values = series.flatMap(([label, key]) =>
    rows
      .filter((row) => Number.isFinite(row[key]))
      .map((row) => ({ epoch: row.epoch, series: label, value: row[key] })),
  );
  const epochs = rows.map(({ epoch }) => epoch);
  const first = Math.min(...epochs);
  const last = Math.max(...epochs);
  const domain = rows.length === 0 ? [0, 1] : first === last ? [first - 0.5, last + 0.5] : [first, last];
  const x = {
    field: 'epoch',
    type: 'quantitative',
    title: 'epoch',
    scale: { domain, nice: false },
    axis: { grid: false, tickMinStep: 1, format: 'd', tickCount: Math.max(1, Math.min(6, last - first)) },
  };
  const y = {
    field: 'value',
    type: 'quantitative',
    title: null,
    scale: values.length ? valueScale(name, values) : { domain: [0, 1] },
    axis: { labelExpr: name === 'accuracy' ? percentLabel : "format(datum.value, '~g')", tickCount: 5 },
  };
  const colour = {
    field: 'series',
    type: 'nominal',
    scale: { domain: series.map(([label]) => label), range: series.map(([, , shade]) => shade) },
    legend: null,
  };
  const layer: Spec[] = [
    {
      data: { values },
      mark: {
        type: 'line',
        strokeWidth: 2,
        aria: false,
        point: rows.length <= 30 ? { size: rows.length === 1 ? 70 : 22, filled: true } : false,
      },
      encoding: { x, y, color: colour },
    },
    headline(0, -40, titles[name], { color: theme.ink, fontSize: 15 }),
    ...(series.length > 1 ? series : []).map(([label, , shade], k) =>
      headline(66 * k, -18, `● ${label}`, { color: shade, fontSize: 12 }),
    ),
  ];
  const best = name === 'accuracy' ? bestOf(rows) : undefined;
  if (best) {
    const late = rows.length > 1 && best.epoch - first > (last - first) / 2;
    const label = `${inPercent(best.validAccuracy)} in epoch ${best.epoch}`;
    const data = { values: [{ epoch: best.epoch, value: best.validAccuracy, label }] };
    layer.push({
      data,
      mark: { type: 'point', size: 110, strokeWidth: 2, color: theme.valid, fill: theme.ground, opacity: 1 },
      encoding: { x, y },
    });
    const mark = { color: theme.valid, align: late ? 'right' : 'left', dx: late ? -4 : 4, dy: -15 };
    layer.push(...haloed({ data, encoding: { x, y, text: { field: 'label' } } }, theme, mark));
  }
  return { width: 340, height: 230, layer };
}

/** Text at a place above a panel, in pixels: Vega's own titles and legends move with the widths of axis labels. */
function headline(x: number, y: number, text: string, mark: Spec): Spec {
  return {
    data: { values: [{ text }] },
    mark: { type: 'text', align: 'left', baseline: 'middle', fontWeight: 600, ...mark },
    encoding: { x: { value: x }, y: { value: y }, text: { field: 'text' } },
  };
}

/** The epoch of the highest validation accuracy, the first of equals. */
function bestOf(rows: readonly EpochRow[]): EpochRow | undefined {
  return rows
    .filter(({ validAccuracy }) => Number.isFinite(validAccuracy))
    .reduce<EpochRow | undefined>(
      (best, row) => (best === undefined || row.validAccuracy > best.validAccuracy ? row : best),
      undefined,
    );
}

function valueScale(name: CurvePanel, values: readonly { value: number }[]): Spec {
  const lowest = Math.min(...values.map(({ value }) => value));
  const highest = Math.max(...values.map(({ value }) => value));
  if (name === 'lr') return { zero: true, nice: true };
  if (name === 'accuracy') {
    // Room for the best epoch's label above its point.
    const room = 0.12 * Math.max(highest - lowest, 0.1);
    return { domain: [Math.max(0, lowest - room / 2), Math.min(1, highest + room)], nice: true, zero: false };
  }
  // A run that diverged, or that learned its images by heart, spans orders of magnitude.
  if (lowest > 0 && highest / lowest > 100) return { type: 'log', nice: true };
  return { zero: false, nice: true, padding: 6 };
}
