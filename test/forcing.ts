import { forceVariant } from '../src/ops/matrix/variant.ts';

/** Runs `fn` with the variant called `name` wherever it fits. */
export async function forcing<T>(name: string, fn: () => Promise<T>): Promise<T> {
  forceVariant(name);
  try {
    return await fn();
  } finally {
    forceVariant(null);
  }
}
