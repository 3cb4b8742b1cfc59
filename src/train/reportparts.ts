import { counted, inPercent, thousands } from '../core/words.ts';
import type { PlotOptions } from './figure.ts';
import { writable } from './font.ts';
import { type Html, html, raw } from './html.ts';
import { type Confusion, mostConfused, type Scores } from './metrics.ts';
import { confusionSvg } from './plots.ts';
import { style } from './reportstyle.ts';
import { picturePng, pngUrl } from './sheet.ts';
import type { TopLoss } from './toplosses.ts';

/** A value of an option or a fact, as run.json holds it. */
export type Setting = string | number | boolean | null | undefined;

/** When a page was written, as it says: to the minute. */
export const timeInWords = (time: Date): string => `${time.toISOString().slice(0, 16).replace('T', ' ')} UTC`;

/** A page, complete in one file: no script, nothing fetched. */
export const page = (version: string | undefined, title: string, remark: string, body: Html): string =>
  html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="dawngrad ${version ?? ''}">
<title>${title} · ${remark}</title>
<style>${raw(style)}</style>
</head>
<body>
${body}
</body>
</html>
`.markup;

/** What stands large at the top of a page: a label, its value, a remark. */
export const figures = (list: readonly (readonly [label: string, value: string, remark: string])[]): Html =>
  html`<dl class="figures">${list.map(
    ([label, value, remark]) => html`
<div><dt>${label}</dt><dd>${value}</dd><dd class="remark">${remark}</dd></div>`,
  )}
</dl>`;

/** Command lines and code to copy, each below its heading. */
export const blocks = (list: readonly (readonly [heading: string, code: string])[]): Html =>
  html`<div class="blocks">${list.map(
    ([heading, code]) => html`
<div><h3>${heading}</h3>
<pre><code>${code}</code></pre></div>`,
  )}
</div>`;

/** A name by itself, so that one which is written from right to left turns nothing around it. */
export const named = (name: string): Html => html`<bdi>${name}</bdi>`;

/** The confusion matrix, what it says of each class, and what is confused most; `of` says whose it is and on what. */
export async function confusionSection(
  of: string,
  names: readonly string[],
  matrix: Confusion,
  measured: Scores,
): Promise<Html> {
  const name = (k: number) => named(names[k] ?? `${k}`);
  // By which the sheets call it.
  const numbered = writable(names);
  const figure = await themed((options) => confusionSvg(matrix, names, options), 'confusion');
  const confused = mostConfused(matrix).slice(0, 8);
  const lines = measured.classes.map(({ precision, recall, f1, support }, k) => [
    numbered[k] === names[k] ? name(k) : html`${name(k)} <span class="muted">${numbered[k]}</span>`,
    bar(precision),
    support > 0 ? bar(recall) : unknown,
    bar(f1),
    count(support),
  ]);
  return html`<section>
<h2>Classes</h2>
<p class="muted">${of}, ${counted(measured.total, 'image')}. \
Mean F1 of ${counted(measured.macroClasses, 'class', 'classes')}: ${percent(measured.macroF1)}.</p>
<div class="split">
<div class="matrix scroll" style="--classes:${names.length}">${figure}</div>
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

/** The images with the highest losses; `which` says of what, as 'validation ' does. */
export function lossSection(which: string, items: readonly TopLoss[]): Html {
  return html`<section>
<h2>Top losses</h2>
<p class="muted">The ${which}images with the highest losses: what each is, what it was taken for and how \
surely.</p>
<div class="losses">${items.map(
    (item) => html`
<figure><img src="${pngUrl(picturePng(item))}" width="${item.side}" \
height="${item.side}" alt="${item.truth}, taken for ${item.prediction}"><figcaption><b>${named(item.truth)}</b>\
<span class="${item.truth === item.prediction ? 'right' : 'wrong'}">${named(item.prediction)} \
${inPercent(item.probability, 0)}</span><span class="muted">loss ${item.loss.toFixed(2)}</span></figcaption>\
</figure>`,
  )}
</div>
</section>`;
}

/** A figure twice, for light and for dark surroundings; the style sheet shows one of them. */
export async function themed(draw: (options: PlotOptions) => Promise<string>, id: string): Promise<Html> {
  const figures: Html[] = [];
  for (const theme of ['light', 'dark'] as const) {
    const svg = await draw({ theme, transparent: true, idPrefix: `${id}-${theme}-` });
    figures.push(html`<div class="on-${theme}">${raw(svg)}</div>`);
  }
  return html`<figure>${figures}</figure>`;
}

/** A table whose first column names its rows. */
export function table(heads: readonly string[], lines: readonly (readonly (string | Html)[])[]): Html {
  return html`<table>
<thead><tr>${heads.map((head) => html`<th scope="col">${head}</th>`)}</tr></thead>
<tbody>${lines.map(
    ([first, ...cells]) => html`
<tr><th scope="row">${first}</th>${cells.map((cell) => html`<td>${cell}</td>`)}</tr>`,
  )}
</tbody>
</table>`;
}

/** Names and values; those that are unknown are left out. */
export function pairs(values: Readonly<Record<string, Setting>>): Html {
  const known = Object.entries(values).filter(([, value]) => value !== undefined && value !== null && value !== '');
  return html`<dl class="pairs-list">${known.map(
    ([key, value]) => html`
<div><dt>${key}</dt><dd>${String(value)}</dd></div>`,
  )}
</dl>`;
}

/** A share as text over a bar of that length. */
const bar = (share: number): Html =>
  html`<span class="bar" style="--share:${(100 * share).toFixed(1)}%">${inPercent(share)}</span>`;

/** Stands for what is not known. */
export const unknown = '–';
const orUnknown = (value: number, text: string) => (Number.isFinite(value) ? text : unknown);
export const count = (value: number) => orUnknown(value, thousands(Math.round(value)));
export const percent = (share: number) => orUnknown(share, inPercent(share, 2));
export const loss = (value: number) => orUnknown(value, value.toFixed(4));
export const shortNumber = (value: number) => orUnknown(value, String(Number(value.toPrecision(3))));
export const rate = (value: number) => (value < 100 ? orUnknown(value, value.toFixed(1)) : count(value));
export const bytes = (value: number) =>
  orUnknown(value, value >= 1e9 ? `${(value / 1e9).toFixed(2)} GB` : `${(value / 1e6).toFixed(0)} MB`);
export const parameters = (value: number) =>
  orUnknown(value, value >= 1e6 ? `${(value / 1e6).toFixed(1)} million` : count(value));

/** Seconds as a person says them. */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return unknown;
  const whole = Math.round(seconds);
  if (whole < 60) return `${seconds < 9.95 ? seconds.toFixed(1) : whole} s`;
  const [h, min, s] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  return h > 0 ? `${h} h ${min} min` : `${min} min ${s} s`;
}
