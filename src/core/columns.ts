const graphemes = new Intl.Segmenter();
/** What a terminal shows two columns wide: East Asian characters and emoji. Unicode Standard Annex 11. */
const wide = /^[\p{sc=Han}\p{sc=Hangul}\p{sc=Bopomofo}\p{Emoji_Presentation}\u3000-\u30ff\uff01-\uff60]|\ufe0f/u;

const characters = (text: string): string[] => [...graphemes.segment(text)].map(({ segment }) => segment);
const widthOf = (character: string): number => (wide.test(character) ? 2 : 1);

/** The columns of a terminal that a text takes. */
export const columns = (text: string): number =>
  characters(text).reduce((sum, character) => sum + widthOf(character), 0);

/** The start of a text that has more than so many columns, with an ellipsis. */
export function cut(text: string, width: number): string {
  if (columns(text) <= width) return text;
  return `${fitting(characters(text), width - 1).join('')}…`;
}

/** Start and end of a text that has more than so many columns, with `between` in place of its middle. */
export function cutWithin(text: string, width: number, between = '…'): string {
  if (columns(text) <= width) return text;
  const room = width - columns(between);
  const all = characters(text);
  const end = fitting(all.toReversed(), Math.floor(room / 2)).reverse();
  return [...fitting(all, Math.ceil(room / 2)), between, ...end].join('');
}

/** Names cut to so many columns, each in its middle; those that are then the same have their places in the list there. */
export function cutApart(names: readonly string[], width: number): string[] {
  const short = names.map((name) => cutWithin(name, width));
  return names.map((name, k) =>
    short.filter((other) => other === short[k]).length > 1 ? cutWithin(name, width, `…${k}…`) : short[k]!,
  );
}

/** As many of the first as have no more than so many columns together. */
function fitting(all: readonly string[], room: number): string[] {
  let used = 0;
  const end = all.findIndex((character) => {
    used += widthOf(character);
    return used > room;
  });
  return all.slice(0, end < 0 ? all.length : end);
}

/** A text and blanks behind it, or before it, so that both take so many columns. */
export const padEnd = (text: string, width: number): string => text + ' '.repeat(Math.max(0, width - columns(text)));
export const padStart = (text: string, width: number): string => ' '.repeat(Math.max(0, width - columns(text))) + text;
