import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { engine } from './cases/case.ts';
import { allCases } from './cases/index.ts';

test('every exported operation has cases', () => {
  const checked = new Set<string>(allCases.map(({ op }) => op));
  const missing = Object.keys(engine).filter((name) => !checked.has(name));
  assert.equal(missing, [], `without a case in test/cases: ${missing.join(', ')}`);
});

test('no two cases have the same name', () => {
  const names = allCases.map(({ what }) => what);
  assert.equal(
    names.filter((name, i) => names.indexOf(name) !== i),
    [],
  );
});

test.run();
