import { execFileSync } from 'node:child_process';
import { mkdirSync, renameSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readImage } from '../src/cli/images.ts';
import { loadDataset } from '../src/data/dataset.ts';
import { imagesBelow } from '../src/data/find.ts';
import { listFolder } from '../src/data/folder.ts';
import { emotions } from '../src/data/rows.ts';
import { grayPng, makePng, pixel, rejectsData, scratchFolder } from './files.ts';

let folder: ReturnType<typeof scratchFolder>;
let root: string;
test.before.each(() => {
  folder = scratchFolder();
  root = join(folder.path, 'images');
});
test.after.each(() => folder.remove());

const put = (file: string, content: Uint8Array | string = grayPng(1)) => folder.write(join('images', file), content);
const load = (options = {}) => loadDataset({ data: root, seed: 1, ...options });

test("reads Kaggle's folders: the prefix gives the split, FER2013's names FER2013's labels", async () => {
  for (const [label, name] of emotions.entries()) {
    put(`train/${name}/Training_${label}.jpg`, grayPng(label));
    put(`test/${name}/PublicTest_${label}.jpg`, grayPng(20 + label));
    put(`test/${name}/PrivateTest_${label}.jpg`, grayPng(40 + label));
  }
  const set = await load();
  assert.is(set.name, 'folder');
  assert.equal(set.classes, emotions);
  assert.is(set.validName, 'PublicTest');
  assert.equal([set.train.count, set.valid.count, set.test!.count], [7, 7, 7]);
  assert.equal([set.train.side, set.train.channels], [48, 1]);
  for (const [i, label] of set.valid.labels.entries()) {
    assert.is(set.source('valid', i), `test/${emotions[label]}/PublicTest_${label}.jpg`);
    assert.is(set.valid.pixels[i * 2304 + 100], pixel(20 + label, 100));
  }
  const both = await load({ valid: 'both' });
  assert.equal([both.valid.count, both.test, both.validName], [14, null, 'PublicTest+PrivateTest']);
});

test('reads plain class folders and holds back a tenth', async () => {
  for (let i = 0; i < 20; i++) for (const name of ['constructor', 'dog']) put(`${name}/${i}.png`, grayPng(i));
  put('constructor/.DS_Store', 'x');
  put('notes.txt', 'beside the class folders');
  const set = await load();
  assert.equal(set.classes, ['constructor', 'dog']);
  assert.equal([set.train.count, set.valid.count, set.test], [36, 4, null]);
  assert.is(set.valid.labels.filter((label) => label === 0).length, 2);
  assert.is(set.validName, '10 % of train, stratified, seed 1');
});

test('reads train, validation and test folders without prefixes', async () => {
  for (const name of ['A', 'b']) for (const part of ['train', 'test']) put(`${part}/${name}/1.png`);
  for (const name of ['a', 'b']) put(`validation/${name}/1.png`);
  put('train/b/2.png');
  const set = await load();
  assert.equal(
    set.classes.map((name) => name.toLowerCase()),
    ['a', 'b'],
  );
  assert.equal([set.train.count, set.valid.count, set.test!.count, set.validName], [3, 2, 2, 'validation']);
});

test('each name of a split is known, in any case, and one in colour keeps the images before it in theirs', async () => {
  const red = makePng(
    8,
    8,
    2,
    8,
    Uint8Array.from({ length: 192 }, (_, i) => (i % 3 === 0 ? 200 : 10)),
  );
  for (const [train, valid, held] of [
    ['train', 'valid', 'test'],
    ['Training', 'val', 'Testing'],
    ['TRAIN', 'Validation', 'TEST'],
  ]) {
    const data = join(folder.path, `${valid}`);
    for (const [part, count] of [[train, 3], [valid, 2], [held, 1]] as const) // biome-ignore format: pairs
      for (let i = 0; i < count; i++) {
        for (const name of ['a', 'b']) folder.write(join(`${valid}`, `${part}`, name, `${i}.png`), grayPng(i, 8));
      }
    folder.write(join(`${valid}`, `${valid}`, 'b', '2.png'), red);
    const set = await load({ data, store: 8 });
    assert.equal([set.train.count, set.valid.count, set.test!.count], [6, 5, 2]);
    assert.equal([set.valid.channels, set.validName], [3, valid]);
  }
});

test('a test/ that has no valid/ beside it keeps what is called neither PublicTest nor PrivateTest', async () => {
  for (let i = 0; i < 6; i++) {
    for (const name of ['a', 'b']) put(`train/${name}/${i}.png`, grayPng(i));
    put(`test/a/${['Training', 'PublicTest', 'Other'][i % 3]}_${i}.png`, grayPng(i));
  }
  const set = await load();
  assert.equal([set.train.count, set.valid.count, set.test!.count], [12, 2, 4]);
});

