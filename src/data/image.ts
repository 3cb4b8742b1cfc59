import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { constants, deflateSync, gzipSync, type Inflate, inflateSync } from 'node:zlib';
import * as jsquash from '@jsquash/jpeg/decode.js';
import { PNG } from 'pngjs';
import { DataError } from '../core/errors.ts';

/** A decoded picture: u8, rows from the top, channels last. */
export interface Image {
  /** [height, width, channels] */
  pixels: Uint8Array;
  width: number;
  height: number;
  channels: 1 | 3;
}

/** 64 megapixels: 256 MB decoded to RGBA, of 16 bits a channel twice that. A header that claims more is refused before memory is taken. */
const largestArea = 64e6;

/**
 * Decodes a PNG (gray, RGB, RGBA, palette, 1 to 16 bit, interlaced) or a JPEG (baseline or progressive, gray or colour,
 * turned upright by its EXIF orientation), told apart by content.
 *
 * Transparent pixels are composited on white, as viewers show them; 16-bit values are rounded to 8. A picture whose
 * pixels are all gray comes back with one channel. Throws DataError, beginning with `name`, for everything else: other
 * formats, truncated or damaged files, CMYK. What follows a picture's end is passed over.
 */
export async function decodeImage(bytes: Uint8Array, name: string): Promise<Image> {
  const format = formatOf(bytes);
  if (format === 'PNG') return fromRgba(decodePng(bytes, name));
  if (format === 'JPEG') return fromRgba(await decodeJpeg(bytes, name));
  if (bytes.length === 0) throw new DataError(`${name}: the file is empty; expected a PNG or JPEG image.`);
  if (format !== null) throw new DataError(`${name}: a ${format} file; expected PNG or JPEG. Convert it.`);
  throw new DataError(`${name}: no image; expected PNG or JPEG. Remove the file or replace it.`);
}

const signatures: [format: string, offset: number, bytes: number[]][] = [
  ['PNG', 0, [0x89, 0x50, 0x4e, 0x47]],
  ['JPEG', 0, [0xff, 0xd8, 0xff]],
  ['GIF', 0, [0x47, 0x49, 0x46, 0x38]],
  ['WebP', 8, [0x57, 0x45, 0x42, 0x50]],
  ['BMP', 0, [0x42, 0x4d]],
  ['TIFF', 0, [0x49, 0x49, 0x2a, 0x00]],
  ['TIFF', 0, [0x4d, 0x4d, 0x00, 0x2a]],
  ['HEIC or AVIF', 4, [0x66, 0x74, 0x79, 0x70]],
  ['PDF', 0, [0x25, 0x50, 0x44, 0x46]],
];

/** The format of an image or document by its first bytes, or null. */
export function formatOf(bytes: Uint8Array): string | null {
  const match = signatures.find(([, offset, expected]) => expected.every((byte, i) => bytes[offset + i] === byte));
  return match ? match[0] : null;
}

interface Rgba {
  data: Uint8Array | Uint8ClampedArray;
  width: number;
  height: number;
}

function decodePng(bytes: Uint8Array, name: string): Rgba {
  const damaged = (what: string) => new DataError(`${name}: a damaged PNG (${what}). Get the file again or remove it.`);
  const { png, head, data } = scanPng(bytes, name);
  if (png.toString('latin1', 12, 16) !== 'IHDR') throw damaged('its header is not at its start');
  const [width, height, depth, colourType] = [png.readUInt32BE(16), png.readUInt32BE(20), png[24]!, png[25]!];
  checkArea(width, height, name);
  const kind = pngKinds[colourType];
  if (!kind?.depths.includes(depth)) throw damaged(`${depth} bits of colour type ${colourType}`);
  if (png[28]! > 1) throw damaged(`interlace method ${png[28]}`);
  const size = bytesOfLines(width, height, depth * kind.channels, png[28] === 1);
  try {
    const limits = { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength: size + largestExcess };
    // Node's types leave out what `info` makes of the result.
    const inflated: unknown = inflateSync(data, { ...limits, info: true });
    const { buffer: lines, engine } = inflated as { buffer: Buffer; engine: Inflate };
    if (lines.length < size) throw new Error(`${lines.length} bytes of pixels; expected ${size}`);
    if (lines.length === size && engine.bytesWritten === data.length) return PNG.sync.read(png);
    // Other readers leave what is too much. pngjs does not, and what is too little it fills up with old memory.
    const cut = deflateSync(lines.subarray(0, size));
    return PNG.sync.read(Buffer.concat([head, pngChunk('IDAT', cut), pngChunk('IEND', Buffer.alloc(0))]));
  } catch (error) {
    throw damaged((error as Error).message);
  }
}

