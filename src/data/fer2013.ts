import { closeSync, createReadStream, openSync, readSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import Papa from 'papaparse';
import { DataError } from '../core/errors.ts';
import { counted, thousands } from '../core/words.ts';
import { emotions, RowBuffer, type Rows, TRAINING, usageNames } from './rows.ts';

/** Read and parsed at a time: small enough that V8 frees the text in step, large enough that calls do not count. */
const chunkBytes = 1 << 18;
/** No image takes so much text. papaparse begins a line that goes on anew with each chunk: in a file of zeros, for hours. */
const longestLine = 1 << 24;
const smallestSide = 4;
const mend = 'Expected FER2013 as Kaggle has it: a header line with emotion, pixels and, where there is one, Usage.';

/**
 * Reads a FER2013 CSV in any of Kaggle's forms: `emotion,pixels,Usage` in any order, with blanks in front of the names
 * (icml_face_data.csv), quoted and with CRLF (train.csv), without Usage (every row is then Training), and any of them
 * after a byte order mark.
 *
 * The text is streamed through papaparse and each `pixels` field goes straight into the set's one buffer.
 * Throws DataError, `file:line: what, expected, mend`, at the first row that is not right.
 */
export async function readFer2013(path: string): Promise<Rows> {
  const { sizeBytes, start, newline } = checkIsText(path);
  const reader = new RowReader(path, sizeBytes);
  const stream = createReadStream(path, { encoding: 'latin1', highWaterMark: chunkBytes, start });
  let unended = 0;
  await new Promise<void>((resolve, reject) => {
    Papa.parse<string[]>(stream, {
      delimiter: ',',
      ...(newline && { newline }),
      chunk({ data, errors }, parser) {
        try {
          for (const row of data) reader.read(row);
          unended = data.length > 0 ? 0 : unended + chunkBytes;
          if (unended > longestLine) reader.failUnended();
          const quote = errors.find((error) => error.type === 'Quotes');
          if (quote)
            reader.fail(
              'a quoted field does not end as CSV says it must. The file is damaged or truncated: get it again.',
            );
        } catch (error) {
          // First: abort() itself calls `complete`, which would resolve.
          reject(error);
          parser.abort();
          stream.destroy();
        }
      },
      error: reject,
      complete: () => resolve(),
    });
  });
  return reader.finish();
}

/** Turns the rows of one file into images; knows the header, the line and the image size. */
class RowReader {
  private readonly path: string;
  private readonly sizeBytes: number;
  /** Where the row in work begins, and the one after it: a quoted field may go over several lines. */
  private line = 0;
  private nextLine = 1;
  private columns: { emotion: number; pixels: number; usage: number; count: number } | null = null;
  private rows: RowBuffer | null = null;
  private side = 0;
  private firstLine = 0;

  constructor(path: string, sizeBytes: number) {
    this.path = path;
    this.sizeBytes = sizeBytes;
  }

  read(row: string[]): void {
    this.line = this.nextLine++;
    for (const field of row) {
      for (let at = field.indexOf('\n'); at >= 0; at = field.indexOf('\n', at + 1)) this.nextLine++;
    }
    if (row.length === 1 && row[0]!.trim() === '') return;
    if (this.columns === null) {
      this.columns = this.readHeader(row);
      return;
    }
    const { emotion, pixels, usage, count } = this.columns;
    if (row.length !== count) {
      const mend =
        row.length < count
          ? this.truncated()
          : ' Commas separate fields; the pixels are one, with blanks between them.';
      this.fail(`the row has ${counted(row.length, 'field')}; the header has ${count}.${mend}`);
    }
    const label = this.readLabel(row[emotion]!);
    const part = usage < 0 ? TRAINING : this.readUsage(row[usage]!);
    const text = row[pixels]!;
    this.rows ??= this.firstRow(text);
    const offset = this.rows.reserve();
    if (!parsePixels(text, this.rows.pixels, offset, this.rows.imageBytes)) this.failPixels(text);
    this.rows.add(label, part, this.line);
  }

  finish(): Rows {
    if (this.columns === null) throw new DataError(`${this.path}: nothing but empty lines. ${mend}`);
    if (this.rows === null) throw new DataError(`${this.path}: a header and no rows. ${mend}`);
    return {
      ...this.rows.finish(),
      classes: [...emotions],
      side: this.side,
      channels: 1,
      partNames: ['PublicTest', 'PrivateTest'],
      files: null,
    };
  }

  fail(what: string): never {
    throw new DataError(`${this.path}:${Math.max(1, this.line)}: ${what}`);
  }

  /** No end of the line after the last one that was read. */
  failUnended(): never {
    this.line = this.nextLine;
    this.fail(
      `a line of more than ${longestLine >> 20} MB; expected an image a line. The file is damaged: get it again.`,
    );
  }

  private readHeader(row: string[]) {
    const names = row.map((name) => name.trim().toLowerCase());
    const emotion = names.indexOf('emotion');
    const pixels = names.indexOf('pixels');
    const usage = names.indexOf('usage');
    const twice = [emotion, pixels, usage].find((column) => column >= 0 && names.includes(names[column]!, column + 1));
    if (twice !== undefined) this.fail(`two columns '${names[twice]}'; expected one. Remove or rename the other.`);
    const found = row
      .slice(0, 6)
      .map((name) => `'${shorten(name.trim())}'`)
      .join(', ');
    if (pixels < 0) {
      const comma = /[;\t|]\W*pixels|pixels\W*[;\t|]/i.test(row[0]!) ? ' The separator must be a comma.' : '';
      this.fail(`no column 'pixels'; found ${found}.${comma} ${mend}`);
    }
    if (emotion < 0) {
      this.fail(
        `no column 'emotion'; found ${found}. These images have no labels (Kaggle's test.csv): use train.csv or fer2013.csv.`,
      );
    }
    return { emotion, pixels, usage, count: row.length };
  }

  private readLabel(text: string): number {
    const label = /^\s*\d+\s*$/.test(text) ? Number(text) : -1;
    if (label < 0 || label >= emotions.length) {
      this.fail(`emotion is '${shorten(text)}'; expected 0 to 6 (${emotions.join(', ')}).`);
    }
    return label;
  }

  private readUsage(text: string): number {
    const usage = usageNames.findIndex((name) => name === text || name.toLowerCase() === text.trim().toLowerCase());
    if (usage < 0) this.fail(`Usage is '${shorten(text)}'; expected ${usageNames.join(', ')}.${this.truncated()}`);
    return usage;
  }

  /** The first row says how large all images are; its length tells about how many rows the file has. */
  private firstRow(text: string): RowBuffer {
    const pixelCount = text.trim().split(/\s+/).length;
    const side = Math.round(Math.sqrt(pixelCount));
    if (side * side !== pixelCount || side < smallestSide) {
      this.fail(
        `the row has ${counted(pixelCount, 'pixel')}; expected a square image of ${smallestSide}×${smallestSide} or more, 2,304 for 48×48.${this.truncated()}`,
      );
    }
    this.side = side;
    this.firstLine = this.line;
    return new RowBuffer(this.path, pixelCount, Math.min(1 << 16, Math.ceil(this.sizeBytes / (pixelCount * 2))));
  }

  /** Finds out what is wrong with a field that `parsePixels` refused. */
  private failPixels(text: string): never {
    const tokens = text.split(/\s+/).filter((token) => token !== '');
    const bad = tokens.findIndex((token) => !/^\d+$/.test(token));
    if (bad >= 0)
      this.fail(`pixel ${thousands(bad + 1)} is '${shorten(tokens[bad]!)}'; expected a whole number, 0 to 255.`);
    const large = tokens.findIndex((token) => Number(token) > 255);
    if (large >= 0) this.fail(`pixel ${thousands(large + 1)} is ${shorten(tokens[large]!)}; expected 0 to 255.`);
    const expected = `${thousands(this.side * this.side)} (${this.side}×${this.side}), as in line ${this.firstLine}`;
    this.fail(`the row has ${thousands(tokens.length)} pixels; expected ${expected}.${this.truncated()}`);
  }

  /** A hint for the errors that a file cut off in the middle of a row gives. */
  private truncated(): string {
    return endsInsideLine(this.path)
      ? ' The file does not end with a line end: if this is its last row, it is truncated; get it again.'
      : '';
  }
}

/** The text of the field in work, a byte a character, and a blank; grows to the longest. */
let bytes = Buffer.alloc(1 << 14);

/**
 * Writes whole numbers 0 to 255, separated by blanks, to `out` from `offset`. False unless there are exactly `count`.
 * The loops see 270 million characters of FER2013: bytes take half the time of charCodeAt. `text` is latin1.
 */
export function parsePixels(text: string, out: Uint8Array, offset: number, count: number): boolean {
  if (bytes.length <= text.length) bytes = Buffer.alloc(2 * text.length);
  const size = bytes.write(text, 'latin1');
  bytes[size] = BLANK + ZERO;
  const end = offset + count;
  let at = offset;
  for (let i = 0; i < size; ) {
    let value = bytes[i++]! - ZERO;
    if (isBlank(value)) continue;
    if (!isDigit(value)) return false;
    let next = bytes[i++]! - ZERO;
    for (; isDigit(next); next = bytes[i++]! - ZERO) {
      value = value * 10 + next;
      if (value > 255) return false;
    }
    if (!isBlank(next) || at === end) return false;
    out[at++] = value;
  }
  return at === end;
}

/** Characters, counted from '0'. */
const ZERO = 48;
const BLANK = 32 - ZERO;
const isDigit = (code: number): boolean => code >= 0 && code <= 9;
/** A blank, or one of \t \n \v \f \r. */
const isBlank = (code: number): boolean => code === BLANK || (code >= 9 - ZERO && code <= 13 - ZERO);

/**
 * Size in bytes; where the text starts: after UTF-8's byte order mark, if there is one, which papaparse would take for
 * the start of an unquoted field; and what ends a line: LF wherever there is one, as papaparse takes one kind of end alone and the CR
 * before LF for a blank, so that lines may end either way. null leaves it to papaparse. Throws DataError for an empty file and for one
 * whose first bytes are no text.
 */
function checkIsText(path: string): { sizeBytes: number; start: number; newline: '\n' | null } {
  const { size } = statSync(path);
  if (size === 0) throw new DataError(`${path}: the file is empty. ${mend}`);
  const head = Buffer.alloc(Math.min(size, 4096));
  const file = openSync(path, 'r');
  try {
    readSync(file, head, 0, head.length, 0);
  } finally {
    closeSync(file);
  }
  const is = (...bytes: number[]) => bytes.every((byte, i) => head[i] === byte);
  if (is(0x50, 0x4b, 3, 4) || is(0x1f, 0x8b))
    throw new DataError(`${path}: a compressed archive. Unpack it and give the CSV or the folder in it.`);
  if (is(0xff, 0xfe) || is(0xfe, 0xff)) throw new DataError(`${path}: UTF-16 text. Save it as UTF-8 or plain ASCII.`);
  if (is(0x89, 0x50, 0x4e, 0x47) || is(0xff, 0xd8, 0xff)) {
    throw new DataError(`${path}: a single image. Give a folder of class folders of images, or a FER2013 CSV.`);
  }
  if (head.includes(0)) throw new DataError(`${path}: not a CSV (it holds binary data). ${mend}`);
  return { sizeBytes: size, start: is(0xef, 0xbb, 0xbf) ? 3 : 0, newline: head.includes(0x0a) ? '\n' : null };
}

function endsInsideLine(path: string): boolean {
  const { size } = statSync(path);
  const last = Buffer.alloc(1);
  const file = openSync(path, 'r');
  try {
    readSync(file, last, 0, 1, size - 1);
  } finally {
    closeSync(file);
  }
  return last[0] !== 0x0a && last[0] !== 0x0d;
}

/** 'fer2013.csv:1234' */
export const sourceOfLine = (path: string, line: number): string => `${basename(path)}:${line}`;

/** The start of a field for a message: from the bytes of UTF-8, with control characters as \x00. */
function shorten(field: string): string {
  const text = Buffer.from(field.slice(0, 100), 'latin1').toString();
  const start = text.length > 24 ? `${text.slice(0, 24)}…` : text;
  return start.replace(/\p{Cc}/gu, (control) => `\\x${control.charCodeAt(0).toString(16).padStart(2, '0')}`);
}
