import { inPercent } from '../core/words.ts';
import { encodePng } from '../data/encode.ts';
import { type CamExample, type CamRow, CLASSES } from './camrows.ts';
import { type HeatMap, heatColour, mostlyAt, stretched } from './heat.ts';
import { type Html, html, raw } from './html.ts';
import { named } from './reportparts.ts';
import { picturePng, pngUrl } from './sheet.ts';

/** Side of the colours that lie over an image: enough for a browser to blend, and few bytes. */
const HEAT_SIDE = 32;

/**
 * Where the network looks, class by class: Grad-CAM of the images that it is surest of and of those that it gets most wrong. `augmented`
 * where what they were taken for was decided by test-time augmentation.
 */
export function camSection(rows: readonly CamRow[], classes: number, augmented = false): Html {
  const [first] = rows.flatMap(({ right, wrong }) => [...right, ...wrong]);
  const maps = first ? `${first.seen.rows}×${first.seen.columns}` : '';
  const steps = Array.from({ length: 9 }, (_, i) => `rgb(${heatColour(i / 8)})`);
  return html`<section>
<h2>Where it looks</h2>
<p class="muted">The lighter a place, the more it speaks for the class named below: Grad-CAM of ${maps} maps, each \
as light as it gets. First the images of a class that the network is surest of, then those that it gets most wrong, with what speaks \
for the class it took them for, and for their own. Where a map stays dark, nothing in \
the image speaks for the class.${rows.length === CLASSES && classes > CLASSES ? ` Of the ${classes} classes these are the ${CLASSES} with the most mistakes.` : ''}\
${augmented ? ' Classes and shares are those of test-time augmentation; the maps are of the image as it is.' : ''}</p>
<p class="scale" aria-hidden="true"><span>nothing</span><span style="background:linear-gradient(to right,${raw(steps.join())})"></span><span>most</span></p>
${rows.map(
  ({ name, right, wrong }) => html`
<h3>${named(name)}</h3>
<div class="looks">${figures(right, 'none was recognised')}${figures(wrong, 'none was taken for another class')}</div>`,
)}
</section>`;
}

const figures = (examples: readonly CamExample[], none: string): Html =>
  html`<div>${examples.length > 0 ? examples.map(figure) : html`<span class="muted">${none}</span>`}</div>`;

function figure(example: CamExample): Html {
  const { truth, prediction, probability, loss, seen, missed } = example;
  const image = pngUrl(picturePng(example));
  const under = (map: HeatMap, name: string, kind: 'right' | 'wrong') => html`
<div><span class="look"><img src="${image}" alt=""><img src="${heatPng(map)}" alt="What speaks for ${name}: ${mostlyAt(map)}"></span>\
<span class="${kind}">${named(name)}</span>${map === seen ? html`<span class="muted">${inPercent(probability, 0)}</span>` : ''}</div>`;
  return html`
<figure><div class="looked">
<div><span class="look"><img src="${image}" alt="${truth}, taken for ${missed ? prediction : 'what it is'}"></span>\
<span class="muted">loss ${loss.toFixed(2)}</span></div>${under(seen, prediction, missed ? 'wrong' : 'right')}\
${missed ? under(missed, truth, 'right') : ''}
</div></figure>`;
}

/** The colours alone, as the overlay's upper layer. */
function heatPng(map: HeatMap): string {
  const heat = stretched(map, HEAT_SIDE);
  const most = heat.reduce((a, b) => Math.max(a, b), 0);
  const pixels = Uint8Array.from([...heat].flatMap((value) => [...heatColour(most > 0 ? value / most : 0)]));
  return pngUrl(encodePng({ pixels, width: HEAT_SIDE, height: HEAT_SIDE, channels: 3 }));
}
