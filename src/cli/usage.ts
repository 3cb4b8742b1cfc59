import { type Command as Built, CommanderError, Option as Flag, Command as Program } from 'commander';
import { ConfigError } from '../core/errors.ts';
import { didYouMean } from '../core/nearest.ts';
import { listOf } from '../core/words.ts';
import { calledByNpm, callOf } from '../train/call.ts';
import type { Command } from './command.ts';
import { flagOf, type Option } from './option.ts';
import { type Kind, readValue } from './value.ts';

/** A command line, understood. `given` holds the options that were given, and no defaults. */
export interface Call {
  command: Command;
  given: Record<string, unknown>;
}

/**
 * Reads a command line, the program's name and Node's not included. Returns null where help or the version was asked for
 * and printed.
 *
 * Throws ConfigError, one line with the nearest valid names, for what is not valid.
 */
export function readCommandLine(argv: readonly string[], commands: readonly Command[], version: string): Call | null {
  checkCommand(argv, commands);
  let call: Call | null = null;
  const program = new Program('dawngrad')
    .description('Trains convolutional networks on any GPU, or none, through WebGPU.')
    .version(version, '-V, --version', 'prints the version')
    .helpOption('-h, --help', 'prints this, or the options of a command')
    .helpCommand('help [COMMAND]', 'prints the options of a command')
    .exitOverride()
    .configureOutput({ writeErr: () => {}, outputError: () => {} })
    .configureHelp({
      minWidthToWrap: 16,
      optionTerm: ({ flags }) => flags.replace(/[<>]/g, ''),
      optionDescription: ({ description }) => description,
      subcommandTerm: (subcommand) => subcommand.name(),
      commandUsage: (built) =>
        built.parent ? callOf(built.name(), built.usage()) : `${built.name()} ${built.usage()}`,
    });
  for (const command of commands) {
    const built = program.command(command.name);
    describe(built, command);
    built.action(() => {
      call = { command, given: readGiven(built, command) };
    });
  }
  try {
    program.parse(argv, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode !== 0) throw new ConfigError(explain(error, argv, commands));
  }
  return call;
}

/** `train …`, `help train`, `--help`: throws ConfigError for a command that there is not, or none. */
function checkCommand(argv: readonly string[], commands: readonly Command[]): void {
  const names = commands.map(({ name }) => name);
  if (argv.length === 0) throw new ConfigError(`no command. Expected ${listOf(names)}; --help says more.`);
  const called = argv[0] === 'help' ? argv[1] : argv[0];
  if (called === undefined || called.startsWith('-') || names.includes(called)) return;
  throw new ConfigError(`unknown command '${called}'. Expected ${listOf(names)}.${didYouMean(called, names)}`);
}

function describe(built: Built, command: Command): void {
  const entries = Object.entries(command.options);
  const needed = entries.filter(([, { initial, operand }]) => initial === undefined && !operand);
  const behind = entries.filter(([, { operand }]) => operand);
  const usage = [
    ...needed.map(([key, entry]) => term(key, entry)),
    ...behind.map(([key, entry]) => term(key, entry)),
    '[options]',
  ];
  built
    .summary(command.summary)
    .description(`${command.summary[0]!.toUpperCase()}${command.summary.slice(1)}.`)
    .usage(usage.join(' '))
    .allowExcessArguments()
    .addHelpText('after', otherDefaults(command) + examples(command));
  for (const [key, entry] of entries) {
    if (entry.operand) {
      built.argument(`[${entry.kind.placeholder}...]`, entry.help);
      continue;
    }
    const flag = flagOf(key, entry);
    const placeholder = entry.kind.placeholder;
    const declared = new Flag(placeholder === null ? flag : `${flag} <${placeholder}>`, sentence(key, entry, command));
    if (placeholder !== null) declared.argParser((typed) => readBehind(flag, entry.kind, typed));
    built.addOption(declared.helpGroup(`${entry.group}:`));
  }
  built.addHelpOption(new Flag('-h, --help', 'prints this').helpGroup('Help:'));
}

/** Reads the word behind a flag. In `--data --epochs 3` the value was forgotten: the next option must not be taken for it. */
function readBehind(flag: string, kind: Kind<unknown>, typed: string): unknown {
  if (typed.startsWith('--')) throw new ConfigError(`${flag}: expected ${kind.expected}, got the option '${typed}'.`);
  return readValue(flag, kind, typed);
}

const term = (key: string, entry: Option): string =>
  entry.operand ? flagOf(key, entry) : `${flagOf(key, entry)} ${entry.kind.placeholder}`;

