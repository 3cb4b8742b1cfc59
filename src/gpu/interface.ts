import { GpuError } from '../core/errors.ts';

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
  /** Fields of the uniform's struct, in order; all are scalars of 4 bytes. */
  params: readonly { name: string; type: 'u32' | 'i32' | 'f32' }[];
  /** −1 where there is no uniform. */
  paramsBinding: number;
  /** The variable that is bound there. */
  paramsName: string;
}

const ATTRIBUTE = String.raw`@\w+\s*(?:\([^)]*\)\s*)?`;
const VARIABLE = new RegExp(String.raw`((?:${ATTRIBUTE})+)var\s*(?:<([^>]*)>)?\s*(\w+)\s*:\s*([^;]+);`, 'g');
const ALIAS = /\balias\s+(\w+)\s*=\s*(\w+)\s*;/g;

/** A text without its comments. Those of the kind that ends by a mark may stand in each other. */
export function withoutComments(code: string): string {
  let bare = '';
  let from = 0;
  let depth = 0;
  let line = false;
  for (const { 0: mark, index } of code.matchAll(/\/\/|\/\*|\*\/|\n/g)) {
    if (mark === '\n') {
      if (line) from = index;
      line = false;
    } else if (line) continue;
    else if (mark === '/*') {
      if (depth++ === 0) bare += `${code.slice(from, index)} `;
    } else if (mark === '*/') {
      if (depth > 0 && --depth === 0) from = index + mark.length;
    } else if (depth === 0) {
      bare += code.slice(from, index);
      line = true;
    }
  }
  return line || depth > 0 ? bare : bare + code.slice(from);
}

/**
 * Reads bindings and parameters from a shader's text, without comments. Throws GpuError for a binding that no kernel can be given: one
 * that was passed over would not be in its bind group, and Dawn, whose validation is off, ends the process then.
 */
export function readInterface(name: string, bare: string): Omit<Shader, 'name' | 'code'> {
  const aliases = new Map([...bare.matchAll(ALIAS)].map(([, alias, type]) => [alias!, type!]));
  const bindings = new Map<string, ShaderBinding>();
  let uniform: { variable: string; binding: number; type: string } | null = null;
  for (const [, attributes, kind = '', variable, declared] of bare.matchAll(VARIABLE)) {
    const refuse = (why: string) => new GpuError(`${name}.wgsl: ${variable} ${why}`);
    const binding = numberOf(attributes!, 'binding');
    if (binding === null) throw refuse('has no @binding with a number. Write @group(0) @binding(N).');
    if (numberOf(attributes!, 'group') !== 0) throw refuse('is not of @group(0), the only group that a kernel binds.');
    const [space, access = 'read'] = kind.split(',').map((word) => word.trim());
    const type = declared!.trim();
    if (space === 'storage') {
      const element = /^array\s*<(.+)>$/.exec(type)?.[1]?.split(',')[0]?.trim() ?? type;
      const written = access === 'read' ? 'read' : 'read_write';
      bindings.set(variable!, { binding, access: written, element: aliases.get(element) ?? element });
    } else if (space === 'uniform') {
      if (uniform)
        throw refuse(`is a uniform beside ${uniform.variable}; a kernel has one, of a struct with all it needs.`);
      uniform = { variable: variable!, binding, type };
    } else throw refuse(`is a ${type}; a kernel binds storage buffers and one uniform.`);
  }
  const understood = bindings.size + (uniform ? 1 : 0);
  const found = bare.match(/@binding\b/g)?.length ?? 0;
  if (found !== understood) {
    throw new GpuError(
      `${name}.wgsl: ${found} @binding, of which ${understood} were understood. Write each as @group(0) @binding(N) var<storage, read> x: array<f32>;`,
    );
  }
  if (!uniform) return { bindings, params: [], paramsBinding: -1, paramsName: '' };
  const { variable, binding, type } = uniform;
  return { bindings, params: fieldsOf(name, bare, type), paramsBinding: binding, paramsName: variable };
}

