// The shape of the code: which folder may import which, what runs in a browser, what every
// shader and every operation needs.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, extname, join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

const root = fileURLToPath(new URL('..', import.meta.url));
const read = (path: string): string => readFileSync(join(root, path), 'utf8');

/** Folders of src that each folder may import; '.' is src/index.ts. */
const below = ['gpu', 'core', 'ops', 'nn', 'models', 'optim', 'data'];
const mayImport: Readonly<Record<string, readonly string[]>> = {
  gpu: [],
  core: ['gpu'],
  ops: ['gpu', 'core'],
  nn: ['gpu', 'core', 'ops'],
  models: ['gpu', 'core', 'ops', 'nn'],
  optim: ['gpu', 'core', 'ops'],
  data: ['gpu', 'core', 'ops'],
  train: below,
  cli: [...below, 'train'],
  '.': [...below, 'train'],
};

/** They import nothing but each other, so everything may use them: what fails, which name was meant, and words for it. */
const foundation = ['src/core/errors.ts', 'src/core/nearest.ts', 'src/core/words.ts'];

/** Folders that are to run in a browser, and the files in them that open Dawn in Node instead. */
const browserFolders = ['gpu', 'core', 'ops', 'nn', 'models', 'optim'];
const nodeSide = ['adapters', 'cachedir', 'dawn', 'node', 'polling', 'software', 'stderr'].map(
  (name) => `src/gpu/${name}.ts`,
);
/** Packages that run in a browser as they do in Node. */
const anywhere = ['@petamoriken/float16'];

interface Import {
  /** A path from the root for one of our files, else as it is written. */
  target: string;
  /** `import type`: gone when the program runs. */
  typeOnly: boolean;
}

