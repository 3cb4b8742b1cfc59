import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { DataError, ShapeError } from '../src/core/errors.ts';
import {
  decodeSafetensors,
  encodeSafetensors,
  type FileTensor,
  readSafetensors,
  toF32,
  writeSafetensors,
} from '../src/train/safetensors.ts';

const folder = mkdtempSync(join(tmpdir(), 'dawngrad-safetensors-'));
test.after(() => rmSync(folder, { recursive: true }));

const joined = (chunks: readonly Uint8Array[]) => new Uint8Array(Buffer.concat(chunks));

const bytesOf = ({ buffer, byteOffset, byteLength }: FileTensor['data']) =>
  new Uint8Array(buffer, byteOffset, byteLength).slice();

/** A file from header text and a number of data bytes, as an attacker would write it. */
function forge(header: string | object, dataBytes = 0, declared?: bigint): Uint8Array {
  const json = new TextEncoder().encode(typeof header === 'string' ? header : JSON.stringify(header));
  const file = new Uint8Array(8 + json.length + dataBytes);
  new DataView(file.buffer).setBigUint64(0, declared ?? BigInt(json.length), true);
  file.set(json, 8);
  return file;
}

function refused(bytes: Uint8Array): string {
  try {
    decodeSafetensors(bytes, 'bad.safetensors');
  } catch (error) {
    assert.instance(error, DataError);
    const { message } = error as Error;
    assert.ok(message.startsWith('bad.safetensors: '), message);
    assert.not.ok(message.includes('\n'), message);
    assert.ok(message.length < 300, message);
    return message;
  }
  throw new Error('decodeSafetensors accepted the file');
}

const sample = (): Map<string, FileTensor> =>
  new Map<string, FileTensor>([
    ['bytes', { dtype: 'U8', shape: [3], data: new Uint8Array([1, 2, 255]) }],
    ['weight', { dtype: 'F32', shape: [2, 3], data: new Float32Array([0, -0, 1.5, Number.NaN, Infinity, 3e-45]) }],
    ['half', { dtype: 'F16', shape: [2], data: new Uint16Array([0x3c00, 0xc000]) }],
    ['num_batches_tracked', { dtype: 'I64', shape: [], data: new BigInt64Array([-(2n ** 40n)]) }],
    ['none', { dtype: 'F32', shape: [0, 4], data: new Float32Array(0) }],
    ['signed', { dtype: 'I32', shape: [1, 2], data: new Int32Array([-7, 7]) }],
    ['unsigned', { dtype: 'U32', shape: [1], data: new Uint32Array([0xffffffff]) }],
  ]);

test('a header of any length is read from disk, as other programs write it', () => {
  const path = join(folder, 'unaligned.safetensors');
  for (let spaces = 0; spaces < 4; spaces++) {
    const header = `{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}${' '.repeat(spaces)}`;
    const file = forge(header, 4);
    file.set(new Uint8Array(Float32Array.of(1.5).buffer), file.length - 4);
    writeFileSync(path, file);
    assert.equal(readSafetensors(path).tensors.get('w')!.data, Float32Array.of(1.5));
  }
});

test('every type returns from a file bit for bit, with its metadata', () => {
  const path = join(folder, 'all.safetensors');
  writeSafetensors(path, sample(), { arch: 'vgg16_bn', classes: '["a","ü"]' });
  const { tensors, metadata } = readSafetensors(path);
  assert.equal(metadata, { arch: 'vgg16_bn', classes: '["a","ü"]' });
  assert.equal(new Set(tensors.keys()), new Set(sample().keys()));
  for (const [name, { dtype, shape, data }] of sample()) {
    const read = tensors.get(name)!;
    assert.equal([read.dtype, read.shape], [dtype, shape], name);
    assert.is(read.data.constructor, data.constructor, name);
    // As bytes, since −0 and the bits of a NaN count too.
    assert.equal(bytesOf(read.data), bytesOf(data), name);
  }
});

test('the bytes are what the format says', () => {
  const file = joined(encodeSafetensors(new Map([['a', { dtype: 'U8', shape: [2], data: new Uint8Array([7, 8]) }]])));
  const header = '{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}'.padEnd(56, ' ');
  assert.equal(Buffer.from(file).toString('latin1'), `\x38\0\0\0\0\0\0\0${header}\x07\x08`);
  assert.equal(joined(encodeSafetensors(sample())), joined(encodeSafetensors(sample())));
});

test('a tensor of any type starts at a multiple of its width, so that it is read without a copy', () => {
  const file = joined(encodeSafetensors(sample()));
  for (const [name, { data }] of decodeSafetensors(file, 'x').tensors) assert.is(data.buffer, file.buffer, name);
});

