import { readFileSync } from 'node:fs';
import { basename, extname, join } from 'node:path';
import { ConfigError, DataError } from '../core/errors.ts';
import { isRecord, parseJson, showJson } from '../core/json.ts';
import { didYouMean } from '../core/nearest.ts';
import { listOf } from '../core/words.ts';
import type { Reference } from '../train/comparison.ts';
import { checkGiven } from './defaults.ts';
import { longNameOf, readOptions, type Table } from './option.ts';
import { type TrainOptions, trainOptions } from './options.ts';

/** One configuration of a list. */
export interface Experiment {
  /** That of its folder, too. */
  name: string;
  /** What `train` is given beside --out: the file's options, and what the command line has in their place. */
  given: Partial<TrainOptions>;
  /** The experiment before this one whose weights it starts from. */
  from: string | null;
  /** What somebody else measured. */
  reference: Reference | null;
  note: string | null;
}

export interface ExperimentList {
  /** The path that it was read from. */
  file: string;
  title: string;
  experiments: readonly Experiment[];
}

/** What the command line changes in every experiment. */
export interface Changes {
  /** Options in place of the file's. */
  given: Partial<TrainOptions>;
  /** Names of options that are left out. */
  without: readonly string[];
  /** Where the runs are: weights that an experiment starts `from` are there. */
  out: string;
}

const table: Table = trainOptions;
/** The options by the names that a command line has them by, less the dashes. */
const byLongName: Table = Object.fromEntries(Object.entries(table).map(([key, entry]) => [longNameOf(key), entry]));
const keyOf = new Map(Object.keys(table).map((key) => [longNameOf(key), key]));

/** `experiments` itself decides on them. */
const ours = ['out', 'resume'];
/** A folder's name on every system, and one that no result has. */
const safeName = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9_-])?$/;
const reserved = /^(?:results\.(?:md|svg)|(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?)$/i;

/**
 * Reads a list of experiments: JSON with a `title`, `defaults` that all share, and `experiments`, each with a `name`, `options` of
 * `train` by their long names, and maybe `from`, `reference` and `note`. All of it is checked.
 *
 * Throws DataError, one line with file and experiment, for anything that `train` would not take.
 */
export function readExperiments(path: string, { given, without, out }: Changes): ExperimentList {
  const wrong = without.find((name) => !keyOf.has(name));
  if (wrong !== undefined)
    throw new ConfigError(
      `--without: train has no option '${wrong}'. Give names as the file has them, with commas between.${didYouMean(wrong, [...keyOf.keys()])}`,
    );
  const file = fieldsOf(parse(path), ['title', 'defaults', 'experiments'], path);
  const { title = basename(path, extname(path)), defaults = {}, experiments } = file;
  if (typeof title !== 'string') throw new DataError(`${path}: title: expected text.`);
  if (!Array.isArray(experiments) || experiments.length === 0)
    throw new DataError(`${path}: expected "experiments": a list of one or more.`);
  const shared = optionsOf(defaults, `${path}: defaults`);
  const list = experiments.map((json, index): Experiment => {
    const unnamed = `${path}: experiment ${index + 1}`;
    const name = nameOf(json, unnamed);
    const where = `${path}: experiment '${name}'`;
    const entry = fieldsOf(json, ['name', 'options', 'from', 'reference', 'note'], where);
    const { options = {}, from = null, reference, note = null } = entry;
    if (note !== null && typeof note !== 'string') throw new DataError(`${where}: note: expected text.`);
    if (from !== null && typeof from !== 'string')
      throw new DataError(`${where}: from: expected the name of an experiment.`);
    const named = optionsOf(options, where);
    if (from !== null && typeof named.pretrained === 'string')
      throw new DataError(
        `${where}: starts from ${from}, and from ${named.pretrained} too. Leave out from or pretrained.`,
      );
    const own = { ...shared, ...named };
    for (const left of without) delete own[left];
    if (from !== null) own.pretrained = join(out, from, 'model.safetensors');
    return {
      name,
      given: checked({ ...toKeys(optionsOf(own, where)), ...given }, where),
      from,
      reference: referenceOf(reference, where),
      note,
    };
  });
  checkNames(list, path);
  return { file: path, title, experiments: list };
}

function parse(path: string): unknown {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    throw new DataError(`${path}: ${missing ? 'no such file' : `cannot be read (${(error as Error).message})`}.`);
  }
  if (text.includes('\0')) throw new DataError(`${path}: is no JSON but binary data. Give a list of experiments.`);
  try {
    return parseJson(text.replace(/^\uFEFF/, ''));
  } catch (error) {
    throw new DataError(`${path}: is no JSON (${(error as Error).message}).`);
  }
}