/** Every import, re-export, dynamic import and require of a file; statements start a line, as Biome formats them. */
function importsOf(path: string, text: string): Import[] {
  const resolved = (specifier: string): string =>
    specifier.startsWith('.') ? posix.normalize(posix.join(dirname(path), specifier)) : specifier;
  const statements = /^(?:import|export)\s+(type\s+)?(?:(?:[\w*$]|\{)[^;'"]*?\sfrom\s+)?'([^'\n]+)'/gm;
  const calls = /\b(?:import|require)\(\s*'([^'\n]+)'/g;
  return [
    ...[...text.matchAll(statements)].map(([, type, target]) => ({ target: resolved(target!), typeOnly: !!type })),
    ...[...text.matchAll(calls)].map(([, target]) => ({ target: resolved(target!), typeOnly: false })),
  ];
}

type Sources = Readonly<Record<string, string>>;

const folderOf = (path: string): string => (dirname(path) === 'src' ? '.' : path.split('/')[1]!);

/** Imports that go against the order of the folders. */
function againstOrder(sources: Sources): string[] {
  return Object.entries(sources).flatMap(([path, text]) => {
    const folder = folderOf(path);
    const allowed = mayImport[folder];
    if (!allowed) return [`${path}: src/${folder} has no place in the order`];
    return importsOf(path, text)
      .filter(({ target }) => target.startsWith('src/') && !foundation.includes(target))
      .filter(({ target }) => folderOf(target) !== folder && !allowed.includes(folderOf(target)))
      .map(({ target }) => `${path} imports ${target}`);
  });
}

/** Circles of files that need each other when the program starts; types may go round. */
function circles(sources: Sources): string[] {
  const found: string[] = [];
  const done = new Set<string>();
  const visit = (path: string, trail: readonly string[]): void => {
    if (trail.includes(path)) found.push([...trail.slice(trail.indexOf(path)), path].join(' → '));
    if (trail.includes(path) || done.has(path)) return;
    for (const { target, typeOnly } of importsOf(path, sources[path] ?? '')) {
      if (!typeOnly && target in sources) visit(target, [...trail, path]);
    }
    done.add(path);
  };
  for (const path of Object.keys(sources)) visit(path, []);
  return found;
}

/** Files for the browser that import something of Node or of `webgpu`, or a file of ours that is for Node. */
function tiedToNode(sources: Sources): string[] {
  const forBrowser = Object.entries(sources).filter(
    ([path]) => browserFolders.includes(folderOf(path)) && !nodeSide.includes(path),
  );
  return forBrowser.flatMap(([path, text]) =>
    importsOf(path, text)
      .filter(({ target, typeOnly }) => !typeOnly || !target.startsWith('src/'))
      .filter(({ target }) => (target.startsWith('src/') ? nodeSide.includes(target) : !anywhere.includes(target)))
      .map(({ target }) => `${path} imports ${target}`),
  );
}

function filesIn(folder: string, ...endings: string[]): string[] {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .map((name) => posix.join(folder, name.replaceAll('\\', '/')))
    .filter((path) => endings.includes(extname(path)))
    .sort();
}

const code: Sources = Object.fromEntries(filesIn('src', '.ts').map((path) => [path, read(path)]));
const shaders: Sources = Object.fromEntries(filesIn('shaders', '.wgsl').map((path) => [path, read(path)]));

test('imports are found in every form', () => {
  const text = [
    "import { a, type B } from './b.ts';",
    "import type { C } from '../core/c.ts';",
    "import './d.ts';",
    'import {\n  e,\n  f,\n} from "webgpu";'.replaceAll('"', "'"),
    "import * as g from '../g.ts';",
    "export * from './h.ts';",
    "export type { I } from './i.ts';",
    "export const name = 'from';",
    "const j = await import('./j.ts');",
    "const k = require('node:fs');",
    "// import { l } from './l.ts';",
  ].join('\n');
  assert.equal(
    importsOf('src/ops/a.ts', text).map(({ target, typeOnly }) => `${typeOnly ? 'type ' : ''}${target}`),
    [
      ...['src/ops/b.ts', 'type src/core/c.ts', 'src/ops/d.ts', 'webgpu', 'src/g.ts', 'src/ops/h.ts'],
      ...['type src/ops/i.ts', 'src/ops/j.ts', 'node:fs'],
    ],
  );
});

/** Files of train for commands alone, which it does not export: their messages may speak of flags. */
const ofCommands = ['artifacts', 'colorize', 'evaluationpage', 'report', 'reportparts', 'runfolder'].map(
  (name) => `src/train/${name}.ts`,
);

test('below cli, messages name parameters and not the flags of commands', () => {
  const speaksOfFlags = /^(?!\s*(?:\/?\*|\/\/)).*['"`](?:.*\w )?--[a-z]/m;
  const paths = Object.keys(code).filter((path) => folderOf(path) !== 'cli' && speaksOfFlags.test(code[path]!));
  assert.equal(paths, ofCommands);
});

test('what goes against the rules is found', () => {
  const wrong: Sources = {
    'src/core/a.ts': "import { b } from '../ops/b.ts';\nimport type { d } from './d.ts';",
    'src/ops/b.ts': "import { a } from '../core/a.ts';\nimport { openGpu } from '../gpu/node.ts';",
    'src/core/d.ts': "import { a } from './a.ts';\nimport { readFileSync } from 'node:fs';",
    'src/gpu/e.ts': "import type { f } from '../core/d.ts';\nimport { g } from '../core/errors.ts';",
    'src/misc/f.ts': '',
  };
  assert.equal(againstOrder(wrong), [
    'src/core/a.ts imports src/ops/b.ts',
    'src/gpu/e.ts imports src/core/d.ts',
    'src/misc/f.ts: src/misc has no place in the order',
  ]);
  assert.equal(circles(wrong), ['src/core/a.ts → src/ops/b.ts → src/core/a.ts']);
  assert.equal(tiedToNode(wrong), ['src/ops/b.ts imports src/gpu/node.ts', 'src/core/d.ts imports node:fs']);
});

test('imports go one way: gpu → core → ops → nn → models; optim and data beside nn; then train, then cli', () => {
  assert.equal(againstOrder(code), []);
  for (const path of foundation) {
    for (const { target } of importsOf(path, code[path]!))
      assert.ok(foundation.includes(target), `${path} imports ${target}`);
  }
});

test('no file needs itself', () => {
  assert.equal(circles(code), []);
});

test('what a browser will run imports nothing of Node and nothing of webgpu', () => {
  assert.equal(tiedToNode(code), []);
  for (const path of nodeSide) assert.ok(path in code, `${path} is gone: take it off the list`);
});

test('every import of ours is a file', () => {
  const files = new Set(filesIn('src', '.ts'));
  for (const [path, text] of Object.entries(code)) {
    for (const { target } of importsOf(path, text)) {
      if (target.startsWith('src/')) assert.ok(files.has(target), `${path} imports ${target}`);
    }
  }
});

test('every entry point of every shader is a kernel in src, and every include is used', () => {
  const kernels = Object.values(code).flatMap((text) =>
    [...text.matchAll(/\bkernel\(\s*'([\w/]+)',\s*'(\w+)'/g)].map(([, name, entry]) => `${name} ${entry}`),
  );
  const entries = Object.entries(shaders).flatMap(([path, text]) =>
    [...text.matchAll(/@compute\b[^{]*?\bfn\s+(\w+)/g)].map(
      ([, entry]) => `${path.slice('shaders/'.length, -'.wgsl'.length)} ${entry}`,
    ),
  );
  assert.equal([...new Set(kernels)].sort(), entries.sort());
  const included = Object.values(shaders).flatMap((text) =>
    [...text.matchAll(/^\/\/#include (?:\w+ )?"(.+)"/gm)].map(([, path]) => `shaders/${path}`),
  );
  // A named include may be given another file by the code that runs the kernel.
  const given = Object.values(code).flatMap((text) =>
    [...text.matchAll(/'(lib\/\w+\.wgsl)'/g)].map(([, path]) => `shaders/${path}`),
  );
  const withoutEntry = Object.keys(shaders).filter((path) => !shaders[path]!.includes('@compute'));
  assert.equal(withoutEntry, [...new Set([...included, ...given])].sort());
});

// dropout is random: dropout.test.ts holds it against its twin on the CPU. The oracle names expand as NumPy does.
const elsewhere: Readonly<Record<string, string | null>> = { dropout: null, expand: 'broadcastTo' };

test('every operation has a reference', async () => {
  const operations: object = await import('../src/ops/index.ts');
  const reference: object = await import('./reference.ts');
  const missing = Object.keys(operations).filter((name) => {
    const twin = name in elsewhere ? elsewhere[name] : name;
    return twin !== null && !(twin! in reference);
  });
  assert.equal(missing, []);
});

test('files are short, and nothing in them is left for later', () => {
  const unfinished = new RegExp(['TO', 'DO|FIX', 'ME|X', 'XX'].join(''));
  const files = ['src', 'bench', 'test', 'shaders'].flatMap((folder) => filesIn(folder, '.ts', '.wgsl', '.py'));
  for (const path of files) {
    const lines = read(path).split('\n');
    assert.ok(lines.length <= 451, `${path} has ${lines.length - 1} lines, at most 450 are easy to read`);
    const line = lines.findIndex((text) => unfinished.test(text));
    assert.ok(line < 0, `${path}:${line + 1}: ${lines[line]}`);
  }
});

test('a checkout has the same line ends on every system', () => {
  const files = ['README.md', 'src/index.ts', 'shaders/unary.wgsl', 'biome.json'];
  const { status, stdout } = spawnSync('git', ['check-attr', 'eol', ...files], { cwd: root, encoding: 'utf8' });
  // A package is no checkout, and a machine may have no git.
  if (status === 0)
    assert.equal(
      stdout.trim().split('\n'),
      files.map((file) => `${file}: eol: lf`),
    );
});

test.run();
