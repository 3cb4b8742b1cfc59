import { unzipSync } from 'fflate';
import { DataError } from '../core/errors.ts';
import { isCount } from '../core/json.ts';
import { readWholeFile } from '../data/wholefile.ts';
import { PickleError, PickleGlobal, type PickleHost, type PickleValue, readPickle, SAVE_ALONE } from './pickle.ts';
import type { FileDtype, FileTensor } from './safetensors.ts';

/** Values of a storage, as they lie in the file. */
interface StorageType {
  dtype: FileDtype | 'F64';
  bytes: number;
}

const storageTypes: Readonly<Record<string, StorageType>> = {
  'torch.FloatStorage': { dtype: 'F32', bytes: 4 },
  'torch.HalfStorage': { dtype: 'F16', bytes: 2 },
  'torch.BFloat16Storage': { dtype: 'BF16', bytes: 2 },
  'torch.DoubleStorage': { dtype: 'F64', bytes: 8 },
  'torch.LongStorage': { dtype: 'I64', bytes: 8 },
  'torch.IntStorage': { dtype: 'I32', bytes: 4 },
  'torch.ByteStorage': { dtype: 'U8', bytes: 1 },
  'torch.BoolStorage': { dtype: 'U8', bytes: 1 },
};

class PthStorage {
  readonly key: string;
  readonly type: StorageType;
  readonly count: number;

  constructor(key: string, type: StorageType, count: number) {
    this.key = key;
    this.type = type;
    this.count = count;
  }
}

/** A tensor before its values are read: where they lie in a storage. */
class PthTensor {
  readonly storage: PthStorage;
  readonly offset: number;
  readonly shape: number[];
  readonly strides: number[];

  constructor(storage: PthStorage, offset: number, shape: number[], strides: number[]) {
    this.storage = storage;
    this.offset = offset;
    this.shape = shape;
    this.strides = strides;
  }
}

const areCounts = (value: unknown): value is number[] => Array.isArray(value) && value.every(isCount);

/** The handful of types that a state_dict needs. */
const host: PickleHost = {
  reduce({ name }, args) {
    if (name === 'collections.OrderedDict') return new Map();
    if (name === 'torch._utils._rebuild_parameter') return args[0];
    if (name === 'torch._utils._rebuild_tensor_v2' || name === 'torch._utils._rebuild_tensor') {
      const [storage, offset, shape, strides] = args;
      const whole = storage instanceof PthStorage && isCount(offset) && areCounts(shape) && areCounts(strides);
      if (!whole || shape.length !== strides.length)
        throw new PickleError('a tensor in it is not described as it should be');
      return new PthTensor(storage, offset, shape, strides);
    }
    if (name === 'torch.Size') return args[0];
    throw new PickleError(`it holds a Python object made by ${name}, which is not executed`, SAVE_ALONE);
  },
  persistent(id) {
    if (!Array.isArray(id) || id[0] !== 'storage' || !(id[1] instanceof PickleGlobal))
      throw new PickleError('it refers to something outside that is no storage');
    const [, { name }, key, , count, view] = id as [string, PickleGlobal, unknown, unknown, unknown, unknown];
    const type = Object.hasOwn(storageTypes, name) ? storageTypes[name] : undefined;
    if (!type) throw new PickleError(`it holds values of type ${name}, which no network here has`);
    if (typeof key !== 'string' || !isCount(count) || (view !== undefined && view !== null))
      throw new PickleError('a storage in it is not described as it should be');
    return new PthStorage(key, type, count);
  },
};

/** The bytes of a storage. */
type Values = (storage: PthStorage) => Uint8Array;

/**
 * Reads the weights in a file that PyTorch's `save` wrote, in the zip format or in that of before 2020: a state_dict, or a dict with
 * one under `state_dict` or `model`. Nothing in it is executed. Throws DataError that says what is wrong.
 */
export function readPth(path: string): Map<string, FileTensor> {
  let bytes: Uint8Array;
  try {
    bytes = readWholeFile(path);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new DataError(`${path}: cannot be read (${code ?? message}). Check that it is there and may be read.`);
  }
  try {
    const zip = bytes[0] === 0x50 && bytes[1] === 0x4b;
    const { root, values } = zip ? readZip(bytes) : readLegacy(bytes);
    const tensors = new Map<string, FileTensor>();
    for (const [name, tensor] of stateDictOf(root)) tensors.set(name, materialise(name, tensor, values));
    return tensors;
  } catch (error) {
    if (error instanceof PickleError)
      throw new DataError(`${path}: as a file of PyTorch's, ${error.message}. ${error.mend}`);
    throw error;
  }
}

/** What an entry of a zip archive's directory takes, without its name. */
const DIRECTORY_ENTRY_BYTES = 46;

/** `NAME/data.pkl`, and a file for each storage in `NAME/data/`. */
function readZip(bytes: Uint8Array): { root: PickleValue; values: Values } {
  const extract = (wanted: (name: string) => boolean): [string, Uint8Array] | undefined => {
    let entries = 0;
    const filter = ({ name }: { name: string }): boolean => {
      // fflate believes the number of entries that the archive gives, which damage can make four thousand millions.
      if (++entries > bytes.length / DIRECTORY_ENTRY_BYTES) throw new Error('more entries than there is room for');
      return wanted(name);
    };
    try {
      return Object.entries(unzipSync(bytes, { filter }))[0];
    } catch {
      throw new PickleError('the archive is damaged or cut off');
    }
  };
  const pickle = extract((name) => /^[^/]*\/data\.pkl$/.test(name));
  if (!pickle) throw new PickleError('the archive has no data.pkl');
  const [name, code] = pickle;
  const folder = name.slice(0, -'data.pkl'.length);
  const order = extract((entry) => entry === `${folder}byteorder`);
  if (order && new TextDecoder().decode(order[1]).trim() === 'big') throw new PickleError('its numbers are big-endian');
  const values: Values = ({ key }) => {
    const found = extract((entry) => entry === `${folder}data/${key}`);
    if (!found) throw new PickleError(`the archive lacks storage ${key}`);
    return found[1];
  };
  return { root: readPickle(code, 0, host).value, values };
}

