/**
 * A text as a terminal may show it: control characters, which would be commands to it, become \u001b and the like. For names of files
 * and classes, and for what a file holds: whoever made the file chose them.
 */
export const printable = (text: string): string =>
  text.replace(/\p{Cc}/gu, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);

/** The line on stderr that says what went wrong. */
export const complaint = (message: string): string =>
  `dawngrad: ${printable(message.trim().replace(/\s*[\r\n]+\s*/g, ' '))}`;
