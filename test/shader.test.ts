import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { mentions, type Shader, workgroupSize } from '../src/gpu/interface.ts';
import { type Consts, loadShader } from '../src/gpu/shader.ts';

const files: Record<string, string> = {
  'lib/a.wgsl': 'const SHARED: u32 = 1u;\nfn a() {}\n',
  'lib/b.wgsl': '//#include "lib/a.wgsl"\nfn b() {}\n',
  'demo.wgsl': `// A comment with const NOT: u32 = 1u; in it.
//#include "lib/a.wgsl"
//#include "lib/b.wgsl"
const SIZE: u32 = 64u;
const OFFSET: i32 = 0i;
const RATE: f32 = 0.5;
const ON: bool = false;
const OP: u32 = FIRST;
const FIRST: u32 = 0u;
const SECOND: u32 = 1u;
alias Stored = f32;
struct Params {
  n: u32, // elements, not: u32, nor f16 or vec4h, and no subgroupAdd(x)
  shift: i32, rate: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> out: array<atomic<u32>, 4>;
@compute @workgroup_size(SIZE, 2)
fn first() {}
@compute @workgroup_size(8)
@must_use fn second() {}
`,
};

const source = (path: string): string => {
  const text = files[path];
  if (text === undefined) throw new Error(`there is no shader ${path}`);
  return text;
};

const load = (consts: Consts = {}): Shader => loadShader('demo', consts, source);

