export const isPlain = (value: object): boolean => Object.getPrototypeOf(value) === Object.prototype;

/** What an array, a collection or a plain object holds, however deep; of anything else that alone. */
export function* within(value: unknown, seen = new Set<unknown>()): Iterable<unknown> {
  if (typeof value !== 'object' || value === null) {
    yield value;
    return;
  }
  if (seen.has(value)) return;
  seen.add(value);
  if (Array.isArray(value) || value instanceof Set || value instanceof Map)
    for (const part of value.values()) yield* within(part, seen);
  else if (isPlain(value)) for (const part of Object.values(value)) yield* within(part, seen);
  else yield value;
}
