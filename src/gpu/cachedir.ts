import { accessSync, constants, lstatSync, mkdirSync, mkdtempSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';

/** No writer takes so long over a file of the cache: what was last written longer ago was left by one that was killed. */
export const ABANDONED_MS = 3_600_000;

/**
 * The folder of this user for what can be made again: `DAWNGRAD_CACHE`, else the platform's cache folder + `dawngrad`.
 *
 * Linux: `$XDG_CACHE_HOME` (ignored when relative, as the XDG specification says) or `~/.cache`. macOS:
 * `~/Library/Caches`. Windows: `%LOCALAPPDATA%`. The folder need not exist.
 */
export function cacheFolder(
  env: NodeJS.ProcessEnv = process.env,
  platform: NodeJS.Platform = process.platform,
): string {
  if (env.DAWNGRAD_CACHE) return resolve(env.DAWNGRAD_CACHE);
  if (platform === 'win32') return join(env.LOCALAPPDATA || join(homedir(), 'AppData', 'Local'), 'dawngrad');
  if (platform === 'darwin') return join(homedir(), 'Library', 'Caches', 'dawngrad');
  const xdg = env.XDG_CACHE_HOME;
  return join(xdg && isAbsolute(xdg) ? xdg : join(homedir(), '.cache'), 'dawngrad');
}

/**
 * Returns the cache folder, created; when it cannot be written, a folder of this user alone below the system's
 * temporary folder.
 *
 * What lies there may be native code that is loaded, so a temporary folder that somebody else made, or may write to,
 * is passed over for a fresh one. Throws the file system's error when nothing can be written at all.
 */
export function writableCacheFolder(): string {
  const folder = cacheFolder();
  try {
    mkdirSync(folder, { recursive: true });
    accessSync(folder, constants.W_OK | constants.X_OK);
    return folder;
  } catch {
    const uid = process.getuid?.() ?? 'user';
    const fallback = join(tmpdir(), `dawngrad-${uid}`);
    mkdirSync(fallback, { recursive: true, mode: 0o700 });
    const { mode, uid: owner } = lstatSync(fallback);
    const isFolder = (mode & constants.S_IFMT) === constants.S_IFDIR;
    const isPrivate = process.platform === 'win32' || (owner === uid && (mode & 0o022) === 0);
    return isFolder && isPrivate ? fallback : mkdtempSync(`${fallback}-`);
  }
}
