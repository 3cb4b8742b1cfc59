import type { Progress } from '../train/progress.ts';

/** Whether this is a run of a list of experiments: `experiments` keeps a channel to it. */
export const ofList = (): boolean => process.send !== undefined;

/**
 * Ctrl-C stops where `requested` is asked for next; a second one at once. `stopping` says where that is and what becomes of the work,
 * and `shown` is the display for messages, where there is one. A run of a list of experiments is stopped by a message, too, and by the
 * end of the process that started it: nobody would wait for it any more.
 */
export function onInterrupt(
  stopping: string,
  shown: () => Progress | null = () => null,
): { requested(): boolean; release(): void } {
  // Apart, since Ctrl-C of a list comes both ways, in any order, and is no second one.
  let signalled = false;
  let told = false;
  const handler = () => {
    const progress = shown();
    if (signalled) {
      progress?.stop();
      process.exit(130);
    }
    signalled = true;
    // A step or a validation may take seconds on a software adapter. On a terminal this goes over its ^C.
    const text = `${stopping} Once more stops at once.`;
    const line = `${process.stderr.isTTY ? '\r' : ''}${text}`;
    if (progress) progress.message(line);
    else console.error(line);
  };
  const stop = () => {
    told = true;
  };
  process.on('SIGINT', handler);
  process.on('SIGTERM', handler);
  if (ofList()) {
    process.on('message', stop);
    process.on('disconnect', stop);
    if (!process.connected) stop();
  }
  return {
    requested: () => signalled || told,
    release: () => {
      process.off('message', stop);
      process.off('disconnect', stop);
      process.off('SIGINT', handler);
      process.off('SIGTERM', handler);
    },
  };
}