test('a file whose data is not aligned, in a view that is not either, reads the same', () => {
  const forged = forge('{"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]} }', 8);
  forged[forged.length - 8] = 5;
  const shifted = new Uint8Array(forged.length + 3).subarray(3);
  shifted.set(forged);
  assert.equal(decodeSafetensors(shifted, 'x').tensors.get('a')!.data, new BigInt64Array([5n]));
});

test('a view of a larger array is written alone', () => {
  const data = new Float32Array([9, 1, 2, 9]).subarray(1, 3);
  const file = joined(encodeSafetensors(new Map([['a', { dtype: 'F32', shape: [2], data }]])));
  assert.equal(decodeSafetensors(file, 'x').tensors.get('a')!.data, new Float32Array([1, 2]));
});

test('no tensors, odd names and a name of JavaScript’s own are fine', () => {
  assert.is(decodeSafetensors(forge('{}'), 'x').tensors.size, 0);
  assert.is(decodeSafetensors(forge('{"__metadata__":{}}      '), 'x').tensors.size, 0);
  for (const name of ['', '0', '__proto__', 'constructor', 'a"\\:{}', 'ü\u0000']) {
    const file = joined(encodeSafetensors(new Map([[name, { dtype: 'U8', shape: [], data: new Uint8Array(1) }]])));
    assert.equal([...decodeSafetensors(file, 'x').tensors.keys()], [name]);
  }
});

test('values become f32', () => {
  const f16 = new Uint16Array([0x3c00, 0xc000, 0x0001, 0x03ff, 0x0400, 0x7bff, 0x7c00, 0xfc00, 0x7e00, 0x3555]);
  const widened = [1, -2, 2 ** -24, 1023 * 2 ** -24, 2 ** -14, 65504, Infinity, -Infinity, NaN, 1365 / 4096];
  assert.equal([...toF32({ dtype: 'F16', shape: [10], data: f16 })], widened);
  assert.ok(Object.is(toF32({ dtype: 'F16', shape: [1], data: new Uint16Array([0x8000]) })[0], -0));
  const bf16 = new Uint16Array([0x3f80, 0xc000, 0x7f80, 0x3f81, 0x0001]);
  assert.equal([...toF32({ dtype: 'BF16', shape: [5], data: bf16 })], [1, -2, Infinity, 1.0078125, 2 ** -133]);
  assert.equal([...toF32({ dtype: 'I64', shape: [2], data: new BigInt64Array([-3n, 4n]) })], [-3, 4]);
  assert.equal([...toF32({ dtype: 'U8', shape: [1], data: new Uint8Array([255]) })], [255]);
  const same = new Float32Array([1]);
  assert.is(toF32({ dtype: 'F32', shape: [1], data: same }), same);
});

const tensor = (begin: unknown, end: unknown, shape: unknown = [1], dtype: unknown = 'F32') => ({
  dtype,
  shape,
  data_offsets: [begin, end],
});