/** What an option does, its valid values and its default, in one sentence. */
function sentence(key: string, { help, kind, initial, otherwise }: Option, { presets = [] }: Command): string {
  const depends = presets.some(({ label, values }) => label !== '' && key in values) ? ', see below' : '';
  const unmentioned = initial === undefined || typeof initial === 'boolean';
  const usual = unmentioned ? '' : `default ${initial ?? otherwise}${depends}`;
  const facts = [kind.range, usual].filter(Boolean).join('; ');
  return facts ? `${help} (${facts})` : help;
}

/** The defaults that depend on data, adapter and other options: a line for each case. */
function otherDefaults({ options, presets = [] }: Command): string {
  const cases = new Map<string, string[]>();
  for (const { label, values } of presets.filter(({ label }) => label !== '')) {
    const flags = Object.entries(values)
      .filter(([key]) => key in options)
      .map(([key, value]) => `${flagOf(key, options[key]!)}${typeof value === 'boolean' ? '' : ` ${value}`}`);
    if (flags.length > 0) cases.set(label, [...(cases.get(label) ?? []), ...flags]);
  }
  const lines = [...cases].map(
    ([label, flags]) => `  ${label}:\n${wrapped(flags, Math.min(80, process.stdout.columns || 80) - 4).join('\n')}`,
  );
  return lines.length > 0 ? `\nOther defaults, each overridden by what is given:\n${lines.join('\n')}\n` : '';
}

/** Words in lines of at most `width` characters, indented by four. */
function wrapped(words: readonly string[], width: number): string[] {
  const lines: string[] = [];
  for (const word of words) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(`    ${word}`);
  }
  return lines;
}

function examples({ name, examples }: Command): string {
  return examples.length > 0
    ? `\nExamples:\n${examples.map((line) => `  ${line ? callOf(name, line) : callOf(name)}`).join('\n')}\n`
    : '';
}

/** What was given, with the environment for options that name a variable. Throws ConfigError for what is missing or too much. */
function readGiven(built: Built, { name, options }: Command): Record<string, unknown> {
  const typed = built.opts();
  const entries = Object.entries(options);
  const given: Record<string, unknown> = {};
  for (const [key, entry] of entries) {
    const fromEnvironment = entry.env && process.env[entry.env];
    if (entry.operand && built.args.length > 0) {
      given[key] = built.args.map((value) => readValue(flagOf(key, entry), entry.kind, value));
    } else if (built.getOptionValueSource(key) === 'cli') {
      given[key] = typed[key];
    } else if (entry.env && fromEnvironment) {
      given[key] = readValue(entry.env, entry.kind, fromEnvironment);
    }
    if (entry.initial === undefined && !(key in given)) {
      throw new ConfigError(`${name}: ${term(key, entry)} is missing. It takes ${entry.help}.`);
    }
  }
  const excess = entries.some(([, { operand }]) => operand) ? undefined : built.args[0];
  if (excess !== undefined) {
    const mend = calledByNpm()
      ? `npm passes options on only behind a --${powerShell()}, as in: ${callOf(name, '--help')}`
      : `Options start with --, and ${callOf(name, '--help')} lists them.`;
    throw new ConfigError(`${name}: unexpected argument '${excess}'. ${mend}`);
  }
  return given;
}

/** A user there has typed the `--`, and finds no fault with it. */
const powerShell = (): string => (process.platform === 'win32' ? ' (which PowerShell drops, but for npm.cmd)' : '');

/** commander's message as one line of ours: what is wrong, and the nearest valid name or where to find them all. */
function explain({ code, message }: CommanderError, argv: readonly string[], commands: readonly Command[]): string {
  const command = commands.find(({ name }) => name === argv[0]);
  // `error: unknown option '--epoch'\n(Did you mean --epochs?)`
  const [, what = message, suggestion = ''] = /^error: ([^\n]*?)\.?(?:\n\((.*)\))?$/.exec(message) ?? [];
  const named = /'(?:-\w, )?([^' ]+)[^']*'/.exec(what)?.[1] ?? '';
  const [flag] = named.split('=', 1);
  const entry = Object.entries(command?.options ?? {}).find(([key, entry]) => flagOf(key, entry) === flag)?.[1];
  if (code === 'commander.optionMissingArgument' && entry)
    return `${named}: expected ${entry.kind.expected}, got nothing.`;
  if (entry?.kind.placeholder === null)
    return `${flag}: takes no value, got '${named.slice(flag!.length + 1)}'. Give ${flag} alone, or leave it out.`;
  const help = `${command ? callOf(command.name, '--help') : 'dawngrad --help'} lists what there is.`;
  return `${command ? `${command.name}: ` : ''}${what}. ${suggestion || help}`;
}