test('a folder decides, whatever prefix its images have; names divide plain class folders and a test/ alone', async () => {
  for (let i = 0; i < 6; i++) {
    for (const name of ['a', 'b']) {
      put(`${i < 4 ? 'train' : 'valid'}/${name}/Training_${i}.png`, grayPng(i));
      put(`test/${name}/${i % 2 ? 'Public' : 'Private'}Test_${i}.png`, grayPng(i));
    }
  }
  put('train/a/PublicTest_9.png');
  const set = await load();
  assert.equal([set.train.count, set.valid.count, set.test!.count, set.validName], [9, 4, 12, 'valid']);

  const plain = { data: join(folder.path, 'plain') };
  for (const usage of ['Training', 'PublicTest', 'PrivateTest']) {
    for (const name of ['a', 'b']) folder.write(`plain/${name}/${usage}_1.png`, grayPng(1));
  }
  const divided = await load(plain);
  assert.equal([divided.train.count, divided.valid.count, divided.test!.count], [2, 2, 2]);
});

test('resizes to store, stores colour only where there is some', async () => {
  put('a/gray.png', grayPng(1, 96));
  const middle = Uint8Array.from({ length: 200 }, (_, i) => (i % 20 >= 5 && i % 20 < 15 ? 50 : 200));
  put('a/wide.png', makePng(20, 10, 0, 8, middle));
  put(
    'b/red.png',
    makePng(
      30,
      30,
      2,
      8,
      Uint8Array.from({ length: 2700 }, (_, i) => (i % 3 === 0 ? 200 : 10)),
    ),
  );
  put('b/gray.png', makePng(8, 8, 0, 8, new Uint8Array(64).fill(99)));
  const set = await load({ store: 16, valid: 'all', use: 'evaluate' });
  assert.equal([set.valid.side, set.valid.channels, set.valid.count], [16, 3, 4]);
  const first = (file: string) => {
    const i = [0, 1, 2, 3].find((n) => set.source('valid', n) === file)!;
    return [...set.valid.pixels.subarray(i * 768 + 384, i * 768 + 387)];
  };
  assert.equal(first('a/wide.png'), [50, 50, 50]);
  assert.equal(first('b/red.png'), [200, 10, 10]);
  assert.equal(first('b/gray.png'), [99, 99, 99]);
  const gray = await load({ store: 16, valid: 'all', use: 'evaluate', channels: 1 });
  assert.is(gray.valid.channels, 1);
  assert.ok(gray.valid.pixels.includes(Math.round(0.299 * 200 + 0.701 * 10)));
});

test("takes a model's classes: its labels, some absent, none unknown", async () => {
  put('happy/1.png');
  const set = await load({ classes: emotions, valid: 'all', use: 'evaluate' });
  assert.equal([...set.valid.labels], [3]);
  // The same images again, as other classes.
  for (const classes of [['happy'], ['sad', 'happy'], ['a,b', 'c', 'happy'], ['a', 'b', 'c', 'happy']]) {
    const other = await load({ classes, valid: 'all', use: 'evaluate' });
    assert.equal([other.classes, [...other.valid.labels]], [classes, [classes.indexOf('happy')]]);
  }
  put('hungry/1.png');
  await rejectsData(() => load({ classes: emotions }), join(root, 'hungry'), /the model does not have. Expected angry/);
});

test('notices a file that came, went or changed', async () => {
  for (let i = 0; i < 10; i++) for (const name of ['cat', 'dog']) put(`${name}/${i}.png`, grayPng(i));
  const before = await load();
  assert.is((await load()).fingerprint, before.fingerprint);
  put('dog/10.png');
  const more = await load();
  assert.is(more.train.count + more.valid.count, 21);
  put('dog/10.png', grayPng(2));
  assert.is.not((await load()).fingerprint, more.fingerprint);
  const { signature } = listFolder(root);
  utimesSync(join(root, 'dog', '10.png'), 1, 1);
  assert.is.not(listFolder(root).signature, signature, 'of one size, but written again');
});

test('refuses broken images and folders that do not fit, naming the file', async () => {
  mkdirSync(root);
  await rejectsData(load, root, /no class folders/);
  for (let i = 0; i < 10; i++) for (const name of ['cat', 'dog']) put(`${name}/${i}.png`, grayPng(i));
  const wrong = async (file: string, content: string | Uint8Array, pattern: RegExp) => {
    const path = put(file, content);
    await rejectsData(load, `${path}: `, pattern);
    put(file);
  };
  await wrong('dog/x.jpg', 'no picture', /no image; expected PNG or JPEG/);
  await wrong('dog/x.png', grayPng(1).subarray(0, 900), /truncated PNG/);
  await wrong('cat/y.jpg', Uint8Array.from([0xff, 0xd8, 0xff, 0xe0]), /truncated JPEG/);
  await wrong('cat/z.png', '', /empty/);
  mkdirSync(join(root, 'eel'));
  await rejectsData(load, `${join(root, 'eel')}: `, /empty class folder/);
  put('eel/sub/1.png');
  await rejectsData(load, `${join(root, 'eel', 'sub')}: `, /folder inside a class folder/);
  put('train/cat/1.png');
  await rejectsData(load, join(root, 'cat'), /no split. Expected train, valid or test/);
});

