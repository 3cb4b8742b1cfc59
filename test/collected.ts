import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

/** Collects what nobody can reach, until `done` or for a few rounds: finalizers run between them. */
export async function collected(done: () => boolean): Promise<boolean> {
  for (let round = 0; round < 10; round++) {
    if (done()) return true;
    collectGarbage();
    await setImmediate();
  }
  return false;
}