/** Bytes of scan lines beyond the picture that are left aside; of more, which might fill the memory, the file is refused. */
const largestExcess = 1 << 20;

/**
 * Walks a PNG's chunks (length, type, data, CRC) to its end: the file up to there, what comes before its picture and
 * the compressed scan lines. PNG specification, 3rd edition, §5. Throws DataError where the file ends early.
 */
function scanPng(bytes: Uint8Array, name: string): { png: Buffer; head: Buffer; data: Buffer } {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let head = buffer;
  const data: Buffer[] = [];
  for (let at = 8; at + 12 <= buffer.length; ) {
    const type = buffer.toString('latin1', at + 4, at + 8);
    const end = at + 12 + buffer.readUInt32BE(at);
    if (type === 'IDAT') {
      if (data.length === 0) head = buffer.subarray(0, at);
      data.push(buffer.subarray(at + 8, end - 4));
    }
    if (type === 'IEND') return { png: buffer.subarray(0, end), head, data: Buffer.concat(data) };
    at = end;
  }
  throw new DataError(`${name}: a truncated PNG (its end is missing). Get the file again.`);
}

function pngChunk(type: string, data: Buffer): Buffer {
  const typed = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(data.length);
  // The CRC is gzip's, which ends in it; zlib's own crc32 came with Node 20.15.
  return Buffer.concat([length, typed, gzipSync(typed, { level: 0 }).subarray(-8, -4).reverse()]);
}

/** Channels, and bits of each, by colour type: gray, RGB, palette, gray and alpha, RGBA (§11.2.1). */
const pngKinds: Record<number, { channels: number; depths: readonly number[] }> = {
  0: { channels: 1, depths: [1, 2, 4, 8, 16] },
  2: { channels: 3, depths: [8, 16] },
  3: { channels: 1, depths: [1, 2, 4, 8] },
  4: { channels: 2, depths: [8, 16] },
  6: { channels: 4, depths: [8, 16] },
};

/** First column and row, and the steps to the next ones, of the seven passes of an interlaced picture (§8.2). */
const adam7: [left: number, top: number, across: number, down: number][] = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
];

/** Scan lines before compression: Σ over passes of rows · (1 + ⌈columns · bits / 8⌉); a line begins with its filter. */
function bytesOfLines(width: number, height: number, bits: number, isInterlaced: boolean): number {
  let sum = 0;
  for (const [left, top, across, down] of isInterlaced ? adam7 : [[0, 0, 1, 1] as const]) {
    const columns = Math.ceil((width - left) / across);
    const rows = Math.ceil((height - top) / down);
    if (columns > 0 && rows > 0) sum += rows * (1 + Math.ceil((columns * bits) / 8));
  }
  return sum;
}

interface JpegCodec {
  init(wasm: object, options: { print(text: string): void; printErr(text: string): void }): Promise<void>;
  default(bytes: ArrayBuffer, options: { preserveOrientation: boolean }): Promise<Rgba>;
}

// The package's own types leave out `init`'s two-argument form, and WebAssembly's types are the browser's.
const jpegCodec = jsquash as unknown as JpegCodec;
const { WebAssembly } = globalThis as unknown as { WebAssembly: { Module: new (bytes: Uint8Array) => object } };

/** What the decoder complains about while it goes on: libjpeg fills what it cannot read with gray. */
let jpegComplaints: string[] = [];
let jpegProgram: object | null = null;
let jpegReady: Promise<void> | null = null;

function startJpegCodec(): Promise<void> {
  if (jpegProgram === null) {
    // Node's fetch knows no file: URLs, hence the module is compiled here.
    const path = createRequire(import.meta.url).resolve('@jsquash/jpeg/codec/dec/mozjpeg_dec.wasm');
    jpegProgram = new WebAssembly.Module(readFileSync(path));
  }
  const note = (text: string) => jpegComplaints.push(text);
  return jpegCodec.init(jpegProgram, { print: note, printErr: note });
}

