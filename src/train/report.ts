import type { PlotOptions } from './figure.ts';
import { type Html, html, raw } from './html.ts';
import { type Confusion, type EpochRow, mostConfused, type Scores, scores } from './metrics.ts';
import { confusionSvg, curvePanels, curveSvg } from './plots.ts';
import { style } from './reportstyle.ts';
import { picturePng } from './sheet.ts';
import type { TopLoss } from './toplosses.ts';

/** A value of an option or a fact, as run.json holds it. */
export type Setting = string | number | boolean | null | undefined;

/** What run.json says about a run, as far as the report shows it. */
export interface RunSummary {
  /** The run's folder, as the user wrote it or as it was made. */
  folder: string;
  /** When the run ended, as it is to be shown. */
  date: string;
  /** The command line that does the same again. */
  command: string;
  options: Readonly<Record<string, Setting>>;
  seed: number;
  versions: Readonly<Record<string, string>>;
  /** `name`, and whatever else is known: driver, backend, kind, features. */
  adapter: { name: string } & Readonly<Record<string, Setting>>;
  model: { arch: string; parameters: number };
  data: {
    name: string;
    path: string;
    classes: readonly string[];
    fingerprint: string;
    counts: Readonly<Record<string, number>>;
    /** What validated: `PublicTest`, `both`, `10 % of the training images`. */
    validName: string;
  };
  result: {
    bestEpoch: number;
    bestValidAccuracy: number;
    finalValidAccuracy: number;
    epochs: number;
    steps: number;
    seconds: number;
    imagesPerSecond: number;
    peakGpuBytes: number;
    /** Why the run is not complete, in a sentence. */
    note?: string;
  };
  /** Python that loads the weights into the matching network. */
  pytorch?: string;
}

/** What the figures and tables of a report are made of. */
export interface ReportParts {
  rows: readonly EpochRow[];
  /** Of the best epoch's weights on the validation images. */
  confusion?: Confusion;
  topLosses?: readonly TopLoss[];
}

/**
 * A page about a training run, complete in one file: figures inline, no script, nothing fetched; for light and dark
 * screens, narrow windows and paper. Whatever comes from options, data or machine is escaped.
 */
