/** What a body does on the host beside recording GPU work, so that a replay in its place comes to the same. */
export interface Trace {
  /** To be done again with each replay, in this order. */
  readonly effects: (() => void)[];
  /** What the body found on the host, by what it belongs to: a replay is right only while all of it holds. */
  readonly assumptions: ReadonlyMap<object, () => boolean>;
  /** Uploads that come before its commands, and are no part of them. */
  readonly uploads: (() => void)[];
}

let running: (Trace & { assumptions: Map<object, () => boolean> }) | null = null;

/** Runs `body` and notes what it does and assumes. */
export function traced(body: () => void): Trace {
  const trace = { effects: [], assumptions: new Map(), uploads: [] };
  running = trace;
  try {
    body();
  } finally {
    running = null;
  }
  return trace;
}

export const isTracing = (): boolean => running !== null;

/** Changes state of the host, now and in every replay of the running body. */
export function effect(change: () => void): void {
  change();
  running?.effects.push(change);
}

/**
 * Says that the running body depends on state of `owner`, for which `holds` has to be true at its start. Only the first assumption about
 * an owner is kept; a later one may describe a change by the body itself, is ignored, and returns false.
 */
export function assume(owner: object, holds: () => boolean): boolean {
  if (!running) return true;
  if (running.assumptions.has(owner)) return false;
  running.assumptions.set(owner, holds);
  return true;
}

/** Uploads now, or before the commands of the running body: for state that a replay will find as it is then, and has assumed. */
export function beforehand(upload: () => void): void {
  if (running) running.uploads.push(upload);
  else upload();
}

/**
 * A value of the host that a body may read and set. A replay is right only where the value is what the body first read, unless it set it
 * before that; and leaves what the body left.
 */
export class HostValue<T> {
  private value: T;

  constructor(value: T) {
    this.value = value;
  }

  get(): T {
    const { value } = this;
    assume(this, () => this.value === value);
    return value;
  }

  set(value: T): void {
    assume(this, () => true);
    effect(() => {
      this.value = value;
    });
  }
}