/** An object of JSON with none but these fields. */
function fieldsOf(json: unknown, known: readonly string[], where: string): Record<string, unknown> {
  if (!isRecord(json)) throw new DataError(`${where}: expected an object with ${listOf(known, 'and')}.`);
  const unknown = Object.keys(json).find((key) => !known.includes(key));
  if (unknown !== undefined) {
    throw new DataError(`${where}: unknown '${unknown}'. Expected ${listOf(known)}.${didYouMean(unknown, known)}`);
  }
  return json;
}

function nameOf(json: unknown, where: string): string {
  const { name } = (json ?? {}) as { name?: unknown };
  if (typeof name !== 'string') throw new DataError(`${where}: has no name. Expected an object with "name": text.`);
  if (!safeName.test(name) || reserved.test(name)) {
    throw new DataError(
      `${where}: name ${JSON.stringify(name)} is no name of a folder here. Use up to 64 letters, digits, -, _ and dots within.`,
    );
  }
  return name;
}

/** Options by long names, each with a value that `train` takes. */
function optionsOf(json: unknown, where: string): Record<string, unknown> {
  if (!isRecord(json))
    throw new DataError(`${where}: expected options of train by their long names, as in { "epochs": 20 }.`);
  const dashed = Object.keys(json).find((key) => key.startsWith('--'));
  if (dashed) throw new DataError(`${where}: option '${dashed}' is written without the dashes here.`);
  const negated = Object.keys(json).find((key) => /^no-/.test(key) && keyOf.has(key.slice(3)));
  if (negated) throw new DataError(`${where}: option '${negated}' is written "${negated.slice(3)}": false here.`);
  const decided = Object.keys(json).find((key) => ours.includes(key));
  if (decided) throw new DataError(`${where}: option '${decided}' is for experiments to decide. Leave it out.`);
  readOptions(byLongName, json, where);
  return { ...json };
}

const toKeys = (options: Readonly<Record<string, unknown>>): Partial<TrainOptions> =>
  Object.fromEntries(Object.entries(options).map(([name, value]) => [keyOf.get(name)!, value]));

/** What contradicts itself is refused now, not after hours. */
function checked(given: Partial<TrainOptions>, where: string): Partial<TrainOptions> {
  try {
    // Nothing but the file gives weights: what needs them is known to have none.
    checkGiven({ pretrained: null, ...given });
  } catch (error) {
    if (error instanceof ConfigError) throw new DataError(`${where}: ${error.message}`);
    throw error;
  }
  return given;
}

function referenceOf(json: unknown, where: string): Reference | null {
  if (json === undefined || json === null) return null;
  const { accuracy, note = null } = fieldsOf(json, ['accuracy', 'note'], `${where}: reference`);
  if (typeof accuracy !== 'number' || !(accuracy >= 0 && accuracy <= 1))
    throw new DataError(`${where}: reference: accuracy: expected a number (0 to 1), got ${showJson(accuracy)}.`);
  if (note !== null && typeof note !== 'string') throw new DataError(`${where}: reference: note: expected text.`);
  return { accuracy, note };
}

/** No name twice, and weights only from an experiment that comes before. */
function checkNames(list: readonly Experiment[], path: string): void {
  for (const [index, { name, from }] of list.entries()) {
    const before = list.slice(0, index).map((other) => other.name);
    // Some file systems take names that differ in case for one.
    const twin = before.find((other) => other.toLowerCase() === name.toLowerCase());
    if (twin !== undefined) throw new DataError(`${path}: experiment '${name}': the name is there twice (${twin}).`);
    if (from !== null && !before.includes(from)) {
      throw new DataError(
        `${path}: experiment '${name}': from: no experiment '${from}' before it.${didYouMean(from, before)}`,
      );
    }
  }
}
