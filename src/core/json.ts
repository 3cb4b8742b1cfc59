/** An object of JSON: neither null nor a list. */
export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** A whole number from 0 on. */
export const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/** JSON.parse, whose SyntaxError names line and column where the engine says at which character it stopped, and is one line itself. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const { message } = error as SyntaxError;
    throw new SyntaxError(
      message.replace(/\s+/g, ' ').replace(/ in JSON at position (\d+).*$/, (_, at) => {
        const lines = text.slice(0, Number(at)).split('\n');
        return ` in line ${lines.length}, column ${lines.at(-1)!.length + 1}`;
      }),
    );
  }
}

/** A value of JSON for a message. A number that is too large to be one has become Infinity, which JSON would show as null. */
export const showJson = (value: unknown): string => (typeof value === 'number' ? String(value) : JSON.stringify(value));
