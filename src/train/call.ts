/** Whether a script of this package runs the program, as in `npm run train`. */
export const calledByNpm = (): boolean =>
  process.env.npm_package_name === 'dawngrad' && ![undefined, 'npx'].includes(process.env.npm_lifecycle_event);

/** A command of the program as it can be typed again where this one was: npm wants a `--` in front of options. */
export function callOf(name: string): string {
  if (calledByNpm()) return `npm run ${name} --`;
  return process.env.npm_lifecycle_event === 'npx' ? `npx dawngrad ${name}` : `dawngrad ${name}`;
}

/** An argument as a POSIX shell reads it back whole. */
export const quoted = (argument: string): string =>
  /^[\w@%+=:,./~-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", "'\\''")}'`;
