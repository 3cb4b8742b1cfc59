/**
 * How much is told on stderr, from the environment's DEBUG: 1 device and memory; 2 also each kernel of a step with its time; 3 also
 * the shapes it works on; 4 also each shader's WGSL as it is compiled.
 */
export const debugLevel: number = Number(globalThis.process?.env?.DEBUG) || 0;

/** Prints what `text` makes when DEBUG is `level` or more. */
export function debug(level: number, text: () => string): void {
  if (debugLevel >= level) console.error(text());
}
