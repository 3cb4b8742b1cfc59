import { GpuError } from '../core/errors.ts';
import { readInterface, type Shader, withoutComments } from './interface.ts';

export type ConstValue = number | boolean | string;
export type Consts = Readonly<Record<string, ConstValue>>;

/** Where shader text comes from: the file system in Node, a bundler's import in a browser. */
export type ShaderSource = (path: string) => string;

const INCLUDE = /^\/\/#include (?:(\w+) )?"([^"]+)"$/gm;
const CONST = /^const (\w+): (u32|i32|f32|bool) = ([^;]+);/gm;
const ALIAS = /^alias (\w+) = (\w+);/gm;

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
 * Loads `NAME.wgsl`, splices its `//#include "…"` lines (`//#include NAME "…"` can be given another file), rewrites `const X: T = …;`
 * and `alias X = …;` lines to the given values and reads the interface: bindings and `struct Params`. Throws GpuError for a constant
 * that the shader does not have, or that is no finite number.
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
  const bare = withoutComments(code);
  const own = new Set([...bare.matchAll(/\bfn (\w+)/g)].map(([, fn]) => fn));
  const uses = (pattern: RegExp): boolean => [...bare.matchAll(pattern)].some(([, word]) => !own.has(word!));
  const needs: [string, RegExp][] = [
    ['f16', /\b(f16|vec\dh|mat\dx\dh)\b/g],
    ['subgroups', /\b((?:subgroup|quad)[A-Z]\w*)\(/g],
    ['subgroup_size_control', /@(subgroup_size)\b/g],
    ['chromium_experimental_subgroup_matrix', /\b(subgroup_matrix_\w+)</g],
  ];
  for (const [extension, pattern] of needs) if (uses(pattern)) code = `enable ${extension};\n${code}`;

  return { name, code, ...readInterface(name, bare) };
}
