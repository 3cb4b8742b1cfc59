import { resolve } from 'node:path';
import { counted } from '../core/words.ts';
import { callOf, quoted } from './call.ts';
import type { CamRow } from './camrows.ts';
import { camSection } from './camsection.ts';
import { type Html, html } from './html.ts';
import { type Confusion, type EpochRow, type Scores, scores } from './metrics.ts';
import { curvePanels, curveSvg } from './plots.ts';
import {
  blocks,
  bytes,
  confusionSection,
  count,
  duration,
  figures,
  loss,
  lossSection,
  page,
  pairs,
  parameters,
  percent,
  rate,
  type Setting,
  shortNumber,
  table,
  themed,
  unknown,
} from './reportparts.ts';
import type { TopLoss } from './toplosses.ts';

/** What run.json says about a run, as far as the report shows it. */
export interface RunSummary {
  /** The run's folder, as the user wrote it or as it was made. */
  folder: string;
  /** When the run ended, as it is to be shown. */
  date: string;
  /** The command line that does the same again, into a folder of its own. */
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
    /** What validated: `PublicTest`, `10 % of train, stratified, seed 1`. */
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
  cams?: readonly CamRow[];
}

/**
 * A page about a training run, complete in one file: figures inline, no script, nothing fetched; for light and dark
 * screens, narrow windows and paper. Whatever comes from options, data or machine is escaped.
 */
export async function reportHtml(run: RunSummary, { rows, confusion, topLosses, cams }: ReportParts): Promise<string> {
  const title = `${run.model.arch} on ${run.data.name}`;
  const matrix = confusion?.length ? confusion : undefined;
  const measured = matrix && scores(matrix);
  const body = html`<header>
<p class="kicker">dawngrad training run</p>
<h1>${title}</h1>
<p class="muted">${run.date} · ${run.adapter.name} · <code>${run.folder}</code></p>
${run.result.note ? html`<p class="note">${run.result.note}</p>` : ''}
${headline(run, measured)}
</header>
<main>
${await curves(rows)}
${matrix && measured ? await confusionSection(`The best epoch's weights on ${run.data.validName}`, run.data.classes, matrix, measured) : ''}
${topLosses?.length ? lossSection('validation ', topLosses) : ''}
${cams?.length ? camSection(cams, run.data.classes.length) : ''}
${usage(run)}
${settings(run)}
</main>
<footer class="muted">Written by dawngrad${run.versions.dawngrad ? ` ${run.versions.dawngrad}` : ''}. \
Everything on this page is in the run's folder: <code>run.json</code>, <code>metrics.csv</code>, \
<code>model.safetensors</code>.</footer>`;
  return page(run.versions.dawngrad, title, percent(run.result.bestValidAccuracy), body);
}

function headline({ result, data, model, options }: RunSummary, measured: Scores | undefined): Html {
  const right = measured ? `${count(measured.correct)} of ${count(measured.total)} images, ` : '';
  const images = Object.entries(data.counts).map(([split, size]) => `${count(size)} ${split}`);
  const list: [label: string, value: string, remark: string][] = [
    ['Best validation', percent(result.bestValidAccuracy), `${right}epoch ${result.bestEpoch}`],
    [
      'Last epoch',
      percent(result.finalValidAccuracy),
      `${counted(result.epochs, 'epoch')}, ${counted(result.steps, 'step')}`,
    ],
    ['Images per second', rate(result.imagesPerSecond), `training, batch ${options.batch ?? unknown}`],
    ['Time', duration(result.seconds), 'validation included'],
    ['Peak GPU memory', bytes(result.peakGpuBytes), `${parameters(model.parameters)} parameters`],
    ['Images', count(Object.values(data.counts).reduce((sum, size) => sum + size, 0)), images.join(', ')],
  ];
  return figures(list);
}

async function curves(rows: readonly EpochRow[]): Promise<Html> {
  const panels: Html[] = [];
  for (const panel of curvePanels) panels.push(await themed((options) => curveSvg(panel, rows, options), panel));
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
<div class="panels">${panels}</div>
<details><summary>All epochs as a table</summary>
<div class="scroll">${table(heads, lines)}</div>
</details>
</section>`;
}

function usage(run: RunSummary): Html {
  const { folder, data, command, pytorch, options } = run;
  // The model file knows how its images were divided.
  const limit = options.limit == null ? '' : ` --limit ${options.limit}`;
  // Whole, as that of the data is: whoever reads the page is elsewhere.
  const model = quoted(resolve(folder, 'model.safetensors'));
  const python = pytorch ?? `from safetensors.torch import load_file\n\nweights = load_file("model.safetensors")`;
  const list: [heading: string, code: string][] = [
    ['Evaluate it', callOf('evaluate', `--model ${model} --data ${quoted(data.path)}${limit}`)],
    ['Classify images', callOf('predict', `--model ${model} IMAGE_OR_FOLDER`)],
    ['Load it in PyTorch', python],
    ['Train it again', command],
  ];
  return html`<section>
<h2>Use this model</h2>
${blocks(list)}
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
