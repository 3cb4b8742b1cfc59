import { Float16Array } from '@petamoriken/float16';
import { DataError, ShapeError } from '../core/errors.ts';
import { isCount, isRecord } from '../core/json.ts';
import { writeFileAtomic } from '../data/atomic.ts';
import { formatOf } from '../data/image.ts';
import { readStart, readWholeFile } from '../data/wholefile.ts';

/** What a tensor of a file may hold. F16 and BF16 are kept as their 16 bits; `toF32` widens them. */
export type FileDtype = 'F32' | 'F16' | 'BF16' | 'I64' | 'I32' | 'U32' | 'U8';

/** The values of one tensor, row-major. */
export type FileData = Float32Array | BigInt64Array | Int32Array | Uint32Array | Uint16Array | Uint8Array;

/** A named tensor as it lies in a file: type, shape, values. */
export interface FileTensor {
  dtype: FileDtype;
  shape: number[];
  data: FileData;
}

/** What a file holds: tensors in the order of its header, and its `__metadata__`. */
export interface TensorFile {
  tensors: Map<string, FileTensor>;
  metadata: Record<string, string>;
}

// Typed arrays read and write in the machine's byte order. The format's is little-endian, as is every machine that
// Dawn runs on.
const arrays = {
  F32: Float32Array,
  F16: Uint16Array,
  BF16: Uint16Array,
  I64: BigInt64Array,
  I32: Int32Array,
  U32: Uint32Array,
  U8: Uint8Array,
} as const;

const MEND = 'Get the file again, or give another.';
const maxHeaderBytes = 100_000_000;
const prefixBytes = 8;

/**
 * Lays tensors out as a safetensors file: 8 bytes of header length, a JSON header, the values without a hole.
 *
 * Returns the chunks to write in turn; they are views of the tensors' own memory. Wider types come first, each kind in
 * the map's order, so that every tensor is aligned to its type and a reader needs no copy. Throws ShapeError for values
 * that are not what type and shape say. Format: github.com/huggingface/safetensors, README.
 */
export function encodeSafetensors(
  tensors: ReadonlyMap<string, FileTensor>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array[] {
  const width = (tensor: FileTensor) => arrays[tensor.dtype].BYTES_PER_ELEMENT;
  const ordered = [...tensors].sort(([, a], [, b]) => width(b) - width(a));

  const header: [string, unknown][] = [];
  if (Object.keys(metadata).length > 0) header.push(['__metadata__', metadata]);
  const values: Uint8Array[] = [];
  let at = 0;
  for (const [name, { dtype, shape, data }] of ordered) {
    if (name === '__metadata__') throw new ShapeError('safetensors: no tensor can be called __metadata__.');
    const expected = shape.reduce((product, size) => product * size, 1);
    if (!(data instanceof arrays[dtype]) || data.length !== expected) {
      const found = `${data.length} values in a ${data.constructor.name}`;
      throw new ShapeError(`safetensors: ${name} is ${dtype} [${shape}], ${expected} values, but was given ${found}.`);
    }
    header.push([name, { dtype, shape, data_offsets: [at, at + data.byteLength] }]);
    values.push(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    at += data.byteLength;
  }

  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(header)));
  const headerBytes = Math.ceil(json.byteLength / 8) * 8;
  const head = new Uint8Array(prefixBytes + headerBytes).fill(0x20);
  new DataView(head.buffer).setBigUint64(0, BigInt(headerBytes), true);
  head.set(json, prefixBytes);
  return [head, ...values];
}

/**
 * Reads a safetensors file that is in memory; `file` names it in errors, which `mend` ends.
 *
 * Nothing in the bytes is trusted: header length, JSON, names, types, shapes and offsets are checked before use, and
 * the tensors must cover the rest of the file, each byte once. Values are views of `bytes` where they are aligned.
 * Throws DataError that says what is wrong.
 */
