import { execFileSync } from 'node:child_process';
import { closeSync, openSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { imagesIn, readImage } from '../src/cli/images.ts';
import { imagesBelow } from '../src/data/find.ts';
import { grayPng, rejectsData, scratchFolder } from './files.ts';

const scratch = scratchFolder();
test.after(() => scratch.remove());
const at = (...names: string[]) => join(scratch.path, ...names);

test('a path is itself, or the images below it; where there are none it says why', async () => {
  const png = scratch.write('faces/a.png', grayPng(1));
  scratch.write('faces/notes.txt', '');
  scratch.write('faces/.b.png', '');
  scratch.write('empty/notes.txt', '');
  assert.equal([imagesIn(png), imagesIn(at('faces'))], [[png], [png]]);
  assert.is((await readImage(png)).width, 48);
  await rejectsData(() => imagesIn(at('nowhere')), `${at('nowhere')}: no such file or folder`);
  await rejectsData(() => imagesIn(at('empty')), `${at('empty')}: holds no PNG or JPEG images`);
  await rejectsData(() => imagesIn(join(png, 'x')), `${join(png, 'x')}: `, /cannot be read \(ENOTDIR|no such file/);
  await rejectsData(() => readImage(at('faces', 'notes.txt')), at('faces', 'notes.txt'), /the file is empty/);
});

test('a folder that cannot be listed comes in place of its images, and reading it says so', async () => {
  const gone = at('shots', 'gone');
  scratch.write('shots/a.png', grayPng(1));
  scratch.write('shots/gone/b.png', grayPng(2));
  scratch.write('shots/z.png', grayPng(3));
  const found = imagesBelow(at('shots'));
  assert.is(found.next().value, at('shots', 'a.png'));
  rmSync(gone, { recursive: true });
  assert.equal([...found], [gone, at('shots', 'z.png')]);
  await rejectsData(
    () => readImage(gone),
    `${gone}: cannot be read (ENOENT`,
    /Check that it exists and may be read\.$/,
  );
});

if (process.platform !== 'win32') {
  test('a link to itself is said to be one, and a pipe is not waited for', async () => {
    const [loop, pipe, inside] = [at('loop.png'), at('pipe.png'), at('links', 'loop.png')];
    symlinkSync('loop.png', loop);
    await rejectsData(() => imagesIn(loop), `${loop}: cannot be read (ELOOP: `);
    execFileSync('mkfifo', [pipe]);
    await rejectsData(() => imagesIn(pipe), `${pipe}: a pipe, not a regular file.`);
    // One that is open has a writer, such as that of <(…).
    const open = openSync(pipe, 'r+');
    const path = `/dev/fd/${open}`;
    assert.equal(imagesIn(path, true), [path]);
    await rejectsData(() => imagesIn(path), `${path}: a pipe, not a regular file.`);
    closeSync(open);
    scratch.write('links/a.png', grayPng(1));
    symlinkSync('loop.png', inside);
    assert.equal(imagesIn(at('links')), [at('links', 'a.png'), inside]);
    await rejectsData(() => readImage(inside), `${inside}: cannot be read (ELOOP: `);
  });
}

test.run();
