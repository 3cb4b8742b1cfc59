/** A class or function that a pickle names; it is never looked up, let alone called. */
export class PickleGlobal {
  /** `module.name`. */
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }
}

/** What a pickle may hold here: plain values, lists and tuples, dicts, globals, and what the host makes of the rest. */
export type PickleValue = unknown;

export interface PickleHost {
  /** The object for `callable(*args)`: the only way in which anything but plain values comes about. */
  reduce(callable: PickleGlobal, args: readonly PickleValue[]): PickleValue;
  /** The object for a persistent id. */
  persistent(id: PickleValue): PickleValue;
}

/** Thrown for a pickle that is damaged, or holds what no list of weights needs. */
export class PickleError extends Error {
  override name = 'PickleError';
  readonly mend: string;

  constructor(what: string, mend = 'Get the file again, or give another.') {
    super(what);
    this.mend = mend;
  }
}

/** The mend of a file that holds more than weights. */
export const SAVE_ALONE = 'Save the weights alone, by torch.save(model.state_dict(), FILE).';

const MARK = Symbol('mark');
/** Deeper stacks and longer memos than any list of weights has. */
const MAX_ITEMS = 1_000_000;

/** Reads little-endian numbers and strings, never past the end. */
class Reader {
  at: number;
  private readonly view: DataView;
  private readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array, at: number) {
    this.bytes = bytes;
    this.at = at;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  take(count: number): number {
    if (!(count >= 0) || this.at + count > this.bytes.length) throw new PickleError('it ends in the middle of a value');
    this.at += count;
    return this.at - count;
  }

  u8 = (): number => this.view.getUint8(this.take(1));
  u16 = (): number => this.view.getUint16(this.take(2), true);
  i32 = (): number => this.view.getInt32(this.take(4), true);
  u32 = (): number => this.view.getUint32(this.take(4), true);
  f64 = (): number => this.view.getFloat64(this.take(8), false);
  u64 = (): number => Number(this.view.getBigUint64(this.take(8), true));

  text(length: number): string {
    const from = this.take(length);
    return new TextDecoder().decode(this.bytes.subarray(from, from + length));
  }

  line(): string {
    const end = this.bytes.indexOf(10, this.at);
    if (end < 0) throw new PickleError('it ends in the middle of a line');
    const text = this.text(end - this.at);
    this.at++;
    return text;
  }

  /** A two's complement number of `length` bytes: a number where it is exact, else a bigint. */
  long(length: number): number | bigint {
    const from = this.take(length);
    let value = 0n;
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.bytes[from + i]!);
    if (length > 0) value = BigInt.asIntN(8 * length, value);
    return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  }
}

/**
 * Reads the pickle that starts at `at` and says where it ends. Dicts become Maps, lists and tuples arrays. Of Python's objects there
 * are only those that `host` makes: nothing in the file is executed. Throws PickleError. Format: Python's `pickletools`.
 */
