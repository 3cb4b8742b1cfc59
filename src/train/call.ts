/** Whether a script of this package runs the program, as in `npm run train`. */
export const calledByNpm = (): boolean =>
  process.env.npm_package_name === 'dawngrad' && ![undefined, 'npx'].includes(process.env.npm_lifecycle_event);

/**
 * A command of the program as it can be typed again where this one was: npm wants a `--` in front of options. `words` are arguments as
 * a shell wants them, one or more in a string. On Windows it is `npm.cmd`: what PowerShell takes `npm` for, a script of its own, loses
 * the `--`.
 */
export function callOf(name: string, ...words: string[]): string {
  const program = process.env.npm_lifecycle_event === 'npx' ? 'npx dawngrad' : 'dawngrad';
  const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';
  const call = calledByNpm() ? [npm, 'run', name, ...(words.length > 0 ? ['--'] : [])] : [program, name];
  return [...call, ...words].join(' ');
}

/**
 * An argument as a shell reads it back whole: a POSIX one, or on Windows cmd.exe, PowerShell and Git's bash, which have no quotes but
 * the double ones in common.
 */
export function quoted(argument: string): string {
  if (process.platform !== 'win32')
    return /^[\w@%+=:,./~-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", "'\\''")}'`;
  // PowerShell makes two arguments of a,b, and bash one name of a\b. Before the closing quote a backslash is doubled, lest it make
  // that a part of the text.
  return /^[\w+=:./~-]+$/.test(argument) ? argument : `"${argument.replace(/\\+$/, '$&$&')}"`;
}
