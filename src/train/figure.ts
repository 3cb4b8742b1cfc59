import type { LoggerInterface, View as VegaView } from 'vega';
import type { TopLevelSpec } from 'vega-lite';

/** How a figure is drawn: for light or dark surroundings, and on a ground of its own or on the page's. */
export interface PlotOptions {
  theme?: 'light' | 'dark';
  transparent?: boolean;
  /** Put before every id in the SVG, so that several fit in one page. */
  idPrefix?: string;
}

/** The colours of a figure. */
export interface Theme {
  ground: string;
  ink: string;
  muted: string;
  grid: string;
  train: string;
  valid: string;
  lr: string;
  /** Colours of the shares 0, ½ and 1 of a row of the confusion matrix. */
  shares: [string, string, string];
}

/**
 * Train and valid are Okabe & Ito's vermilion and blue (on dark: orange and sky blue), which every common
 * form of colour blindness tells apart; the matrix is one hue from light to dark.
 */
export const themes: Record<'light' | 'dark', Theme> = {
  light: {
    ground: '#ffffff',
    ink: '#1f2933',
    muted: '#5f6b7a',
    grid: '#e4e8ee',
    train: '#d55e00',
    valid: '#0072b2',
    lr: '#00795a',
    shares: ['#f4f7fb', '#6ba6d6', '#08447f'],
  },
  dark: {
    ground: '#161b22',
    ink: '#e6edf3',
    muted: '#9aa7b5',
    grid: '#2c343f',
    train: '#f0a03c',
    valid: '#5ab4ec',
    lr: '#2fc49a',
    shares: ['#1e2630', '#2e6da4', '#a9dbff'],
  },
};

const font = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif';

/** A piece of a Vega-Lite specification. Its own types do not see through the pieces put together here. */
export type Spec = Record<string, unknown>;

/** Text over lines: drawn twice, first as a thick outline in the ground's colour. */
export function haloed(layer: Spec, theme: Theme, mark: Spec): Spec[] {
  const text = { type: 'text', fontSize: 12, fontWeight: 600, ...mark };
  return [
    { ...layer, mark: { ...text, aria: false, color: theme.ground, stroke: theme.ground, strokeWidth: 4 } },
    { ...layer, mark: text },
  ];
}

/**
 * Draws a Vega-Lite specification as SVG: the same text for the same input, whatever was drawn before or meanwhile.
 *
 * Vega is loaded here, on first use: it would double the start-up time of every command.
 */
export async function render(spec: Spec, options: PlotOptions): Promise<string> {
  const [vega, { compile }] = await Promise.all([import('vega'), import('vega-lite')]);
  const theme = themes[options.theme ?? 'light'];
  // Without this, sizes would depend on whether a canvas package happens to be installed.
  (vega as unknown as { textMetrics: { canvas(use: boolean): void } }).textMetrics.canvas(false);
  const full = {
    background: options.transparent ? 'transparent' : theme.ground,
    padding: options.transparent ? 4 : 20,
    config: config(theme),
    ...spec,
  };
  const compiled = compile(full as unknown as TopLevelSpec, { logger: quiet });
  const view: VegaView = new vega.View(vega.parse(compiled.spec), { renderer: 'none', logger: quiet });
  const svg = await view.toSVG();
  view.finalize();
  return renumbered(drawable(svg), options.idPrefix ?? '');
}

/** A class folder may be named by what XML has no characters for. */
const drawable = (text: string): string => text.replace(/[^\P{Cc}\n\t]/gu, '\ufffd');

/** A drawing whose texts that are `short` for another have that as their title: browsers show it under the pointer. */
export function titled(svg: string, short: string, whole: string): string {
  const [text, title] = [short, whole].map((each) =>
    drawable(each).replace(/[&<>]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[c]!),
  );
  // Vega's labels are not for the pointer.
  return svg.replaceAll(`>${text}</text>`, () => ` pointer-events="all"><title>${title}</title>${text}</text>`);
}

/** Vega warns of things that are meant, as an empty domain. An error is an error. */
const quiet: LoggerInterface = {
  level: ((value?: number) => (value === undefined ? 0 : quiet)) as LoggerInterface['level'],
  error: (...messages: readonly unknown[]) => {
    throw new Error(messages.map(String).join(' '));
  },
  warn: () => quiet,
  info: () => quiet,
  debug: () => quiet,
};

/** Vega counts its ids through the life of the process; these count through the figure. */
function renumbered(svg: string, prefix: string): string {
  const ids = new Map<string, string>();
  const rename = (_: string, before: string, id: string) => {
    if (!ids.has(id)) ids.set(id, `${prefix}part${ids.size}`);
    return before + ids.get(id)!;
  };
  return svg.replace(/<[^>]*>/g, (tag) => tag.replace(/( id="|url\(#)([^")]+)/g, rename));
}

function config(theme: Theme): Spec {
  const text = { labelColor: theme.muted, titleColor: theme.muted, labelFont: font, titleFont: font };
  return {
    font,
    view: { stroke: null },
    // What is not finite was left out above; Vega-Lite's own filter fails on a log scale with two marks.
    mark: { invalid: 'show' },
    text: { font },
    title: {
      font,
      subtitleFont: font,
      color: theme.ink,
      subtitleColor: theme.muted,
      anchor: 'start',
      frame: 'group',
      fontSize: 15,
      fontWeight: 600,
      subtitleFontSize: 12,
      subtitlePadding: 4,
      offset: 14,
    },
    axis: {
      ...text,
      gridColor: theme.grid,
      domainColor: theme.grid,
      tickColor: theme.grid,
      labelFontSize: 12,
      titleFontSize: 12,
      titleFontWeight: 'normal',
      labelPadding: 6,
      titlePadding: 10,
    },
    axisY: { domain: false, ticks: false },
    legend: { ...text, labelFontSize: 12, symbolStrokeWidth: 3, symbolSize: 160, columnPadding: 12 },
  };
}

/** Red, green and blue, 0 to 255. */
export type Rgb = [number, number, number];

const rgbOf = (hex: string): Rgb => [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16)) as Rgb;

/** The colour that Vega's `rgb` interpolation gives a share. */
export function shareColour(share: number, stops: Theme['shares']): Rgb {
  const upper = share >= 0.5 ? 1 : 0;
  const from = rgbOf(stops[upper]!);
  const to = rgbOf(stops[upper + 1]!);
  const t = 2 * share - upper;
  return from.map((channel, k) => channel + t * (to[k]! - channel)) as Rgb;
}

/** Black or white, whichever has more contrast on a colour: at least 4.5 to 1 on any. Source: WCAG 2.1, §1.4.3. */
export function readableOn(colour: Rgb): string {
  const [r, g, b] = colour.map((channel) => {
    const c = channel / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  }) as Rgb;
  const luminance = 0.2126 * r + 0.7152 * g + 0.0722 * b;
  return (luminance + 0.05) ** 2 > 0.05 * 1.05 ? '#000000' : '#ffffff';
}
