import { DataError } from '../core/errors.ts';
import { thousands } from '../core/words.ts';

/** Which part of the set a row belongs to by its `Usage`, its file-name prefix or its folder. */
export const usageNames = ['Training', 'PublicTest', 'PrivateTest'] as const;
export const TRAINING = 0;
export const PUBLIC_TEST = 1;
export const PRIVATE_TEST = 2;

/** FER2013's classes; the index is the label. */
export const emotions = ['angry', 'disgust', 'fear', 'happy', 'sad', 'surprise', 'neutral'];

/** A parsed file or folder before it is split: what the cache keeps. */
export interface Rows {
  classes: string[];
  side: number;
  channels: 1 | 3;
  count: number;
  /** [count, side, side, channels] */
  pixels: Uint8Array;
  labels: Uint8Array;
  /** Index into `usageNames`. */
  usage: Uint8Array;
  /** What the second and third usage are called in this set, for run.json: 'PublicTest', or the folder 'validation'. */
  partNames: [string, string];
  /** Where a row came from: a line of the file… */
  lines: Uint32Array | null;
  /** …or a file below the folder. */
  files: string[] | null;
}

/**
 * Collects images of one size in a buffer that is sized by estimate and grows when the estimate was short. Throws DataError, beginning
 * with `source`, where there is no such buffer.
 */
export class RowBuffer {
  count = 0;
  pixels: Uint8Array;
  labels: Uint8Array;
  usage: Uint8Array;
  lines: Uint32Array;
  readonly source: string;
  readonly imageBytes: number;

  constructor(source: string, imageBytes: number, expectedCount: number) {
    const capacity = Math.max(16, expectedCount);
    this.source = source;
    this.imageBytes = imageBytes;
    this.pixels = this.room(capacity);
    this.labels = new Uint8Array(capacity);
    this.usage = new Uint8Array(capacity);
    this.lines = new Uint32Array(capacity);
  }

  /** Makes room for one more image and returns its first byte in `pixels`. `add` then counts it. */
  reserve(): number {
    if (this.count === this.labels.length) {
      // By a quarter: a wrong estimate is usually a little wrong, and doubling 80 MB is what the memory budget cannot take.
      const capacity = Math.ceil(this.count * 1.25) + 16;
      this.pixels = grown(this.pixels, this.room(capacity));
      this.labels = grown(this.labels, new Uint8Array(capacity));
      this.usage = grown(this.usage, new Uint8Array(capacity));
      this.lines = grown(this.lines, new Uint32Array(capacity));
    }
    return this.count * this.imageBytes;
  }

  /** An array holds 4.3 GB at most in Node 20, and less where the memory ends. */
  private room(images: number): Uint8Array {
    try {
      return new Uint8Array(images * this.imageBytes);
    } catch {
      const size = `${((images * this.imageBytes) / 1e9).toFixed(1)} GB`;
      throw new DataError(
        `${this.source}: ${thousands(images)} images take ${size}, for which Node has no room. Store smaller ones, or leave some out.`,
      );
    }
  }

  /** Counts the image whose pixels were written at `reserve()`. */
  add(label: number, usage: number, line: number): void {
    this.labels[this.count] = label;
    this.usage[this.count] = usage;
    this.lines[this.count] = line;
    this.count++;
  }

  /** What was collected, without the room that is left. */
  finish(): Pick<Rows, 'count' | 'pixels' | 'labels' | 'usage'> & { lines: Uint32Array } {
    const { count, imageBytes } = this;
    return {
      count,
      pixels: this.pixels.subarray(0, count * imageBytes),
      labels: this.labels.subarray(0, count),
      usage: this.usage.subarray(0, count),
      lines: this.lines.subarray(0, count),
    };
  }
}

function grown<T extends Uint8Array | Uint32Array>(from: T, to: T): T {
  to.set(from);
  return to;
}