export function decodeSafetensors(bytes: Uint8Array, file: string, mend = MEND): TensorFile {
  const fail = failure(file, mend);
  const header = parseHeader(bytes, fail);
  const dataStart = prefixBytes + header.bytes;
  const dataBytes = bytes.byteLength - dataStart;

  let metadata: Record<string, string> = {};
  const entries: { name: string; info: TensorInfo }[] = [];
  for (const [name, value] of Object.entries(header.json)) {
    if (name === '__metadata__') metadata = checkMetadata(value, fail);
    else entries.push({ name, info: checkInfo(name, value, dataBytes, fail) });
  }
  checkCover(entries, dataBytes, fail);

  const tensors = new Map<string, FileTensor>();
  for (const { name, info } of entries) {
    const { dtype, shape, begin, end } = info;
    const Values = arrays[dtype];
    const length = (end - begin) / Values.BYTES_PER_ELEMENT;
    const start = bytes.byteOffset + dataStart + begin;
    const aligned = start % Values.BYTES_PER_ELEMENT === 0;
    // A Buffer's own slice would be a view, no nearer to alignment.
    const copy = () => Uint8Array.from(bytes.subarray(dataStart + begin, dataStart + end));
    const data = aligned ? new Values(bytes.buffer as ArrayBuffer, start, length) : new Values(copy().buffer);
    tensors.set(name, { dtype, shape, data });
  }
  return { tensors, metadata };
}

/** Writes a safetensors file, whole or not at all. Throws ShapeError, or what the file system throws. */
export function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, FileTensor>,
  metadata: Readonly<Record<string, string>> = {},
): void {
  writeFileAtomic(path, encodeSafetensors(tensors, metadata));
}

/** Reads a safetensors file. Throws DataError where it is missing, unreadable or, `mend` ends that, not what the format says. */
export function readSafetensors(path: string, mend?: string): TensorFile {
  const bytes = reading(path, () => readWholeFile(path));
  return decodeSafetensors(bytes, path, mend);
}

/** What `read` gives. Throws DataError in words where it cannot read. */
function reading<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const reasons: Record<string, string> = {
      ENOENT: 'no such file. Check the path.',
      EISDIR: 'is a folder. Name the .safetensors file in it.',
      EACCES: 'may not be read. Give yourself the right to, or name another.',
    };
    throw new DataError(`${path}: ${reasons[code ?? ''] ?? `cannot be read (${message}). ${MEND}`}`);
  }
}

/** What a safetensors file says beside its tensors, which are not read. Throws as `readSafetensors` does. */
export function readMetadata(path: string): Record<string, string> {
  const fail = failure(path);
  const start = reading(path, () => readStart(path, prefixBytes));
  const declared = start.byteLength < prefixBytes ? 0 : Number(new DataView(start.buffer).getBigUint64(0, true));
  const headerBytes = Math.min(declared, maxHeaderBytes);
  const { json } = parseHeader(
    reading(path, () => readStart(path, prefixBytes + headerBytes)),
    fail,
  );
  return json.__metadata__ === undefined ? {} : checkMetadata(json.__metadata__, fail);
}

/**
 * The values of a tensor as f32: exact for F32 (the same memory), F16, BF16 and U8; rounded for integers past 2²⁴.
 */
export function toF32({ dtype, data }: FileTensor): Float32Array {
  if (data instanceof Float32Array) return data;
  if (data instanceof BigInt64Array) return Float32Array.from(data, Number);
  if (dtype === 'F16') return Float32Array.from(new Float16Array(data.buffer, data.byteOffset, data.length));
  if (dtype === 'BF16') {
    // A bfloat16 is the upper half of an f32.
    return new Float32Array(Uint32Array.from(data, (bits) => bits << 16).buffer);
  }
  return Float32Array.from(data);
}

interface TensorInfo {
  dtype: FileDtype;
  shape: number[];
  begin: number;
  end: number;
}

type Fail = (what: string) => never;

const failure =
  (file: string, mend = MEND): Fail =>
  (what) => {
    throw new DataError(`${file}: ${what} ${mend}`);
  };

/** A name from a file, safe in a one-line message. */
const quote = (name: string): string => JSON.stringify(name.length > 80 ? `${name.slice(0, 80)}…` : name);