const LEGACY_MAGIC = 0x1950a86a20f9469cfc6cn;

/** Five pickles (magic number, version, machine, objects, keys of the storages), then each storage's count and values. */
function readLegacy(bytes: Uint8Array): { root: PickleValue; values: Values } {
  let at = 0;
  const next = (): PickleValue => {
    const { value, end } = readPickle(bytes, at, host);
    at = end;
    return value;
  };
  // Any file may come here: what does not even start like a pickle is said to be no such file.
  if (bytes[0] !== 0x80 || next() !== LEGACY_MAGIC) throw new PickleError('it starts like none');
  next();
  const machine = next();
  if (machine instanceof Map && machine.get('little_endian') === false)
    throw new PickleError('its numbers are big-endian');
  const types = new Map<string, StorageType>();
  const counting: PickleHost = {
    ...host,
    persistent: (id) => {
      const storage = host.persistent(id) as PthStorage;
      types.set(storage.key, storage.type);
      return storage;
    },
  };
  const { value: root, end } = readPickle(bytes, at, counting);
  at = end;
  const keys = next();
  if (!Array.isArray(keys)) throw new PickleError('it has no list of storages');
  const found = new Map<unknown, Uint8Array>();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (const key of keys) {
    const type = types.get(key as string);
    if (!type) throw new PickleError('it has a storage that no tensor uses');
    if (at + 8 > bytes.length) throw new PickleError('it is cut off');
    const size = Number(view.getBigInt64(at, true)) * type.bytes;
    at += 8;
    if (!(size >= 0 && at + size <= bytes.length)) throw new PickleError('it is cut off');
    found.set(key, bytes.subarray(at, at + size));
    at += size;
  }
  const values: Values = ({ key }) => {
    const storage = found.get(key);
    if (!storage) throw new PickleError(`it lacks storage ${key}`);
    return storage;
  };
  return { root, values };
}

/** The named tensors, from where a state_dict usually lies. */
function stateDictOf(root: PickleValue): [string, PthTensor][] {
  const places = root instanceof Map ? [root, root.get('state_dict'), root.get('model')] : [];
  for (const place of places) {
    if (!(place instanceof Map)) continue;
    const tensors = [...place].filter(([, value]) => value instanceof PthTensor) as [unknown, PthTensor][];
    if (tensors.length > 0) return tensors.map(([name, tensor]) => [String(name), tensor]);
  }
  throw new PickleError('it holds no state_dict, that is, no dict of named tensors', SAVE_ALONE);
}

const views = {
  F32: Float32Array,
  F16: Uint16Array,
  BF16: Uint16Array,
  F64: Float64Array,
  I64: BigInt64Array,
  I32: Int32Array,
  U8: Uint8Array,
  U32: Uint32Array,
};

/** A tensor with its values, row-major. */
function materialise(name: string, { storage, offset, shape, strides }: PthTensor, values: Values): FileTensor {
  const { dtype, bytes } = storage.type;
  const data = values(storage);
  const size = shape.reduce((product, extent) => product * extent, 1);
  const last = shape.reduce((at, extent, i) => at + (extent - 1) * strides[i]!, offset);
  if (data.byteLength < storage.count * bytes) throw new PickleError(`the values of tensor '${name}' are cut off`);
  if (size > storage.count || (size > 0 && last >= storage.count))
    throw new PickleError(`tensor '${name}' reaches beyond its values`);
  const own = isContiguous(shape, strides)
    ? copied(data, offset, size, storage.type)
    : gathered(copied(data, 0, storage.count, storage.type), offset, shape, strides, size);
  if (dtype === 'F64') return { dtype: 'F32', shape, data: Float32Array.from(own as Float64Array) };
  return { dtype, shape, data: own as FileTensor['data'] };
}

/** `count` values from number `first` on: a copy starts at a multiple of 8, whatever the file's place was. */
function copied(data: Uint8Array, first: number, count: number, { dtype, bytes }: StorageType): Numbers {
  const copy = new Uint8Array(count * bytes);
  copy.set(data.subarray(first * bytes, (first + count) * bytes));
  return new views[dtype](copy.buffer);
}

function isContiguous(shape: readonly number[], strides: readonly number[]): boolean {
  let expected = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1 && strides[i] !== expected) return false;
    expected *= shape[i]!;
  }
  return true;
}

type Numbers = InstanceType<(typeof views)[keyof typeof views]>;

function gathered(
  all: Numbers,
  offset: number,
  shape: readonly number[],
  strides: readonly number[],
  size: number,
): Numbers {
  const result = all.slice(0, 0).constructor as new (length: number) => Numbers;
  const values = new result(size);
  const index = shape.map(() => 0);
  let at = offset;
  for (let i = 0; i < size; i++) {
    values[i] = all[at]!;
    for (let d = shape.length - 1; d >= 0; d--) {
      at += strides[d]!;
      if (++index[d]! < shape[d]!) break;
      at -= shape[d]! * strides[d]!;
      index[d] = 0;
    }
  }
  return values;
}
