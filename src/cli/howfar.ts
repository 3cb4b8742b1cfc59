/** Seconds between two lines. */
const EVERY_SECONDS = 15;

/** Says on stderr how far something long is, now and then and not at its end: `3 of 20 batches`. */
export function howFar(nouns: string): (done: number, of: number) => void {
  let saidMs = performance.now();
  return (done, of) => {
    if (done === of || performance.now() - saidMs < 1000 * EVERY_SECONDS) return;
    saidMs = performance.now();
    console.error(`${done} of ${of} ${nouns}`);
  };
}