test('a piece that two others include is there once', () => {
  const { code } = load();
  assert.is(code.split('fn a()').length, 2);
  assert.is(code.split('fn b()').length, 2);
  assert.not.match(code, /^\/\/#include/m);
});

test('constants are rewritten by their type', () => {
  const { code } = load({ SIZE: 32, OFFSET: -3, RATE: 2, ON: true, OP: 'SECOND', SHARED: 7 });
  for (const line of [
    'const SIZE: u32 = 32u;',
    'const OFFSET: i32 = -3i;',
    'const RATE: f32 = 2.0;',
    'const ON: bool = true;',
    'const OP: u32 = SECOND;',
    'const SHARED: u32 = 7u;',
    'const SECOND: u32 = 1u;',
  ]) {
    assert.ok(code.includes(`\n${line}`) || code.startsWith(line), line);
  }
  assert.match(load({ RATE: 1e-7 }).code, /const RATE: f32 = 1e-7;/);
  assert.match(load({ ON: 0 }).code, /const ON: bool = false;/);
  for (const [value, text] of [
    [-3, '-3.0'],
    [1e20, '100000000000000000000.0'],
    [1e21, '1e+21'],
    [-1.5e30, '-1.5e+30'],
  ] as const)
    assert.ok(load({ RATE: value }).code.includes(`\nconst RATE: f32 = ${text};`), text);
  assert.throws(
    () => load({ RATE: Number.NaN }),
    /^demo\.wgsl: the constant RATE is NaN, which WGSL has no literal for/,
  );
  assert.throws(() => load({ SIZE: Number.POSITIVE_INFINITY }), /^demo\.wgsl: the constant SIZE is Infinity/);
});

test('without constants the text stands as it is', () => {
  assert.match(load().code, /const SIZE: u32 = 64u;\nconst OFFSET: i32 = 0i;\nconst RATE: f32 = 0\.5;/);
});

test('an f16 storage type brings its enable directive, first', () => {
  assert.not.match(load().code, /enable/);
  const { code } = load({ Stored: 'f16' });
  assert.match(code, /^enable f16;\n/);
  assert.match(code, /\nalias Stored = f16;/);
  assert.match(load({ Stored: 'vec4h' }).code, /^enable f16;\n/);
  const spoken = loadShader(
    'spoken',
    {},
    () => '// f16, vec4h, subgroupAdd(x)\n@compute @workgroup_size(1) fn main() {}',
  );
  assert.not.match(spoken.code, /enable/);
});

test('what a text uses is enabled, and not what its comments speak of', () => {
  const enabled = (text: string): string[] =>
    [...loadShader('uses', {}, () => text).code.matchAll(/^enable (\w+);/gm)].map(([, extension]) => extension!);
  assert.equal(enabled('// f16 by subgroupAdd(x)\nalias Elem = f32; // vec4h'), []);
  assert.equal(enabled('fn sum(x: f32) -> f32 { return subgroupAdd(x); }'), ['subgroups']);
  assert.equal(enabled('fn quadOf(x: f32) -> f32 { return x; }\nfn main() { let y = quadOf(1.0); }'), []);
  assert.equal(enabled('fn subgroupOf(x: u32) -> u32 { return subgroupBroadcastFirst(x); }'), ['subgroups']);
  assert.equal(enabled('@subgroup_size(32)\nfn main() { var sums: subgroup_matrix_result<f32, 16, 16>; }').sort(), [
    'chromium_experimental_subgroup_matrix',
    'subgroup_size_control',
  ]);
});

test('an unknown constant is refused with those that there are', () => {
  assert.throws(
    () => load({ SISE: 1, SIZE: 2 }),
    /^demo\.wgsl has no constant SISE; it has SHARED, SIZE, OFFSET, RATE, ON, OP, FIRST, SECOND, Stored\.$/,
  );
});

test('the interface is read from the text', () => {
  const { bindings, params, paramsBinding } = load();
  assert.is(paramsBinding, 0);
  assert.equal(
    [...bindings],
    [
      ['x', { binding: 1, access: 'read', element: 'vec4f' }],
      ['out', { binding: 3, access: 'read_write', element: 'atomic<u32>' }],
    ],
  );
  assert.equal(params, [
    { name: 'n', type: 'u32' },
    { name: 'shift', type: 'i32' },
    { name: 'rate', type: 'f32' },
  ]);
});

const bound = '@group(0) @binding(0) var<uniform> params: Params;';

test('the interface is read whatever the spelling', () => {
  const expected = loadShader(
    'usual',
    {},
    () => `struct Params { n: u32 }
${bound}
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@compute @workgroup_size(64) fn main() { out[0] = x[params.n]; }`,
  );
  const texts = {
    spaces: `struct Params{n:u32,}
@group( 0 ) @binding( 0u ) var < uniform > params : Params ;
@group(0) @binding(1)
var<storage,read>x:array< f32 >;
@binding(2) @group(0) var<storage,read_write> out : array<f32>;
@workgroup_size( 64, ) @compute
fn  main () { out[0] = x[params.n]; }`,
    comments: `// @group(0) @binding(3) var<uniform> before: Params;
struct Params { /* m: vec4f, /* n: f32 */ n, once */ n: u32 } // a // b
${bound} /* @group(0) @binding(3) var<uniform> settings: Params; // */
@group(0) @binding(1) /* x */ var<storage> x: array<f32>; /* // */
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@compute @workgroup_size(64) fn main() { out[0] = x[params.n]; }`,
  };
  for (const [what, text] of Object.entries(texts)) {
    const shader = loadShader('usual', {}, () => text);
    assert.equal({ ...shader, code: '' }, { ...expected, code: '' }, what);
    assert.equal(workgroupSize(shader, 'main'), [64, 1, 1], what);
    assert.equal([...mentions(shader, 'main').surely], ['x', 'out', 'params'], what);
  }
});

test('a struct of another name, and sizes that are computed', () => {
  const text = `struct Settings { n: u32, rate: f32 }
@group(0) @binding(0) var<uniform> settings: Settings;
fn inner() -> u32 { if (true) { const WIDE = 9u; } const TALL = 5u; return TALL; }
const WIDE = 4u; const TALL: u32 = 2 * WIDE;
@compute @workgroup_size(TALL * 3 / 2, WIDE) fn main() {}`;
  const shader = loadShader('other', {}, () => text);
  assert.equal([shader.paramsName, shader.params.map(({ name }) => name)], ['settings', ['n', 'rate']]);
  assert.equal(workgroupSize(shader, 'main'), [12, 4, 1]);
});

test('a binding that no kernel can be given is refused: Dawn would end the process', () => {
  const cases: [text: string, line: RegExp][] = [
    [
      '@group(1) @binding(0) var<storage> x: array<f32>;',
      /x is not of @group\(0\), the only group that a kernel binds/,
    ],
    ['@group(0) @binding(N) var<storage> x: array<f32>;', /x has no @binding with a number/],
    ['@group(0) @binding(0) var image: texture_2d<f32>;', /image is a texture_2d<f32>; a kernel binds storage buffers/],
    ['@group(0) @binding(0) var<uniform> n: vec4u;', /the uniform is vec4u; it must be a struct of u32, i32 and f32/],
    [`struct Params { n: u32 }\n${bound}\n${bound.replace('params', 'more')}`, /more is a uniform beside params/],
    [`struct Params { @align(16) n: u32 }\n${bound}`, /Params has a field '@align\(16\) n: u32'; expected NAME: TYPE/],
    ['@group(0) @binding(0) var<storage> x = 3;', /^bad\.wgsl: 1 @binding, of which 0 were understood\. Write each as/],
  ];
  for (const [text, line] of cases) assert.throws(() => loadShader('bad', {}, () => text), line);
});

test('parameters that cannot be packed are refused', () => {
  const text = `struct Params { size: vec2u }\n${bound}`;
  assert.throws(() => loadShader('bad', {}, () => text), /^bad\.wgsl: Params\.size is vec2u; only u32, i32 and f32/);
});

test('a workgroup size may be a constant, and other attributes may follow', () => {
  assert.equal(workgroupSize(load(), 'first'), [64, 2, 1]);
  assert.equal(workgroupSize(load({ SIZE: 16 }), 'first'), [16, 2, 1]);
  assert.equal(workgroupSize(load(), 'second'), [8, 1, 1]);
  assert.throws(() => workgroupSize(load(), 'third'), /^demo\.wgsl has no compute entry point 'third'/);
});

test('a shader or piece that is missing is named', () => {
  assert.throws(() => loadShader('absent', {}, source), /there is no shader absent\.wgsl/);
});

test('bindings are those that an entry point mentions, also by way of functions', () => {
  const text = `
struct Params { n: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> x: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
@group(0) @binding(4) var<storage, read_write> outs: array<vec4f>;
fn scaled(i: u32) -> f32 { return deeper(i) * f32(params.n); }
/* fn deeper speaks of b */
fn deeper(i: u32) -> f32 { if (i > 3) { return 0.0; } return a[i]; } // b
fn shadow(x: f32) -> f32 { return x; }
@compute @workgroup_size(1) fn direct() { out[0] = b[0]; }
@compute @workgroup_size(1) fn nested() { let v = vec4f(); out[0] = scaled(1) + v.x; }
@compute @workgroup_size(1) fn unclear() { out[0] = shadow(1.0); }`;
  const shader = loadShader('demo', {}, () => text);
  const found = (entry: string) => {
    const { surely, perhaps } = mentions(shader, entry);
    return `${[...surely].sort()} | ${[...perhaps].sort()}`;
  };
  assert.is(found('direct'), 'b,out | b,out,outs');
  assert.is(found('nested'), 'a,out,params | a,out,outs,params');
  assert.is(found('unclear'), 'out | out,outs,x');
});

test.run();
