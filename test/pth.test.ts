// The fixtures are PyTorch's own files: test/fixtures/pth.py wrote them.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { zipSync } from 'fflate';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { DataError } from '../src/core/errors.ts';
import { readPth } from '../src/train/pth.ts';
import { toF32 } from '../src/train/safetensors.ts';
import { scratchFolder } from './files.ts';

const path = (name: string): string => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));
const base = Array.from({ length: 24 }, (_, i) => i / 4);

for (const [what, name] of [
  ['the zip format, with the state_dict in a dict', 'weights.pth'],
  ['the format of before 2020', 'legacy.pth'],
] as const) {
  test(`${what} is read: names, shapes, types and values`, () => {
    const tensors = readPth(path(name));
    assert.equal(
      [...tensors].map(([key, { dtype, shape }]) => `${key} ${dtype} [${shape}]`),
      [
        ...['conv.weight F32 [2,3,2,2]', 'conv.transposed F32 [6,4]', 'conv.slice F32 [4]', 'bn.running_mean F32 [2]'],
        ...['bn.num_batches_tracked I64 []', 'half F16 [3]', 'brain BF16 [2]', 'double F32 [1]', 'empty F32 [0,3]'],
      ],
    );
    const values = (key: string) => [...toF32(tensors.get(key)!)];
    assert.equal(values('conv.weight'), base);
    assert.equal(
      values('conv.transposed'),
      base.map((_, i) => base[6 * (i % 4) + Math.floor(i / 4)]),
    );
    assert.equal(values('conv.slice'), base.slice(5, 9));
    assert.equal(values('bn.running_mean'), [1.5, -2]);
    assert.equal([...(tensors.get('bn.num_batches_tracked')!.data as BigInt64Array)], [7n]);
    assert.equal(values('half'), [0.5, -1, 65504]);
    assert.equal(values('brain'), [1, -3]);
    assert.equal(values('double'), [Math.fround(0.1)]);
    assert.equal(values('empty'), []);
  });
}

/** The message for a file with these bytes; anything but a DataError fails. */
function refusal(bytes: Uint8Array): string {
  const scratch = scratchFolder();
  try {
    const file = join(scratch.path, 'file.pth');
    writeFileSync(file, bytes);
    readPth(file);
    return 'nothing was thrown';
  } catch (error) {
    assert.instance(error, DataError);
    return (error as Error).message;
  } finally {
    scratch.remove();
  }
}

/** An archive of PyTorch's with this pickle. */
const archive = (pickle: string): Uint8Array =>
  zipSync({ 'archive/data.pkl': Uint8Array.from(pickle, (letter) => letter.charCodeAt(0)) });

test('nothing is executed: whatever is not part of a state_dict is refused by name', () => {
  const call = '\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.';
  assert.match(
    refusal(archive(call)),
    /a Python object made by posix\.system, which is not executed\. Save the weights alone, by .*state_dict/,
  );
  assert.match(refusal(archive('\x80\x02c__builtin__\neval\nX\x01\x00\x00\x001\x85R.')), /made by __builtin__\.eval/);
  assert.match(refusal(archive('\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x01x\x85R.')), /made by os\.system/);
  assert.match(
    refusal(archive('\x80\x02c__main__\nNet\n)\x81}b.')),
    /an instruction \(0x81\) that weights do not need/,
  );
});

test('a tensor or storage that is not described as PyTorch does it is refused', () => {
  const text = (word: string) => `X${String.fromCharCode(word.length)}\0\0\0${word}`;
  const parts = { what: text('storage'), type: 'ctorch\nFloatStorage\n', key: text('0'), count: 'K\x02', view: '' };
  const storage = (other: Partial<typeof parts> = {}) => {
    const { what, type, key, count, view } = { ...parts, ...other };
    return `(${what}${type}${key}${text('cpu')}${count}${view}tQ`;
  };
  const tensor = ({ of = storage(), offset = 'K\0', shape = 'K\x02\x85', strides = 'K\x01\x85' } = {}) =>
    refusal(archive(`\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(${of}${offset}${shape}${strides}tR.`));
  const minusOne = 'J\xff\xff\xff\xff';
  assert.match(tensor(), /holds no state_dict/);
  for (const strange of [
    { of: 'N' },
    { offset: minusOne },
    { shape: `${minusOne}\x85` },
    { strides: ')' },
    { shape: 'N' },
  ])
    assert.match(tensor(strange), /a tensor in it is not described/, JSON.stringify(strange));
  for (const strange of [{ key: 'K\0' }, { count: minusOne }, { view: 'K\0' }])
    assert.match(tensor({ of: storage(strange) }), /a storage in it is not described/, JSON.stringify(strange));
  for (const of of [storage({ what: text('file') }), storage({ type: text('FloatStorage') }), `${text('storage')}Q`])
    assert.match(tensor({ of }), /refers to something outside that is no storage/);
  assert.match(tensor({ of: storage({ type: 'ctorch\nQInt8Storage\n' }) }), /holds values of type torch\.QInt8Storage/);
});

test('damaged files are refused in a line', () => {
  assert.match(
    refusal(new Uint8Array(0)),
    /file\.pth: as a file of PyTorch's, it starts like none\. Get the file again, or give another\.$/,
  );
  assert.match(refusal(new TextEncoder().encode('hello')), /it starts like none/);
  assert.match(refusal(archive('\x80\x02}.')), /holds no state_dict/);
  assert.match(refusal(archive('\x80\x02X\xff\x00\x00\x00a')), /ends in the middle of a value/);
  assert.match(refusal(archive('\x80\x02h\x05.')), /recalls what was never kept/);
  assert.match(
    refusal(archive('\x80\x02\x81.')),
    /\(0x81\) that weights do not need\. .*torch\.save\(model\.state_dict\(\), FILE\)\.$/,
  );
  assert.match(refusal(zipSync({ 'a/b': new Uint8Array(3) })), /the archive has no data\.pkl/);
  for (const name of ['weights.pth', 'legacy.pth']) {
    const bytes = new Uint8Array(readFileSync(path(name)));
    for (let end = 1; end < bytes.length; end += 61) {
      assert.match(refusal(bytes.slice(0, end)), /^\S+file\.pth: as a file of PyTorch's, /, `${name} cut at ${end}`);
    }
  }
  assert.throws(() => readPth(path('missing.pth')), /missing\.pth: cannot be read \(ENOENT\)/);
});

test('an archive that claims more entries than there is room for is refused, and not searched for them', () => {
  const bytes = Buffer.from(readFileSync(path('weights.pth')));
  // Of the zip64 record at the end of the directory, which PyTorch writes: the number of entries.
  const record = bytes.indexOf('PK\x06\x06', 0, 'latin1');
  assert.is(bytes.readUInt32LE(record + 32), 9);
  bytes.writeUInt32LE(0xfffffffe, record + 32);
  assert.match(refusal(bytes), /the archive is damaged or cut off/);
});

test('a file with a byte changed is read or refused, and never crashes', () => {
  for (const name of ['weights.pth', 'legacy.pth']) {
    const bytes = new Uint8Array(readFileSync(path(name)));
    for (let at = 0; at < bytes.length; at += 7) {
      const damaged = bytes.slice();
      damaged[at]! ^= 0x55;
      refusal(damaged);
    }
  }
});

test.run();