function parseHeader(bytes: Uint8Array, fail: Fail): { json: Record<string, unknown>; bytes: number } {
  if (bytes.byteLength === 0) fail('is empty, not a safetensors file.');
  if (bytes[0] === 0x50 && bytes[1] === 0x4b && bytes[2] === 3 && bytes[3] === 4) {
    fail("is a zip archive, as PyTorch's .pth files are, not a safetensors file.");
  }
  if (bytes.byteLength < prefixBytes) {
    fail(
      `has ${bytes.byteLength} bytes; a safetensors file begins with 8 bytes of header length. It is cut short, or something else.`,
    );
  }
  const declared = new DataView(bytes.buffer, bytes.byteOffset, prefixBytes).getBigUint64(0, true);
  if (declared > BigInt(maxHeaderBytes)) {
    const format = formatOf(bytes);
    if (format !== null) fail(`a ${format} file, not a safetensors file.`);
    fail(`its first 8 bytes give a header of ${declared} bytes, above the format's 100 MB: not a safetensors file.`);
  }
  const headerBytes = Number(declared);
  if (prefixBytes + headerBytes > bytes.byteLength) {
    fail(`has ${bytes.byteLength} bytes, but its header alone needs ${prefixBytes + headerBytes}. It is cut short.`);
  }
  const raw = bytes.subarray(prefixBytes, prefixBytes + headerBytes);
  if (raw[0] !== 0x7b) fail('its header does not begin with "{": not a safetensors file.');
  let text = '';
  let json: unknown;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(raw);
    json = JSON.parse(text);
  } catch {
    fail('its header is not valid JSON: the file is damaged, or no safetensors file.');
  }
  if (!isRecord(json)) return fail('its header is not a JSON object.');
  const twice = duplicateKey(text);
  if (twice !== undefined) fail(`its header has the key ${quote(twice)} twice.`);
  return { json, bytes: headerBytes };
}

/** The first key that an object of valid JSON text holds twice: JSON.parse drops the earlier one without a word. */
function duplicateKey(text: string): string | undefined {
  const objects: Set<string>[] = [];
  let lastString = '';
  // A loop, since a regular expression overflows the stack on a string of millions of characters.
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    if (character === '"') {
      const start = at++;
      while (text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
      lastString = text.slice(start, at + 1);
    } else if (character === '{') {
      objects.push(new Set());
    } else if (character === '}') {
      objects.pop();
    } else if (character === ':') {
      const key = JSON.parse(lastString) as string;
      const keys = objects.at(-1)!;
      if (keys.has(key)) return key;
      keys.add(key);
    }
  }
  return undefined;
}

function checkMetadata(value: unknown, fail: Fail): Record<string, string> {
  if (!isRecord(value)) return fail('its __metadata__ is not an object of strings.');
  for (const [key, entry] of Object.entries(value)) {
    if (typeof entry !== 'string') fail(`its __metadata__ has a ${quote(key)} that is not a string.`);
  }
  return value as Record<string, string>;
}

function checkInfo(name: string, value: unknown, dataBytes: number, fail: Fail): TensorInfo {
  const tensor = `tensor ${quote(name)}`;
  if (!isRecord(value)) return fail(`${tensor} is not described by an object.`);
  const { dtype, shape, data_offsets: offsets } = value;
  if (typeof dtype !== 'string') return fail(`${tensor} has no dtype.`);
  if (!Object.hasOwn(arrays, dtype)) {
    return fail(`${tensor} has dtype ${quote(dtype)}; supported are ${Object.keys(arrays).join(', ')}.`);
  }
  if (!Array.isArray(shape) || !shape.every(isCount)) {
    return fail(`${tensor} has a shape that is not a list of whole numbers from 0.`);
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    return fail(`${tensor} has data_offsets that are not two whole numbers from 0.`);
  }
  const [begin, end] = offsets as [number, number];
  if (begin > end) fail(`${tensor} ends at byte ${end}, before it begins at byte ${begin}.`);
  if (end > dataBytes) {
    fail(`${tensor} ends at byte ${end} of the data, but the file has ${dataBytes} bytes of it. It is cut short.`);
  }
  const known = dtype as FileDtype;
  const expected = shape.reduce((product: number, size: number) => product * size, arrays[known].BYTES_PER_ELEMENT);
  if (end - begin !== expected) {
    const described = shape.length > 8 ? `${shape.length} dimensions` : `[${shape.join(', ')}]`;
    fail(`${tensor} is ${known} ${described}, ${expected} bytes, but its data_offsets span ${end - begin}.`);
  }
  return { dtype: known, shape: shape as number[], begin, end };
}

/** Every byte of the data belongs to exactly one tensor: nothing overlaps, nothing is hidden between. */
function checkCover(entries: readonly { name: string; info: TensorInfo }[], dataBytes: number, fail: Fail): void {
  const sorted = [...entries].sort((a, b) => a.info.begin - b.info.begin || a.info.end - b.info.end);
  let covered = 0;
  for (const { name, info } of sorted) {
    if (info.begin < covered) fail(`tensor ${quote(name)} overlaps the one before it at byte ${info.begin}.`);
    if (info.begin > covered) {
      fail(`bytes ${covered} to ${info.begin} of the data, before tensor ${quote(name)}, belong to no tensor.`);
    }
    covered = info.end;
  }
  if (covered !== dataBytes) fail(`has ${dataBytes - covered} bytes after its last tensor that belong to none.`);
}
