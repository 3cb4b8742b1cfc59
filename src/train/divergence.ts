/** Thrown when the loss is no number any more, or absurd. */
export class DivergenceError extends Error {
  override name = 'DivergenceError';

  /** @param place the epoch, and the step where it is known */
  constructor(place: string, loss: number, lr: number) {
    const shown = Number.isNaN(loss) ? 'not a number' : loss.toPrecision(3);
    super(`training diverged in ${place}: the loss is ${shown}. Lower the learning rate (it was ${lr}).`);
  }
}