/** The JPEG before: the decoder's complaints are those of one picture at a time. */
let jpegBefore: Promise<unknown> = Promise.resolve();

function decodeJpeg(bytes: Uint8Array, name: string): Promise<Rgba> {
  const decoded = jpegBefore.then(() => decodeNextJpeg(bytes, name));
  jpegBefore = decoded.then(
    () => {},
    () => {},
  );
  return decoded;
}

async function decodeNextJpeg(bytes: Uint8Array, name: string): Promise<Rgba> {
  const { width, height, components } = scanJpeg(bytes, name);
  checkArea(width, height, name);
  if (components === 4) throw new DataError(`${name}: a CMYK JPEG; expected gray or RGB. Convert it.`);
  jpegReady ??= startJpegCodec();
  await jpegReady;
  jpegComplaints = [];
  let image: Rgba | null = null;
  try {
    // A copy, as the decoder takes all of an ArrayBuffer and `bytes` may be part of one. Not slice(): a Buffer's is a view.
    image = await jpegCodec.default(new Uint8Array(bytes).buffer, { preserveOrientation: true });
  } catch (error) {
    // The codec has left its own program by exit(): the next picture gets a new instance.
    jpegReady = null;
    jpegComplaints.push((error as Error).message);
  }
  const complaint = jpegComplaints[0];
  if (image === null || complaint !== undefined) {
    throw new DataError(
      `${name}: a damaged JPEG (${complaint ?? 'nothing decoded'}). Get the file again or remove it.`,
    );
  }
  return image;
}

/**
 * Walks a JPEG's segments to its end: size and components from the frame header, and whether the end is there at all.
 * ITU T.81 annex B. Throws DataError where the file ends early.
 */
function scanJpeg(bytes: Uint8Array, name: string): { width: number; height: number; components: number } {
  const truncated = () => new DataError(`${name}: a truncated JPEG (its end is missing). Get the file again.`);
  let frame: { width: number; height: number; components: number } | null = null;
  let at = 2;
  for (;;) {
    // Markers are 0xff and a code; fill bytes may stand before them, and after a scan header the coded picture.
    while (at < bytes.length && !(bytes[at] === 0xff && bytes[at + 1] !== 0xff && bytes[at + 1] !== 0)) at++;
    const code = bytes[at + 1];
    if (code === undefined) throw truncated();
    at += 2;
    if (code === 0xd9) break;
    if (code === 0x01 || (code >= 0xd0 && code <= 0xd7)) continue;
    const size = bytes[at + 1] === undefined ? 0 : bytes[at]! * 256 + bytes[at + 1]!;
    if (size < 2 || at + size > bytes.length) throw truncated();
    const isFrame = code >= 0xc0 && code <= 0xcf && code !== 0xc4 && code !== 0xc8 && code !== 0xcc;
    if (isFrame && size >= 8) {
      const height = bytes[at + 3]! * 256 + bytes[at + 4]!;
      frame = { height, width: bytes[at + 5]! * 256 + bytes[at + 6]!, components: bytes[at + 7]! };
    }
    at += size;
  }
  if (frame === null)
    throw new DataError(`${name}: a damaged JPEG (no frame header). Get the file again or remove it.`);
  return frame;
}

function checkArea(width: number, height: number, name: string): void {
  if (width === 0 || height === 0)
    throw new DataError(`${name}: a damaged image (${width}×${height} pixels). Get the file again.`);
  if (width * height > largestArea) {
    throw new DataError(`${name}: ${width}×${height} pixels; expected at most 64 megapixels. Make it smaller.`);
  }
}

/** Composites on white and drops what is not there: alpha, and two of three equal channels. */
function fromRgba({ data, width, height }: Rgba): Image {
  const area = width * height;
  const rgb = new Uint8Array(area * 3);
  let isGray = true;
  for (let i = 0; i < area; i++) {
    const alpha = data[i * 4 + 3]!;
    for (let c = 0; c < 3; c++) {
      const value = data[i * 4 + c]!;
      rgb[i * 3 + c] = alpha === 255 ? value : Math.round((value * alpha + 255 * (255 - alpha)) / 255);
    }
    isGray &&= rgb[i * 3] === rgb[i * 3 + 1] && rgb[i * 3] === rgb[i * 3 + 2];
  }
  const image: Image = { pixels: rgb, width, height, channels: 3 };
  return isGray ? toGray(image) : image;
}

