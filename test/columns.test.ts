import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { columns, cut, cutApart, padEnd, padStart } from '../src/core/columns.ts';

// What wcwidth, and terminals with it, make of them.
const widths: [text: string, width: number][] = [
  ['', 0],
  ['happy', 5],
  ['wütend & böse', 13],
  ['wu\u0308tend', 6],
  ['高兴', 4],
  ['행복', 4],
  ['ハッピー', 8],
  ['ﾊｯﾋﾟｰ', 4],
  ['😀 5', 4],
  ['👨‍👩‍👧', 2],
];

test('names are as wide as a terminal shows them', () => {
  for (const [text, width] of widths) assert.is(columns(text), width, text);
});

test('names are cut between characters and filled up to one width', () => {
  const cases: [text: string, width: number, expected: string][] = [
    ['happy', 5, 'happy'],
    ['happy', 4, 'hap…'],
    ['高兴的脸', 5, '高兴…'],
    ['高兴的脸', 4, '高…'],
    ['ab😀😀', 4, 'ab…'],
    ['wu\u0308tend', 3, 'wu\u0308…'],
  ];
  for (const [text, width, expected] of cases) {
    assert.is(cut(text, width), expected);
    for (const filled of [padEnd(cut(text, width), 6), padStart(cut(text, width), 6)]) assert.is(columns(filled), 6);
  }
  assert.is(padEnd('高', 4), '高  ');
  assert.is(padStart('高', 4), '  高');
});

test('names that are cut in the middle stay apart', () => {
  assert.equal(cutApart(['happy', 'photographs', 'photocopies'], 7), ['happy', 'pho…phs', 'pho…ies']);
  assert.equal(cutApart(['a long 1 name', 'a long 2 name', 'short'], 9), ['a l…0…ame', 'a l…1…ame', 'short']);
  assert.equal(cutApart(['高兴的脸高兴的脸', '😀😀😀😀a'], 8), ['高兴…脸', '😀😀…😀a']);
});

test.run();
