import { resolve } from 'node:path';
import { counted } from '../core/words.ts';
import { callOf, quoted } from './call.ts';
import { camSection } from './camsection.ts';
import { html } from './html.ts';
import type { Interpretation } from './interpretation.ts';
import { scores } from './metrics.ts';
import { blocks, confusionSection, count, figures, loss, lossSection, page, percent } from './reportparts.ts';

/** What was evaluated on what. */
export interface EvaluationSummary {
  /** When, as it is to be shown. */
  date: string;
  /** The dawngrad that writes the page. */
  version: string;
  /** The model file. */
  model: string;
  arch: string;
  data: string;
  /** Which images of it, in words: 'PublicTest'. */
  splitName: string;
  classes: readonly string[];
  adapter: string;
  /** Test-time augmentation, in words; null without. */
  augmented: string | null;
  /** Mean cross-entropy in nats. */
  loss: number;
}

/** A page about what a network makes of labelled images, complete in one file, as a run's report is. */
export async function evaluationHtml(
  summary: EvaluationSummary,
  { confusion, topLosses, cams }: Interpretation,
): Promise<string> {
  const { date, version, model, arch, data, splitName, classes, adapter, augmented } = summary;
  const measured = scores(confusion);
  const title = `${arch} on ${data}`;
  const body = html`<header>
<p class="kicker">dawngrad evaluation</p>
<h1>${title}</h1>
<p class="muted">${date} · ${adapter} · <code>${model}</code>${augmented === null ? '' : ` · test-time augmentation: ${augmented}`}</p>
${figures([
  ['Accuracy', percent(measured.accuracy), `${count(measured.correct)} of ${count(measured.total)} images`],
  ['Loss', loss(summary.loss), 'mean cross-entropy'],
  ['Mean F1', percent(measured.macroF1), `of ${counted(measured.macroClasses, 'class', 'classes')}`],
  ['Images', count(measured.total), splitName],
])}
</header>
<main>
${await confusionSection(`On ${splitName}`, classes, confusion, measured)}
${lossSection('', topLosses)}
${camSection(cams, classes.length, augmented !== null)}
<section>
<h2>Use this model</h2>
${blocks([['Classify images', callOf('predict', `--model ${quoted(resolve(model))} IMAGE_OR_FOLDER`)]])}
</section>
</main>
<footer class="muted">Written by dawngrad ${version}.</footer>`;
  return page(version, title, percent(measured.accuracy), body);
}
