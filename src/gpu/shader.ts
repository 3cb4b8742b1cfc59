import { GpuError } from '../core/errors.ts';

export type ConstValue = number | boolean | string;
export type Consts = Readonly<Record<string, ConstValue>>;

export interface ShaderBinding {
  binding: number;
  access: 'read' | 'read_write';
  /** The WGSL element type: `f32`, `vec4f`, `u32`, `atomic<u32>` … */
  element: string;
}

/** A shader's text with its constants set, and the interface that the text declares. */
export interface Shader {
  name: string;
  code: string;
  bindings: ReadonlyMap<string, ShaderBinding>;
  /** Fields of `struct Params`, in order; all are scalars of 4 bytes. */
  params: readonly { name: string; type: 'u32' | 'i32' | 'f32' }[];
  paramsBinding: number;
  /** The variable that is bound there. */
  paramsName: string;
}

/** Where shader text comes from: the file system in Node, a bundler's import in a browser. */
export type ShaderSource = (path: string) => string;

const INCLUDE = /^\/\/#include (?:(\w+) )?"([^"]+)"$/gm;
const CONST = /^const (\w+): (u32|i32|f32|bool) = ([^;]+);/gm;
const ALIAS = /^alias (\w+) = (\w+);/gm;
const BINDING = /@group\(0\) @binding\((\d+)\) var<(storage, read|storage, read_write|uniform)> (\w+): ([^;]+);/g;
const PARAMS = /struct Params \{([^}]*)\}/;

/** Puts files in place of their include lines, each once; a named include may be given another file. */
function splice(path: string, source: ShaderSource, consts: Consts, known: string[]): string {
  const seen = new Set<string>();
  const read = (file: string): string =>
    source(file).replace(INCLUDE, (_, name: string | undefined, usual: string) => {
      if (name) known.push(name);
      const included = String((name && consts[name]) ?? usual);
      if (seen.has(included)) return '';
      seen.add(included);
      return read(included);
    });
  return read(path);
}

/** A string is the name of another constant: `OP: 'RELU'`. */
function literal(type: string, value: ConstValue): string {
  if (typeof value === 'string') return value;
  if (type === 'bool') return String(Boolean(value));
  // From 1e21 on a whole number has an exponent, and is a float by that.
  if (type === 'f32') return /^-?\d+$/.test(`${value}`) ? `${value}.0` : `${value}`;
  return `${value}${type === 'u32' ? 'u' : 'i'}`;
}

/**
 * Loads `NAME.wgsl`, splices its `//#include "…"` lines (`//#include NAME "…"` can be given another file), rewrites `const X: T = …;` and `alias X = …;` lines to the given values
 * and reads the interface: bindings and `struct Params`. Throws GpuError for a constant that the shader does not have, or that is no finite number.
 */