/** Luma after ITU-R BT.601, in PIL's fixed-point form: (19595 R + 38470 G + 7471 B + 2¹⁵) / 2¹⁶. Gray in, gray out. */
export function toGray(image: Image): Image {
  const { pixels, width, height, channels } = image;
  if (channels === 1) return image;
  const gray = new Uint8Array(width * height);
  for (let i = 0; i < gray.length; i++) {
    gray[i] = (pixels[i * 3]! * 19595 + pixels[i * 3 + 1]! * 38470 + pixels[i * 3 + 2]! * 7471 + 0x8000) >> 16;
  }
  return { pixels: gray, width, height, channels: 1 };
}

/** Repeats gray into three channels. Colour in, colour out. */
export function toRgb(image: Image): Image {
  const { pixels, width, height, channels } = image;
  if (channels === 3) return image;
  const rgb = new Uint8Array(width * height * 3);
  for (let i = 0; i < rgb.length; i++) rgb[i] = pixels[Math.floor(i / 3)]!;
  return { pixels: rgb, width, height, channels: 3 };
}

/** The largest square in the middle. Faces keep their proportions, which squeezing to a square would not leave them. */
export function cropSquare(image: Image): Image {
  const { pixels, width, height, channels } = image;
  if (width === height) return image;
  const side = Math.min(width, height);
  const left = (width - side) >> 1;
  const top = (height - side) >> 1;
  const out = new Uint8Array(side * side * channels);
  for (let y = 0; y < side; y++) {
    const from = ((top + y) * width + left) * channels;
    out.set(pixels.subarray(from, from + side * channels), y * side * channels);
  }
  return { pixels: out, width: side, height: side, channels };
}

/**
 * Resizes by a triangle filter: bilinear when growing, and as wide as the shrinking when shrinking, so that nothing
 * aliases. out[i] = Σ w(j) in[j] / Σ w(j), w(j) = max(0, 1 − |j + ½ − (i + ½)·s| / max(1, s)), s = in / out, per axis.
 *
 * PIL's `BILINEAR`, and torchvision's with `antialias=True`.
 */
export function resizeImage(image: Image, width: number, height: number): Image {
  const { channels } = image;
  if (image.width === width && image.height === height) return image;
  const across = triangleFilter(image.width, width);
  const down = triangleFilter(image.height, height);
  const narrow = new Float64Array(image.height * width * channels);
  for (let y = 0; y < image.height; y++) {
    for (let x = 0; x < width; x++) {
      const { first, weights } = across[x]!;
      for (let c = 0; c < channels; c++) {
        let sum = 0;
        for (let j = 0; j < weights.length; j++) {
          sum += weights[j]! * image.pixels[(y * image.width + first + j) * channels + c]!;
        }
        narrow[(y * width + x) * channels + c] = sum;
      }
    }
  }
  const pixels = new Uint8Array(height * width * channels);
  const rowSize = width * channels;
  for (let y = 0; y < height; y++) {
    const { first, weights } = down[y]!;
    for (let i = 0; i < rowSize; i++) {
      let sum = 0;
      for (let j = 0; j < weights.length; j++) sum += weights[j]! * narrow[(first + j) * rowSize + i]!;
      pixels[y * rowSize + i] = Math.min(255, Math.max(0, Math.round(sum)));
    }
  }
  return { pixels, width, height, channels };
}

function triangleFilter(from: number, to: number): { first: number; weights: number[] }[] {
  const scale = from / to;
  const support = Math.max(1, scale);
  return Array.from({ length: to }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - support + 0.5));
    const last = Math.min(from, Math.floor(centre + support + 0.5));
    const weights: number[] = [];
    for (let j = first; j < last; j++) weights.push(Math.max(0, 1 - Math.abs(j + 0.5 - centre) / support));
    const sum = weights.reduce((a, b) => a + b, 0);
    return { first, weights: weights.map((weight) => weight / sum) };
  });
}
