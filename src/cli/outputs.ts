import { existsSync, lstatSync } from 'node:fs';
import { basename, dirname, join, parse, relative } from 'node:path';
import { ConfigError } from '../core/errors.ts';
import { checkFolder } from '../train/runfolder.ts';

/**
 * Checks that files could be written to a folder, before minutes are spent on what is in them; `what` is the option that names it.
 * Throws ConfigError where one is there already, two are the same, or the folder cannot be written.
 */
export function checkOutputs(what: string, folder: string, files: readonly string[]): void {
  const taken = files.find((file) => existsSync(file));
  if (taken) throw new ConfigError(`${taken}: there is such a file already. Name a new one.`);
  const seen = new Set<string>();
  for (const file of files) {
    // Windows and macOS take names that differ in case for one.
    const name = ['win32', 'darwin'].includes(process.platform) ? file.toLowerCase() : file;
    if (seen.has(name)) throw new ConfigError(`${file}: two images would be written to it. Rename one of them.`);
    seen.add(name);
  }
  checkFolder(`${what} ${folder}`, folder);
}

/**
 * Checks that one file could be written, over an old one if there is; `what` begins the message. Throws ConfigError where something
 * else has its name, or its folder cannot be written.
 */
export function checkFile(what: string, path: string): void {
  if (/[\\/]$/.test(path) || (existsSync(path) && !lstatSync(path).isFile()))
    throw new ConfigError(`${what}: is no regular file. Name a new one.`);
  checkFolder(what, dirname(path));
}

/** Where what is made of an image goes: to the same place below `to` as it has below `from`, as PNG. */
export function outputOf(image: string, from: string, to: string): string {
  const { dir, name } = parse(image === from ? basename(image) : relative(from, image));
  return join(to, dir, `${name}.png`);
}
