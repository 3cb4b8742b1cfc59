/** Whether a script of this package runs the program, as in `npm run train`. */
export const calledByNpm = (): boolean =>
  process.env.npm_package_name === 'dawngrad' && ![undefined, 'npx'].includes(process.env.npm_lifecycle_event);

/**
 * A command of the program as it can be typed again where this one was: npm wants a `--` in front of options. `words` are arguments as
 * a shell wants them, one or more in a string.
 */
export function callOf(name: string, ...words: string[]): string {
  const program = process.env.npm_lifecycle_event === 'npx' ? 'npx dawngrad' : 'dawngrad';
  const call = calledByNpm() ? ['npm run', name, ...(words.length > 0 ? ['--'] : [])] : [program, name];
  return [...call, ...words].join(' ');
}

/** An argument as a POSIX shell reads it back whole. */
export const quoted = (argument: string): string =>
  /^[\w@%+=:,./~-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", "'\\''")}'`;
