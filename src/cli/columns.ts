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
  let kept = '';
  let room = width - 1;
  for (const character of characters(text)) {
    room -= widthOf(character);
    if (room < 0) break;
    kept += character;
  }
  return `${kept}…`;
}

/** A text and blanks behind it, or before it, so that both take so many columns. */
export const padEnd = (text: string, width: number): string => text + ' '.repeat(Math.max(0, width - columns(text)));
export const padStart = (text: string, width: number): string => ' '.repeat(Math.max(0, width - columns(text))) + text;