export async function reportHtml(run: RunSummary, { rows, confusion, topLosses }: ReportParts): Promise<string> {
  const title = `${run.model.arch} on ${run.data.name}`;
  const matrix = confusion?.length ? confusion : undefined;
  const judged = matrix && scores(matrix);
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="dawngrad ${run.versions.dawngrad ?? ''}">
<title>${title} · ${percent(run.result.bestValidAccuracy)}</title>
<style>${raw(style)}</style>
</head>
<body>
<header>
<p class="kicker">dawngrad training run</p>
<h1>${title}</h1>
<p class="muted">${run.date} · ${run.adapter.name} · <code>${run.folder}</code></p>
${run.result.note ? html`<p class="note">${run.result.note}</p>` : ''}
${headline(run, judged)}
</header>
<main>
${await curves(rows)}
${matrix && judged ? await confusionSection(run, matrix, judged) : ''}
${topLosses?.length ? lossSection(topLosses) : ''}
${usage(run)}
${settings(run)}
</main>
<footer class="muted">Written by dawngrad${run.versions.dawngrad ? ` ${run.versions.dawngrad}` : ''}. \
Everything on this page is in the run's folder: <code>run.json</code>, <code>metrics.csv</code>, \
<code>model.safetensors</code>.</footer>
</body>
</html>
`;
  return page.markup;
}

function headline({ result, data, model, options }: RunSummary, judged: Scores | undefined): Html {
  const right = judged ? `${count(judged.correct)} of ${count(judged.total)} images, ` : '';
  const images = Object.entries(data.counts).map(([split, size]) => `${count(size)} ${split}`);
  const figures: [label: string, value: string, remark: string][] = [
    ['Best validation', percent(result.bestValidAccuracy), `${right}epoch ${result.bestEpoch}`],
    ['Last epoch', percent(result.finalValidAccuracy), `${count(result.epochs)} epochs, ${count(result.steps)} steps`],
    ['Images per second', rate(result.imagesPerSecond), `training, batch ${options.batch ?? unknown}`],
    ['Time', duration(result.seconds), 'validation included'],
    ['Peak GPU memory', bytes(result.peakGpuBytes), `${parameters(model.parameters)} parameters`],
    ['Images', count(Object.values(data.counts).reduce((sum, size) => sum + size, 0)), images.join(', ')],
  ];
  return html`<dl class="figures">${figures.map(
    ([label, value, remark]) => html`
<div><dt>${label}</dt><dd>${value}</dd><dd class="remark">${remark}</dd></div>`,
  )}
</dl>`;
}

async function curves(rows: readonly EpochRow[]): Promise<Html> {
  const figures: Html[] = [];
  for (const panel of curvePanels) figures.push(await themed((options) => curveSvg(panel, rows, options), panel));
  const heads = ['Epoch', 'Learning rate', 'Train loss', 'Train acc.', 'Valid loss', 'Valid acc.', 'Time', 'Images/s'];
  const lines = rows.map((row) => [
    count(row.epoch),
    shortNumber(row.lr),
    loss(row.trainLoss),
    percent(row.trainAccuracy),
    loss(row.validLoss),
    percent(row.validAccuracy),
    duration(row.seconds),
    rate(row.imagesPerSecond),
  ]);
  return html`<section>
<h2>Training</h2>
<div class="panels">${figures}</div>
<details><summary>All epochs as a table</summary>
<div class="scroll">${table(heads, lines)}</div>
</details>
</section>`;
}

async function confusionSection(run: RunSummary, matrix: Confusion, judged: Scores): Promise<Html> {
  const name = (k: number) => run.data.classes[k] ?? `${k}`;
  const figure = await themed((options) => confusionSvg(matrix, run.data.classes, options), 'confusion');
  const confused = mostConfused(matrix).slice(0, 8);
  const lines = judged.classes.map(({ precision, recall, f1, support }, k) => [
    name(k),
    bar(precision),
    bar(recall),
    bar(f1),
    count(support),
  ]);
  return html`<section>
<h2>Classes</h2>
<p class="muted">The best epoch's weights on ${run.data.validName}, ${count(judged.total)} images. \
Mean F1 of the classes: ${percent(judged.macroF1)}.</p>
<div class="split">
<div class="matrix scroll">${figure}</div>
<div>
<h3>Per class</h3>
<div class="scroll">${table(['Class', 'Precision', 'Recall', 'F1', 'Images'], lines)}</div>
${
  confused.length
    ? html`<h3>Most often confused</h3>
<ol class="pairs">${confused.map(
        ({ actual, predicted, count: times }) => html`
<li><b>${name(actual)}</b> taken for <b>${name(predicted)}</b> <span class="muted">${count(times)} ×</span></li>`,
      )}
</ol>`
    : html`<p>No image was taken for another class.</p>`
}
</div>
</div>
</section>`;
}

function lossSection(items: readonly TopLoss[]): Html {
  return html`<section>
<h2>Top losses</h2>
<p class="muted">The validation images that the network got most wrong: what each is, what it was taken for and how \
surely.</p>
<div class="losses">${items.map(
    (item) => html`
<figure><img src="data:image/png;base64,${Buffer.from(picturePng(item)).toString('base64')}" width="${item.side}" \
height="${item.side}" alt="${item.truth}, taken for ${item.prediction}"><figcaption><b>${item.truth}</b>\
<span class="${item.truth === item.prediction ? 'right' : 'wrong'}">${item.prediction} \
${(100 * item.probability).toFixed(0)} %</span><span class="muted">loss ${item.loss.toFixed(2)}</span></figcaption>\
</figure>`,
  )}
</div>
</section>`;
}

function usage({ folder, data, command, pytorch }: RunSummary): Html {
  const model = quoted(`${folder}/model.safetensors`);
  const python = pytorch ?? `from safetensors.torch import load_file\n\nweights = load_file("model.safetensors")`;
  const blocks: [heading: string, code: string][] = [
    ['Evaluate it', `npm run evaluate -- --model ${model} --data ${quoted(data.path)}`],
    ['Classify images', `npm run predict -- --model ${model} IMAGE_OR_FOLDER`],
    ['Load it in PyTorch', python],
    ['Train it again', command],
  ];
  return html`<section>
<h2>Use this model</h2>
<div class="blocks">${blocks.map(
    ([heading, code]) => html`
<div><h3>${heading}</h3>
<pre><code>${code}</code></pre></div>`,
  )}
</div>
</section>`;
}

function settings({ options, seed, adapter, versions, data }: RunSummary): Html {
  const { name, ...rest } = adapter;
  const facts = { Adapter: name, ...rest, ...versions };
  const source = { Name: data.name, Path: data.path, Validation: data.validName, Fingerprint: data.fingerprint };
  return html`<section>
<h2>Settings</h2>
<div class="settings">
<div><h3>Options</h3>${pairs({ ...options, seed })}</div>
<div><h3>Environment</h3>${pairs(facts)}
<h3>Data</h3>${pairs({ ...source, ...data.counts, Classes: data.classes.join(', ') })}</div>
</div>
</section>`;
}

/** A figure twice, for light and for dark surroundings; the style sheet shows one of them. */
async function themed(draw: (options: PlotOptions) => Promise<string>, id: string): Promise<Html> {
  const figures: Html[] = [];
  for (const theme of ['light', 'dark'] as const) {
    const svg = await draw({ theme, transparent: true, idPrefix: `${id}-${theme}-` });
    figures.push(html`<div class="on-${theme}">${raw(svg)}</div>`);
  }
  return html`<figure>${figures}</figure>`;
}

function table(heads: readonly string[], lines: readonly (readonly (string | Html)[])[]): Html {
  return html`<table>
<thead><tr>${heads.map((head) => html`<th scope="col">${head}</th>`)}</tr></thead>
<tbody>${lines.map(
    ([first, ...cells]) => html`
<tr><th scope="row">${first}</th>${cells.map((cell) => html`<td>${cell}</td>`)}</tr>`,
  )}
</tbody>
</table>`;
}

function pairs(values: Readonly<Record<string, Setting>>): Html {
  const known = Object.entries(values).filter(([, value]) => value !== undefined && value !== null && value !== '');
  return html`<dl class="pairs-list">${known.map(
    ([key, value]) => html`
<div><dt>${key}</dt><dd>${String(value)}</dd></div>`,
  )}
</dl>`;
}

/** A share as text over a bar of that length. */
const bar = (share: number): Html =>
  html`<span class="bar" style="--share:${(100 * share).toFixed(1)}%">${(100 * share).toFixed(1)} %</span>`;

const unknown = '–';
const orUnknown = (value: number, text: string) => (Number.isFinite(value) ? text : unknown);
const count = (value: number) => orUnknown(value, Math.round(value).toLocaleString('en-US'));
const percent = (share: number) => orUnknown(share, `${(100 * share).toFixed(2)} %`);
const loss = (value: number) => orUnknown(value, value.toFixed(4));
const shortNumber = (value: number) => orUnknown(value, String(Number(value.toPrecision(3))));
const rate = (value: number) => (value < 100 ? orUnknown(value, value.toFixed(1)) : count(value));
const bytes = (value: number) =>
  orUnknown(value, value >= 1e9 ? `${(value / 1e9).toFixed(2)} GB` : `${(value / 1e6).toFixed(0)} MB`);
const parameters = (value: number) =>
  orUnknown(value, value >= 1e6 ? `${(value / 1e6).toFixed(1)} million` : count(value));

function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return unknown;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  const whole = Math.round(seconds);
  const [h, min, s] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  return h > 0 ? `${h} h ${min} min` : `${min} min ${s} s`;
}

/** An argument as a POSIX shell reads it back whole. */
const quoted = (argument: string): string =>
  /^[\w@%+=:,./~-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", "'\\''")}'`;