test('hostile files are refused in one line', () => {
  const cases: [RegExp, Uint8Array][] = [
    [/empty/, new Uint8Array(0)],
    [/has 5 bytes.*cut short/, new Uint8Array(5)],
    [/: a PNG file, not a safetensors file/, Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0)],
    [/zip archive/, new TextEncoder().encode('PK\x03\x04 and so on, a .pth')],
    [/header of 18446744073709551615 bytes/, forge('{}', 0, 2n ** 64n - 1n)],
    [/header of 100000001 bytes/, forge('{}', 0, 100_000_001n)],
    [/its header alone needs 1008/, forge('{}', 0, 1000n)],
    [/does not begin with "\{"/, forge(' {}')],
    [/does not begin with "\{"/, forge('[]')],
    [/does not begin with "\{"/, forge('')],
    [/not valid JSON/, forge('{"a":')],
    [/not valid JSON/, forge('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}} x', 4)],
    [/not valid JSON/, Uint8Array.of(4, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0x22, 0xff, 0x7d)],
    [/key "a" twice/, forge('{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"\\u0061":{"dtype":"U8"}}')],
    [/key "k" twice/, forge('{"__metadata__":{"k":"v","k":"w"}}')],
    [/"b" overlaps/, forge({ a: tensor(0, 8, [2]), b: tensor(4, 12, [2]) }, 12)],
    [/"b" overlaps/, forge({ a: tensor(0, 4), b: tensor(0, 4) }, 4)],
    [/bytes 4 to 8 of the data.*no tensor/, forge({ a: tensor(0, 4), b: tensor(8, 12) }, 12)],
    [/bytes 0 to 4 of the data/, forge({ a: tensor(4, 8) }, 8)],
    [/has 3 bytes after its last tensor/, forge({ a: tensor(0, 4) }, 7)],
    [/ends at byte 4 of the data, but the file has 3/, forge({ a: tensor(0, 4) }, 3)],
    [/ends at byte 0, before it begins at byte 4/, forge({ a: tensor(4, 0) }, 4)],
    [/F32 \[3\], 12 bytes, but its data_offsets span 8/, forge({ a: tensor(0, 8, [3]) }, 8)],
    [/but its data_offsets span 0/, forge({ a: tensor(0, 0, [2 ** 53 - 1, 2 ** 53 - 1]) })],
    [/shape/, forge({ a: tensor(0, 4, [-1]) }, 4)],
    [/shape/, forge({ a: tensor(0, 4, [1.5]) }, 4)],
    [/shape/, forge({ a: tensor(0, 4, '1') }, 4)],
    [/shape/, forge('{"a":{"dtype":"F32","data_offsets":[0,4]}}', 4)],
    [/data_offsets/, forge({ a: tensor(-4, 0) }, 4)],
    [/data_offsets/, forge({ a: tensor(0, '4') }, 4)],
    [/data_offsets/, forge('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,1e400]}}', 4)],
    [/data_offsets/, forge({ a: { dtype: 'F32', shape: [1], data_offsets: [0, 4, 8] } }, 4)],
    [/no dtype/, forge({ a: { shape: [1], data_offsets: [0, 4] } }, 4)],
    [/dtype "F64"; supported are F32, F16/, forge({ a: tensor(0, 8, [1], 'F64') }, 8)],
    [/dtype "toString"/, forge({ a: tensor(0, 8, [1], 'toString') }, 8)],
    [/not described by an object/, forge({ a: 5 })],
    [/not described by an object/, forge({ a: null })],
    [/metadata.*object of strings/, forge({ __metadata__: [] })],
    [/metadata.*"k" that is not a string/, forge({ __metadata__: { k: 1 } })],
    [/"line\\nbreak/, forge({ ['line\nbreak'.repeat(100)]: tensor(0, 4, [1], 'F64') }, 4)],
  ];
  for (const [expected, bytes] of cases) {
    assert.match(refused(bytes), expected);
    assert.match(refused(bytes), /\. Get the file again, or give another\.$/);
  }
});

test('a header that would exhaust a recursive reader is refused', () => {
  assert.match(refused(forge(`{"a":${'['.repeat(1e6)}${']'.repeat(1e6)}}`)), /not described/);
  assert.match(refused(forge(`{"a":"${'\\n'.repeat(1e6)}"}`)), /not described/);
});

test('a file cut short at any length, or with any byte of its header changed, is refused or read, never a crash', () => {
  const whole = joined(encodeSafetensors(sample(), { arch: 'vgg16_bn' }));
  for (let length = 0; length < whole.length; length++) refused(whole.slice(0, length));
  const headerBytes = 8 + Number(new DataView(whole.buffer).getBigUint64(0, true));
  for (let at = 0; at < headerBytes; at++) {
    for (const value of [0, 0x22, 0x2c, 0x39, 0x5d, 0x7d, 0xff]) {
      const changed = whole.slice();
      changed[at] = value;
      try {
        decodeSafetensors(changed, 'x');
      } catch (error) {
        assert.instance(error, DataError, `byte ${at} = ${value}: ${error}`);
      }
    }
  }
});

test('files that cannot be read are named', () => {
  assert.throws(() => readSafetensors(join(folder, 'missing')), /missing: no such file\. Check the path\.$/);
  assert.throws(() => readSafetensors(folder), /is a folder/);
});

test('what does not fit its type and shape is not written, and an older file stays', () => {
  const path = join(folder, 'kept.safetensors');
  writeFileSync(path, 'old');
  const wrong: FileTensor = { dtype: 'F32', shape: [2, 2], data: new Float32Array(3) };
  assert.throws(() => writeSafetensors(path, new Map([['w', wrong]])), /w is F32 \[2,2\], 4 values, but was given 3/);
  const other: FileTensor = { dtype: 'I64', shape: [1], data: new Float32Array(1) };
  assert.throws(() => encodeSafetensors(new Map([['n', other]])), /n is I64 .* Float32Array/);
  assert.throws(
    () => encodeSafetensors(new Map([['__metadata__', other]])),
    (e: Error) => e instanceof ShapeError,
  );
  assert.is(readFileSync(path, 'utf8'), 'old');
  assert.not.ok(readdirSync(folder).some((name) => name.endsWith('.tmp')));
});

test.run();
