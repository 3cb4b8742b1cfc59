import { appendFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type DataOptions, type Dataset, loadDataset } from '../src/data/dataset.ts';
import { onFailingDisk } from './faults.ts';
import { grayPng, pixelField, rejectsData, scratchFolder } from './files.ts';

let folder: ReturnType<typeof scratchFolder>;
test.before.each(() => {
  folder = scratchFolder();
});
test.after.each(() => folder.remove());

/** Forty images of two classes. */
function photos(name = 'photos', first = 0): string {
  for (let i = 0; i < 20; i++) {
    for (const [c, label] of ['cat', 'dog'].entries())
      folder.write(`${name}/${label}/${i}.png`, grayPng(first + 2 * i + c));
  }
  return `${folder.path}/${name}`;
}

const csv = (usages: string[]) =>
  folder.write(
    'set.csv',
    ['emotion,pixels,Usage', ...usages.map((usage, n) => `${n % 7},${pixelField(n, 64)},${usage}`)].join('\n'),
  );

const evaluated = (data: string, from: Dataset, options: Partial<DataOptions> = {}) =>
  loadDataset({ data, use: 'evaluate', trainedOn: [from.origin!], ...options });
const validOf = (set: Dataset) => Array.from({ length: set.valid.count }, (_, i) => set.source('valid', i));

test('a model is evaluated on what validated its training, however that was drawn', async () => {
  const data = photos();
  for (const options of [{ seed: 2 }, { valid: '25%', seed: 3 }, { valid: '30%', limit: 9 }]) {
    const trained = await loadDataset({ data, ...options });
    const again = await evaluated(data, trained, options.limit ? { limit: options.limit } : {});
    assert.equal(validOf(again), validOf(trained), JSON.stringify(options));
    assert.equal(again.seen!.valid, { trained: 0, validated: trained.valid.count });
    assert.is(again.seen!.train.trained, trained.train.count);
  }
});

test('another share of the same images is counted for what the model has seen of it', async () => {
  const data = photos();
  const trained = await loadDataset({ data, seed: 2 });
  const other = await evaluated(data, trained, { seed: 1 });
  const before = new Set(validOf(trained));
  const met = validOf(other).filter((name) => !before.has(name)).length;
  assert.ok(met > 0, 'the shares differ');
  assert.equal(other.seen!.valid, { trained: met, validated: 4 - met });
  const all = await evaluated(data, trained, { valid: 'all' });
  assert.equal([all.valid.count, all.seen!.valid], [40, { trained: 36, validated: 4 }]);
});

test('what the weights saw from which a network started counts, too; it trains on what it is told', async () => {
  const data = photos();
  const first = await loadDataset({ data, seed: 2 });
  const second = await loadDataset({ data, seed: 1, trainedOn: [first.origin!] });
  assert.equal(validOf(second), validOf(await loadDataset({ data })), 'the share is the one that was asked for');
  const before = new Set(validOf(first));
  const met = validOf(second).filter((name) => !before.has(name)).length;
  assert.ok(met > 0, 'the shares differ');
  assert.equal(second.seen!.valid, { trained: met, validated: 4 - met });
  const again = await loadDataset({ data, use: 'evaluate', trainedOn: [second.origin!, first.origin!] });
  assert.equal(validOf(again), validOf(second));
  assert.equal(again.seen!.valid, { trained: met, validated: 4 - met });
  // Trained on others since, and of these all the same.
  const others = await loadDataset({ data: photos('others', 100) });
  const back = await loadDataset({ data, use: 'evaluate', trainedOn: [others.origin!, first.origin!] });
  assert.equal([validOf(back), back.seen!.valid.validated], [validOf(first), 4]);
});

test('images that are loaded at another side are divided as they were, by the default, too', async () => {
  const data = photos();
  const trained = await loadDataset({ data });
  const known = await evaluated(data, trained);
  const other = await evaluated(data, trained, { store: 24, division: known.origin! });
  assert.equal([other.seen, other.valid.side, validOf(other)], [null, 24, validOf(trained)]);
});

test('of images that are new all are evaluated, but where something says what they are for', async () => {
  const trained = await loadDataset({ data: photos() });
  const fresh = await evaluated(photos('fresh', 100), trained);
  assert.equal([fresh.valid.count, fresh.validName, fresh.seen], [40, 'all images', null]);
  assert.is((await loadDataset({ data: `${folder.path}/fresh`, use: 'evaluate' })).valid.count, 40);
  // One image more, and they are others.
  folder.write('photos/cat/20.png', grayPng(99));
  assert.equal((await evaluated(`${folder.path}/photos`, trained)).seen, null);

  const marked = csv([...Array(20).fill('Training'), ...Array(5).fill('PrivateTest')]);
  const set = await loadDataset({ data: marked, use: 'evaluate' });
  assert.equal([set.train.count, set.valid.count, set.test!.count], [18, 2, 5]);
});

test('what chose the best epoch is known for no test', async () => {
  const data = csv([...Array(14).fill('Training'), ...Array(7).fill('PublicTest'), ...Array(7).fill('PrivateTest')]);
  const trained = await loadDataset({ data, valid: 'both' });
  assert.is((await evaluated(data, trained)).test, null);
  const apart = await evaluated(data, trained, { valid: 'PublicTest' });
  assert.equal(apart.seen!.test, { trained: 0, validated: 7 });
  const clean = await evaluated(data, await loadDataset({ data }));
  assert.equal(clean.seen!.test, { trained: 0, validated: 0 });
});

test('the same images with other usages are another set: nothing says which of them a network has seen', async () => {
  const usages = [...Array(14).fill('Training'), ...Array(7).fill('PublicTest'), ...Array(7).fill('PrivateTest')];
  const trained = await loadDataset({ data: csv(usages) });
  assert.equal((await evaluated(csv(usages), trained)).seen!.valid, { trained: 0, validated: 7 });
  assert.is((await evaluated(csv(usages.reverse()), trained)).seen, null);
});

test('a set that changes while it is read is refused, and read once it has settled', async () => {
  const data = photos();
  // What is first awaited comes after the set was looked at, and before it is read to its end.
  const reading = loadDataset({ data });
  folder.write('photos/cat/20.png', grayPng(99));
  await rejectsData(() => reading, `${data}: changed while it was read. Start again`);
  assert.is((await loadDataset({ data })).train.count, 37);

  const path = csv(Array(40).fill('Training'));
  const other = loadDataset({ data: path });
  appendFileSync(path, `\n0,${pixelField(99, 64)},Training`);
  await rejectsData(() => other, `${path}: changed while it was read. Start again`);
  assert.is((await loadDataset({ data: path })).train.count, 37);
});

test('an image that the disk does not give back is named', async () => {
  const data = photos();
  await onFailingDisk({ readFileSync: 2 }, () =>
    rejectsData(() => loadDataset({ data }), `${data}/cat/1.png: cannot be read (EIO: injected, readFileSync). Check`),
  );
});

test.run();
