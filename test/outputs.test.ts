import { dirname, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { checkFile, checkOutputs, outputOf } from '../src/cli/outputs.ts';
import { ConfigError } from '../src/core/errors.ts';
import { scratchFolder } from './files.ts';
import { onPlatform } from './platform.ts';

const refuses = (call: () => void, pattern: RegExp): void => {
  assert.throws(call, (error: Error) => error instanceof ConfigError && pattern.test(error.message));
};

test('an output has the place of its image, and is a PNG', () => {
  assert.is(
    outputOf(join('faces', 'train', 'sad', 'a.b.JPEG'), 'faces', 'out'),
    join('out', 'train', 'sad', 'a.b.png'),
  );
  assert.is(outputOf(join('faces', 'a.jpg'), join('faces', 'a.jpg'), 'out'), join('out', 'a.png'));
  assert.is(outputOf('face', 'face', 'out'), join('out', 'face.png'));
  assert.is(outputOf(join('in.to', 'sad', 'face'), 'in.to', 'out'), join('out', 'sad', 'face.png'));
});

test('what would be overwritten, written twice or not written is refused, and nothing is made', () => {
  const scratch = scratchFolder();
  try {
    const there = scratch.write('out/a.png', '');
    const folder = join(scratch.path, 'out');
    checkOutputs('--cam', folder, [join(folder, 'b.png'), join(folder, 'c.png')]);
    refuses(
      () => checkOutputs('--cam', folder, [join(folder, 'b.png'), there]),
      /a\.png: there is such a file already/,
    );
    const twice = join(folder, 'b.png');
    refuses(() => checkOutputs('--cam', folder, [twice, twice]), /b\.png: two images would be written to it/);
    const cased = [join(folder, 'b.png'), join(folder, 'B.png')];
    onPlatform('linux', () => checkOutputs('--cam', folder, cased));
    for (const platform of ['win32', 'darwin'] as const)
      refuses(() => onPlatform(platform, () => checkOutputs('--cam', folder, cased)), /B\.png: two images/);
    const below = join(there, 'x');
    refuses(
      () => checkOutputs('--cam', below, [join(below, 'a.png')]),
      /^--cam [^\n]*cannot be written \(it is a file, or below one\)\. Choose another folder\.$/,
    );
  } finally {
    scratch.remove();
  }
});

test('a file may be written over an old one; a folder, or what is below a file, is none', () => {
  const scratch = scratchFolder();
  try {
    const there = scratch.write('out/a.json', '');
    checkFile('--json', there);
    checkFile('--json', join(scratch.path, 'new', 'a.json'));
    for (const path of [dirname(there), join(scratch.path, 'new', '/')])
      refuses(() => checkFile(`--json ${path}`, path), /^--json [^\n]*: is no regular file\. Name a new one\.$/);
    refuses(
      () => checkFile('--json', join(there, 'b.json')),
      /^--json: cannot be written \(it is a file, or below one\)/,
    );
  } finally {
    scratch.remove();
  }
});

test.run();