export function readPickle(bytes: Uint8Array, at: number, host: PickleHost): { value: PickleValue; end: number } {
  const reader = new Reader(bytes, at);
  const stack: PickleValue[] = [];
  const memo = new Map<number, PickleValue>();

  const pop = (): PickleValue => {
    if (stack.length === 0 || stack.at(-1) === MARK) throw new PickleError('it takes a value where there is none');
    return stack.pop();
  };
  const top = (): PickleValue => {
    if (stack.length === 0) throw new PickleError('it looks for a value where there is none');
    return stack.at(-1);
  };
  const sinceMark = (): PickleValue[] => {
    const mark = stack.lastIndexOf(MARK);
    if (mark < 0) throw new PickleError('it looks for a mark where there is none');
    return stack.splice(mark).slice(1);
  };
  const items = (count: number): PickleValue[] => Array.from({ length: count }, pop).reverse();
  const setAll = (pairs: readonly PickleValue[]) => {
    const dict = top();
    if (!(dict instanceof Map)) throw new PickleError('it sets an item of what is no dict');
    for (let i = 0; i + 1 < pairs.length; i += 2) dict.set(pairs[i], pairs[i + 1]);
  };
  const appendAll = (values: readonly PickleValue[]) => {
    const list = top();
    if (!Array.isArray(list)) throw new PickleError('it appends to what is no list');
    for (const value of values) list.push(value);
  };
  const recall = (key: number): PickleValue => {
    if (!memo.has(key)) throw new PickleError('it recalls what was never kept');
    return memo.get(key);
  };
  const text = (value: PickleValue): string => {
    if (typeof value !== 'string') throw new PickleError('a name is no text');
    return value;
  };
  const reduce = () => {
    const args = pop();
    const callable = pop();
    if (!(callable instanceof PickleGlobal) || !Array.isArray(args))
      throw new PickleError('it calls what is no function');
    return host.reduce(callable, args);
  };

  const codes: Record<string, () => void> = {
    '\x80': () => void reader.u8(), // PROTO
    '\x95': () => void reader.take(8), // FRAME
    '(': () => void stack.push(MARK),
    '0': () => void pop(),
    '1': () => void sinceMark(),
    '2': () => void stack.push(top()),
    N: () => void stack.push(null),
    '\x88': () => void stack.push(true),
    '\x89': () => void stack.push(false),
    I: () => {
      const word = reader.line();
      stack.push(word === '00' ? false : word === '01' ? true : Number.parseInt(word, 10));
    },
    L: () => void stack.push(Number.parseInt(reader.line(), 10)),
    J: () => void stack.push(reader.i32()),
    K: () => void stack.push(reader.u8()),
    M: () => void stack.push(reader.u16()),
    '\x8a': () => void stack.push(reader.long(reader.u8())),
    G: () => void stack.push(reader.f64()),
    X: () => void stack.push(reader.text(reader.u32())), // BINUNICODE
    '\x8c': () => void stack.push(reader.text(reader.u8())), // SHORT_BINUNICODE
    '\x8d': () => void stack.push(reader.text(reader.u64())), // BINUNICODE8
    T: () => void stack.push(reader.text(reader.u32())), // BINSTRING, of Python 2
    U: () => void stack.push(reader.text(reader.u8())), // SHORT_BINSTRING
    B: () => void stack.push(reader.text(reader.u32())), // BINBYTES
    C: () => void stack.push(reader.text(reader.u8())), // SHORT_BINBYTES
    ']': () => void stack.push([]),
    ')': () => void stack.push([]),
    '}': () => void stack.push(new Map()),
    l: () => void stack.push(sinceMark()),
    t: () => void stack.push(sinceMark()),
    '\x85': () => void stack.push(items(1)),
    '\x86': () => void stack.push(items(2)),
    '\x87': () => void stack.push(items(3)),
    d: () => {
      const pairs = sinceMark();
      stack.push(new Map());
      setAll(pairs);
    },
    a: () => appendAll([pop()]),
    e: () => appendAll(sinceMark()),
    s: () => setAll(items(2)),
    u: () => setAll(sinceMark()),
    q: () => void memo.set(reader.u8(), top()),
    r: () => void memo.set(reader.u32(), top()),
    p: () => void memo.set(Number.parseInt(reader.line(), 10), top()),
    '\x94': () => void memo.set(memo.size, top()), // MEMOIZE
    h: () => void stack.push(recall(reader.u8())),
    j: () => void stack.push(recall(reader.u32())),
    g: () => void stack.push(recall(Number.parseInt(reader.line(), 10))),
    c: () => {
      const module = reader.line();
      stack.push(new PickleGlobal(`${module}.${reader.line()}`));
    },
    '\x93': () => {
      const [module, name] = items(2);
      stack.push(new PickleGlobal(`${text(module)}.${text(name)}`));
    },
    R: () => void stack.push(reduce()),
    Q: () => void stack.push(host.persistent(pop())), // BINPERSID
    // BUILD sets attributes, such as the versions that a state_dict carries; no value here has a use for them.
    b: () => void pop(),
  };

  for (;;) {
    const code = String.fromCharCode(reader.u8());
    if (code === '.') return { value: pop(), end: reader.at };
    const run = Object.hasOwn(codes, code) ? codes[code] : undefined;
    if (!run)
      throw new PickleError(
        `it has an instruction (0x${code.charCodeAt(0).toString(16)}) that weights do not need`,
        SAVE_ALONE,
      );
    run();
    if (stack.length > MAX_ITEMS || memo.size > MAX_ITEMS) throw new PickleError('it holds far more than weights');
  }
}