/** The number that an attribute has; null for another expression, or none. */
function numberOf(attributes: string, attribute: string): number | null {
  const text = new RegExp(String.raw`@${attribute}\s*\(\s*(\d+)[iu]?\s*,?\s*\)`).exec(attributes)?.[1];
  return text === undefined ? null : Number(text);
}

/** The fields of a uniform's struct. */
function fieldsOf(name: string, bare: string, type: string): Shader['params'] {
  const body = new RegExp(String.raw`\bstruct\s+${type.replace(/\W/g, '\\$&')}\s*\{([^}]*)\}`).exec(bare)?.[1];
  if (body === undefined)
    throw new GpuError(`${name}.wgsl: the uniform is ${type}; it must be a struct of u32, i32 and f32 fields.`);
  const fields = body.split(',').map((field) => field.trim());
  if (fields.at(-1) === '') fields.pop();
  return fields.map((field) => {
    const [key = '', its = ''] = field.split(':').map((part) => part.trim());
    if (its !== 'u32' && its !== 'i32' && its !== 'f32')
      throw new GpuError(`${name}.wgsl: ${type}.${key} is ${its}; only u32, i32 and f32 can be packed.`);
    if (!/^\w+$/.test(key)) throw new GpuError(`${name}.wgsl: ${type} has a field '${field}'; expected NAME: TYPE.`);
    return { name: key, type: its };
  });
}

/** Bindings that an entry point mentions, itself or in a function that it calls: those that its pipeline has. */
export interface Mentions {
  readonly surely: ReadonlySet<string>;
  /** Those, the ones whose name is a local one as well where it stands, and other names of the same bindings. */
  readonly perhaps: ReadonlySet<string>;
}

/** What the entry point mentions of the shader's bindings, the uniform among them. */
export function mentions({ code, bindings, paramsName }: Shader, entry: string): Mentions {
  const functions = functionsOf(withoutComments(code));
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
function functionsOf(bare: string): Map<string, { words: Set<string>; locals: Set<string> }> {
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
export function workgroupSize({ name, code }: Shader, entry: string): [number, number, number] {
  const bare = withoutComments(code);
  const pattern = new RegExp(String.raw`@workgroup_size\s*\(([^)]*)\)\s*(?:${ATTRIBUTE})*fn\s+${entry}\b`);
  const sizes = pattern
    .exec(bare)?.[1]
    ?.split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '')
    .map((word) => resolve(name, outsideOfBraces(bare), word));
  if (!sizes) throw new GpuError(`${name}.wgsl has no compute entry point '${entry}' with a @workgroup_size.`);
  return [sizes[0] ?? 1, sizes[1] ?? 1, sizes[2] ?? 1];
}

/** A text without its blocks: what is declared in functions is not seen outside of them. */
function outsideOfBraces(bare: string): string {
  const outer = bare.replace(/\{[^{}]*\}/g, '');
  return outer === bare ? bare : outsideOfBraces(outer);
}

/** The value of numbers and constants, multiplied and divided. */
function resolve(name: string, bare: string, expression: string): number {
  const [first = '', ...rest] = expression.split(/([*/])/).map((word) => word.trim());
  if (rest.length > 0) {
    let value = resolve(name, bare, first);
    for (let i = 0; i < rest.length; i += 2) {
      const by = resolve(name, bare, rest[i + 1]!);
      value = rest[i] === '*' ? value * by : Math.trunc(value / by);
    }
    return value;
  }
  if (/^\d+[iu]?$/.test(first)) return Number.parseInt(first, 10);
  const value =
    /^\w+$/.test(first) && new RegExp(`\\bconst\\s+${first}\\s*(?::\\s*\\w+\\s*)?=([^;]+);`).exec(bare)?.[1];
  if (!value) throw new GpuError(`${name}.wgsl: cannot resolve '${first}' in a @workgroup_size.`);
  return resolve(name, bare, value);
}