test('a class is the same whether its é is one character or two', async () => {
  const [one, two] = ['caf\u00e9', 'CAFE\u0301'];
  for (let i = 0; i < 3; i++) for (const name of [one, 'tea']) put(`train/${name}/${i}.png`, grayPng(i));
  for (const name of [two, 'tea']) put(`test/${name}/1.png`);
  assert.is((await load({ use: 'evaluate' })).classes.length, 2);
  assert.equal([...(await load({ classes: ['tea', one], use: 'evaluate' })).test!.labels].sort(), [0, 1]);
});

if (process.platform === 'linux') {
  test('refuses class folders side by side that differ in case or in the spelling of an accent alone', async () => {
    for (const [one, two] of [
      ['A', 'a'],
      ['cafe\u0301', 'caf\u00e9'],
    ] as const) {
      for (const name of [one, two, 'tea']) put(`${one}/${name}/1.png`);
      const data = join(root, one);
      await rejectsData(() => load({ data }), `${join(data, two)}: `, new RegExp(`the same class as ${one}/`));
      // A model may tell them apart, if it was trained on arrays.
      const known = await load({ data, classes: ['tea', one, two], valid: 'all', use: 'evaluate' });
      assert.equal([...known.valid.labels].sort(), [0, 1, 2]);
    }
  });
}

test('refuses one class only and a link that leads nowhere', async () => {
  for (let i = 0; i < 12; i++) put(`cat/${i}.png`, grayPng(i));
  await rejectsData(load, `${root}: `, /'cat'.*two classes/);
  // On Windows not everybody may make one.
  if (process.platform === 'win32') return;
  symlinkSync(join(root, 'none.png'), join(root, 'cat', 'link.png'));
  await rejectsData(load, join(root, 'cat', 'link.png'), /cannot be read/);
});

test('refuses classes that no image trains, wherever their images lie; evaluates them', async () => {
  for (let i = 0; i < 10; i++) for (const name of ['cat', 'dog']) put(`train/${name}/${i}.png`, grayPng(i));
  for (const name of ['cat', 'dog', 'eel', 'fox']) put(`test/${name}/1.png`);
  await rejectsData(load, `${root}: `, /no images to train on of 'eel', 'fox'/);
  assert.is((await load({ use: 'evaluate' })).test!.count, 4);
  assert.is((await load({ classes: ['cat', 'dog', 'eel', 'fox'] })).classes.length, 4);
  put('train/eel/1.png');
  await rejectsData(load, `${root}: `, /of 'fox'/);
  put('train/fox/1.png');
  // A share is held back of every class, but not its only image.
  const share = await load({ valid: '20%' });
  assert.equal([share.classes.length, share.valid.count], [4, 2]);
  // What a limit leaves out was there.
  assert.is((await load({ limit: 2 })).train.count, 2);
});

if (process.platform === 'linux') {
  test('refuses files and class folders whose names are not UTF-8, and says so', async () => {
    for (let i = 0; i < 10; i++) for (const name of ['cat', 'dog', 'm\ufffdw']) put(`${name}/${i}.png`, grayPng(i));
    assert.is((await load()).classes.length, 3, 'the sign that stands for such bytes is a character like others');
    const latin1 = (name: string) => Buffer.from(join(root, name), 'latin1');
    writeFileSync(latin1('dog/m\xfcde.png'), grayPng(1));
    const file = join(root, 'dog', 'm\ufffdde.png');
    await rejectsData(load, `${file}: `, /its name is not UTF-8.*Rename it\./);
    assert.ok([...imagesBelow(root)].includes(file));
    await rejectsData(() => readImage(file), `${file}: `, /not UTF-8/);
    renameSync(latin1('dog/m\xfcde.png'), latin1('m\xfcde.png'));
    assert.is((await load()).classes.length, 3, 'beside the class folders it is passed over');
    mkdirSync(latin1('m\xfcde'));
    await rejectsData(load, `${join(root, 'm\ufffdde')}: `, /not UTF-8/);
  });
}

if (process.platform !== 'win32') {
  test('refuses pipes and devices, and passes them over where images are looked for', async () => {
    for (let i = 0; i < 10; i++) for (const name of ['cat', 'dog']) put(`${name}/${i}.png`, grayPng(i));
    const pipe = join(root, 'dog', 'pipe.png');
    execFileSync('mkfifo', [pipe]);
    await rejectsData(load, `${pipe}: `, /a pipe, not a regular file/);
    assert.is([...imagesBelow(root)].length, 20);
    await rejectsData(() => load({ data: pipe }), `${pipe}: `, /a pipe, not a regular file.*path of the CSV/);
    await rejectsData(() => load({ data: '/dev/null' }), '/dev/null: ', /a device, not a regular file/);
    symlinkSync(pipe, join(root, 'cat', 'link.png'));
    await rejectsData(load, join(root, 'cat', 'link.png'), /a pipe/);
  });
}

test.run();
