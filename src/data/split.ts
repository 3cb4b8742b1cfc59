import { ConfigError, DataError } from '../core/errors.ts';
import { Pcg } from './pcg.ts';
import { PRIVATE_TEST, PUBLIC_TEST, type Rows, TRAINING } from './rows.ts';

/** How rows are divided. The same rows are divided the same way again. */
export interface Division {
  /** What validates, as it was asked for: see `splitRows`. */
  valid?: string | undefined;
  /** Draws the share that validates, and what `limit` takes. */
  seed: number;
  /** Images of each split, drawn stratified. */
  limit?: number | undefined;
}

/** Row numbers of each split, ascending. */
export interface Split {
  train: Uint32Array;
  valid: Uint32Array;
  test: Uint32Array | null;
  validName: string;
}

const validForms =
  "'PublicTest' (default where there are such rows), 'both' (PublicTest and PrivateTest), a share such as '10%', or 'all'";

/** `splitRows`, and of each split what `limit` takes. Throws as it does. */
export function divide(rows: Rows, { valid, seed, limit }: Division, path: string): Split {
  const split = splitRows(rows, valid, seed, path);
  if (limit === undefined) return split;
  const cut = (indices: Uint32Array) => stratified(rows.labels, indices, limit, rows.classes.length, seed);
  return { ...split, train: cut(split.train), valid: cut(split.valid), test: split.test && cut(split.test) };
}

/**
 * Decides which rows train, validate and test.
 *
 * PublicTest rows validate where there are some; `both` adds PrivateTest to them; a share such as `10%` is drawn from the
 * training rows, stratified and seeded, and is the default where no row is PublicTest; `all` validates on every row and
 * leaves nothing to train on, for evaluating a folder of one's own. PrivateTest alone is the test split and is in no
 * other one, but with `both` and `all`, which leave no test split: what chose the best epoch is no test any more.
 *
 * Throws ConfigError for an unknown `valid`, DataError where the rows it names are missing.
 */
export function splitRows(rows: Rows, valid: string | undefined, seed: number, path: string): Split {
  const parts = [TRAINING, PUBLIC_TEST, PRIVATE_TEST].map((usage) => indicesWhere(rows.usage, rows.count, usage));
  const [train, publicTest, privateTest] = parts as [Uint32Array, Uint32Array, Uint32Array];
  const [publicName, privateName] = rows.partNames;
  const test = privateTest.length > 0 ? privateTest : null;
  const choice = valid?.toLowerCase() ?? (publicTest.length > 0 ? 'publictest' : '10%');

  if (choice === 'publictest') {
    if (publicTest.length === 0) {
      throw new DataError(`${path}: no PublicTest rows to validate on. Choose a share, such as 10%.`);
    }
    return { train, valid: publicTest, test, validName: publicName };
  }
  if (choice === 'both') {
    if (publicTest.length === 0 || test === null) {
      const missing = publicTest.length === 0 ? 'PublicTest' : 'PrivateTest';
      throw new DataError(
        `${path}: no ${missing} rows, so there are not both to validate on. Choose PublicTest, or a share such as 10%.`,
      );
    }
    const both = Uint32Array.from([...publicTest, ...privateTest]).sort();
    return { train, valid: both, test: null, validName: `${publicName}+${privateName}` };
  }
  if (choice === 'all') {
    const all = Uint32Array.from({ length: rows.count }, (_, i) => i);
    return { train: new Uint32Array(0), valid: all, test: null, validName: 'all images' };
  }
  const share = /^(\d+(?:\.\d+)?)\s*%$/.exec(choice);
  if (share === null) throw new ConfigError(`valid ${valid}: unknown. Expected ${validForms}.`);
  const percent = Number(share[1]);
  if (!(percent > 0 && percent <= 50))
    throw new ConfigError(`valid ${valid}: expected a share above 0% and up to 50%.`);
  const take = Math.round((train.length * percent) / 100);
  // A class whose only image validates could not be learned.
  const held = stratified(rows.labels, train, take, rows.classes.length, seed, 1);
  return {
    train: without(train, held),
    valid: held,
    test,
    validName: `${percent} % of train, stratified, seed ${seed}`,
  };
}

/**
 * Draws `take` of `indices`, each class in proportion to its share (largest remainder), none lost where `take` allows. `left` images of
 * each class are left over; where that is in the way, fewer are drawn. Seeded; returns ascending row numbers: `indices` itself where all
 * may be taken and there are no more.
 */
export function stratified(
  labels: Uint8Array,
  indices: Uint32Array,
  take: number,
  classCount: number,
  seed: number,
  left = 0,
): Uint32Array {
  if (left === 0 && take >= indices.length) return indices;
  const byClass: number[][] = Array.from({ length: classCount }, () => []);
  for (const index of indices) byClass[labels[index]!]!.push(index);
  const quota = apportion(
    byClass.map((members) => members.length),
    take,
  );
  const drawn = byClass.flatMap((members, label) =>
    new Pcg(seed, label).shuffle(members).slice(0, Math.min(quota[label]!, Math.max(0, members.length - left))),
  );
  return Uint32Array.from(drawn).sort();
}

/** Shares `total` out in proportion to `counts` by largest remainder; every class that has members gets one if `total` allows. */
export function apportion(counts: number[], total: number): number[] {
  const sum = counts.reduce((a, b) => a + b, 0);
  if (sum === 0) return counts.map(() => 0);
  const exact = counts.map((count) => (count * total) / sum);
  const quota = exact.map(Math.floor);
  const byRemainder = counts.map((_, i) => i).sort((a, b) => exact[b]! - quota[b]! - (exact[a]! - quota[a]!) || a - b);
  let left = total - quota.reduce((a, b) => a + b, 0);
  for (const i of byRemainder) {
    if (left === 0) break;
    quota[i]!++;
    left--;
  }
  if (total >= counts.filter((count) => count > 0).length) {
    for (let i = 0; i < counts.length; i++) {
      if (counts[i]! === 0 || quota[i]! > 0) continue;
      quota[quota.indexOf(Math.max(...quota))]!--;
      quota[i] = 1;
    }
  }
  return quota;
}

function indicesWhere(usage: Uint8Array, count: number, wanted: number): Uint32Array {
  const found = new Uint32Array(count);
  let n = 0;
  for (let i = 0; i < count; i++) if (usage[i] === wanted) found[n++] = i;
  return found.slice(0, n);
}

/** `from` less `remove`; both ascending. */
function without(from: Uint32Array, remove: Uint32Array): Uint32Array {
  const kept = new Uint32Array(from.length - remove.length);
  let next = 0;
  let n = 0;
  for (const index of from) {
    if (remove[next] === index) next++;
    else kept[n++] = index;
  }
  return kept;
}