export function loadShader(name: string, consts: Consts, source: ShaderSource): Shader {
  const known: string[] = [];
  let code = splice(`${name}.wgsl`, source, consts, known);
  const set = (text: string, key: string, render: (value: ConstValue) => string): string => {
    known.push(key);
    const value = consts[key];
    return value === undefined ? text : render(value);
  };
  code = code.replace(CONST, (text, key: string, type: string) =>
    set(text, key, (value) => {
      if (typeof value === 'number' && type !== 'bool' && !Number.isFinite(value))
        throw new GpuError(`${name}.wgsl: the constant ${key} is ${value}, which WGSL has no literal for.`);
      return `const ${key}: ${type} = ${literal(type, value)};`;
    }),
  );
  code = code.replace(ALIAS, (text, key: string) => set(text, key, (value) => `alias ${key} = ${value};`));
  const unknown = Object.keys(consts).filter((key) => !known.includes(key));
  if (unknown.length > 0) {
    throw new GpuError(`${name}.wgsl has no constant ${unknown.join(', ')}; it has ${known.join(', ')}.`);
  }
  // What comments speak of needs nothing enabled, nor does a function of the text's own, whatever it is called.
  const bare = code.replace(/\/\/.*$/gm, '');
  const own = new Set([...bare.matchAll(/\bfn (\w+)/g)].map(([, fn]) => fn));
  const uses = (pattern: RegExp): boolean => [...bare.matchAll(pattern)].some(([, word]) => !own.has(word!));
  const needs: [string, RegExp][] = [
    ['f16', /\b(f16|vec\dh|mat\dx\dh)\b/g],
    ['subgroups', /\b((?:subgroup|quad)[A-Z]\w*)\(/g],
    ['subgroup_size_control', /@(subgroup_size)\b/g],
    ['chromium_experimental_subgroup_matrix', /\b(subgroup_matrix_\w+)</g],
  ];
  for (const [extension, pattern] of needs) if (uses(pattern)) code = `enable ${extension};\n${code}`;

  const aliases = new Map([...code.matchAll(ALIAS)].map(([, alias, type]) => [alias!, type!]));
  const bindings = new Map<string, ShaderBinding>();
  let paramsBinding = -1;
  let paramsName = '';
  for (const [, binding, kind, variable, type] of code.matchAll(BINDING)) {
    if (kind === 'uniform') {
      paramsBinding = Number(binding);
      paramsName = variable!;
    } else {
      const element = /^array<(.+)>$/.exec(type!.trim())?.[1]?.split(',')[0]?.trim() ?? type!.trim();
      bindings.set(variable!, {
        binding: Number(binding),
        access: kind === 'storage, read' ? 'read' : 'read_write',
        element: aliases.get(element) ?? element,
      });
    }
  }
  const fields = (PARAMS.exec(code)?.[1] ?? '').replace(/\/\/.*$/gm, '').match(/\w+\s*:\s*\w+/g) ?? [];
  const params = fields.map((field) => {
    const [key, type] = field.split(':').map((part) => part.trim()) as [string, string];
    if (type !== 'u32' && type !== 'i32' && type !== 'f32') {
      throw new GpuError(`${name}.wgsl: Params.${key} is ${type}; only u32, i32 and f32 can be packed.`);
    }
    return { name: key, type: type as 'u32' | 'i32' | 'f32' };
  });
  return { name, code, bindings, params, paramsBinding, paramsName };
}

/** Bindings that an entry point mentions, itself or in a function that it calls: those that its pipeline has. */
export interface Mentions {
  readonly surely: ReadonlySet<string>;
  /** Those, the ones whose name is a local one as well where it stands, and other names of the same bindings. */
  readonly perhaps: ReadonlySet<string>;
}

/** What the entry point mentions of the shader's bindings, `params` among them. */
export function mentions({ code, bindings, paramsName }: Shader, entry: string): Mentions {
  const functions = functionsOf(code);
  const surely = new Set<string>();
  const perhaps = new Set<string>();
  const reached = new Set([entry]);
  for (const name of reached) {
    const { words, locals } = functions.get(name) ?? { words: new Set(), locals: new Set() };
    for (const other of functions.keys()) if (words.has(other)) reached.add(other);
    for (const variable of [...bindings.keys(), paramsName]) {
      if (!words.has(variable)) continue;
      perhaps.add(variable);
      if (!locals.has(variable)) surely.add(variable);
    }
  }
  const slots = new Set([...perhaps].map((name) => bindings.get(name)?.binding));
  for (const [name, { binding }] of bindings) if (slots.has(binding)) perhaps.add(name);
  return { surely, perhaps };
}

/** For each function the words of its text that are no members, and those that it declares. */
function functionsOf(code: string): Map<string, { words: Set<string>; locals: Set<string> }> {
  const bare = code.replace(/\/\/.*$/gm, '').replace(/\/\*[\s\S]*?\*\//g, '');
  const found = new Map<string, { words: Set<string>; locals: Set<string> }>();
  for (const { 1: name, index } of bare.matchAll(/\bfn\s+(\w+)/g)) {
    const start = bare.indexOf('(', index);
    const text = bare.slice(start, closing(bare, bare.indexOf('{', start)));
    const words = new Set(text.match(/(?<![.\w])[A-Za-z_]\w*/g));
    const declared = text.matchAll(/\b(?:let|var(?:<\w+>)?|const)\s+(\w+)|\b(\w+)\s*:(?!:)/g);
    found.set(name!, { words, locals: new Set([...declared].map(([, local, parameter]) => (local ?? parameter)!)) });
  }
  return found;
}

/** Where the block that opens at `at` ends. */
function closing(text: string, at: number): number {
  let depth = 0;
  for (let i = at; i < text.length; i++) {
    if (text[i] === '{') depth++;
    else if (text[i] === '}' && --depth === 0) return i;
  }
  return text.length;
}

/** The workgroup size of an entry point, constants resolved. */
export function workgroupSize(shader: Shader, entry: string): [number, number, number] {
  const pattern = new RegExp(`@workgroup_size\\(([^)]*)\\)\\s*(?:@\\w+\\s*)*fn ${entry}\\b`);
  const sizes = pattern
    .exec(shader.code)?.[1]
    ?.split(',')
    .map((word) => resolve(shader, word.trim()));
  if (!sizes) throw new GpuError(`${shader.name}.wgsl has no compute entry point '${entry}' with a @workgroup_size.`);
  return [sizes[0] ?? 1, sizes[1] ?? 1, sizes[2] ?? 1];
}

/** A number, a constant's name, or a product of those. */
function resolve(shader: Shader, word: string): number {
  if (word.includes('*'))
    return word.split('*').reduce((product, factor) => product * resolve(shader, factor.trim()), 1);
  if (/^\d+u?$/.test(word)) return Number.parseInt(word, 10);
  const value = new RegExp(`^const ${word}: u32 = ([^;]+);`, 'm').exec(shader.code)?.[1];
  if (!value) throw new GpuError(`${shader.name}.wgsl: cannot resolve '${word}' in a @workgroup_size.`);
  return Number.parseInt(value, 10);
}
