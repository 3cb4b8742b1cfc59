// A control sequence, or a character.
const escapeCharacter = '\u001b';
const tokens = new RegExp(`${escapeCharacter}(?:[78]|\\[[\\d;?]*[A-Za-z])|[\\s\\S]`, 'gu');

/** What a terminal of endless width shows after this output. Throws on what it does not know. */
export function screen(output: string): string[] {
  const lines = [''];
  let row = 0;
  let column = 0;
  let saved = [0, 0];
  for (const [token] of output.matchAll(tokens)) {
    if (token === '\n') {
      row++;
      column = 0;
      lines[row] ??= '';
    } else if (token === '\u001b7') saved = [row, column];
    else if (token === '\u001b8') [row, column] = saved as [number, number];
    else if (token === '\u001b[1G' || token === '\r') column = 0;
    else if (token === '\u001b[2K') lines[row] = '';
    else if (token === '\u001b[0K') lines[row] = lines[row]!.slice(0, column);
    else if (token.startsWith('\u001b')) throw new Error(`unexpected control sequence ${JSON.stringify(token)}`);
    else lines[row] = lines[row]!.slice(0, column).padEnd(column) + token + lines[row]!.slice(++column);
  }
  return lines;
}
