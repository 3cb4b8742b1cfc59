/** HTML text that is safe as it stands. Only `html` and `raw` make it. */
export interface Html {
  readonly markup: string;
}

type Part = Html | string | number | undefined | readonly Part[];

/** Text as HTML: the five characters with a meaning become entities. */
const escaped = (text: string): string =>
  text.replace(
    /[&<>"']/g,
    (character) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' })[character]!,
  );

/** Markup from elsewhere that is known to be HTML, as a drawn SVG. */
export const raw = (markup: string): Html => ({ markup });

/** A template whose inserted strings are escaped, whose inserted Html is not, and whose lists are joined. */
export function html(texts: TemplateStringsArray, ...parts: Part[]): Html {
  const markup = (part: Part): string => {
    if (part === undefined) return '';
    if (typeof part === 'string' || typeof part === 'number') return escaped(String(part));
    return 'markup' in part ? part.markup : part.map(markup).join('');
  };
  return raw(texts.reduce((page, text, k) => page + markup(parts[k - 1]) + text));
}
