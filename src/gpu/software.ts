import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { constants, homedir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { brotliDecompressSync } from 'node:zlib';
import { ABANDONED_MS, cacheFolder, writableCacheFolder } from './cachedir.ts';

/** SwiftShader, a Vulkan driver that runs on the CPU, as it lies unpacked on disk. */
export interface SwiftShader {
  /** The driver's manifest, for `VK_DRIVER_FILES`. */
  icd: string;
  /** A Vulkan loader, for machines that have no `libvulkan.so.1`. */
  loader: string;
}

const icdName = 'vk_swiftshader_icd.json';
const loaderName = 'libvulkan.so.1';
/** What is taken out of the archive; the EGL and GLES libraries beside them are of no use here. */
const wantedFiles = new Set(['libvk_swiftshader.so', loaderName, icdName]);
const manifestName = 'manifest.json';

let unpacked: SwiftShader | string | undefined;

/**
 * Finds the SwiftShader that npm brought in `@sparticuz/chromium` and unpacks it into the cache folder, once.
 *
 * Returns one line that says why there is none, instead of throwing: a machine with a GPU needs none. Only the archive
 * of that package is read, its code is never run.
 */
export function bundledSwiftShader(): SwiftShader | string {
  unpacked ??= findSwiftShader();
  return unpacked;
}

function findSwiftShader(): SwiftShader | string {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    return `no SwiftShader is bundled for ${process.platform}-${process.arch}`;
  }
  try {
    // The package exports no file but its entry, build/cjs/index.cjs: the archive is found from there.
    const entry = createRequire(import.meta.url).resolve('@sparticuz/chromium');
    const root = join(dirname(entry), '..', '..');
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
    return unpackSwiftShader(join(root, 'bin', 'swiftshader.tar.br'), version);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'MODULE_NOT_FOUND')
      return 'the optional package @sparticuz/chromium, which brings SwiftShader, is not installed';
    return `the bundled SwiftShader cannot be unpacked (${message})`;
  }
}

/**
 * Unpacks `archive` (a brotli-compressed tar) into `swiftshader-VERSION` of the cache folder and returns where it lies.
 *
 * A folder that is there already is used when sizes and SHA-256 are what its manifest says, and replaced when not. It
 * is written beside its place and renamed, so any number of processes can do this at once. Throws Error when the
 * archive is damaged, and the file system's error.
 */
export function unpackSwiftShader(archive: string, version: string): SwiftShader {
  const name = `swiftshader-${version}`;
  const located = (folder: string) => ({ icd: join(folder, icdName), loader: join(folder, loaderName) });
  const ready = join(cacheFolder(), name);
  if (isIntact(ready)) return located(ready);

  const parent = writableCacheFolder();
  const target = join(parent, name);
  if (isIntact(target)) return located(target);
  removeAbandoned(parent, name);
  const staging = mkdtempSync(`${target}.new-`);
  try {
    const files = readTar(brotliDecompressSync(readFileSync(archive)), wantedFiles);
    const manifest: Record<string, string> = {};
    for (const wanted of wantedFiles) {
      const bytes = files.get(wanted);
      if (!bytes) throw new Error(`${archive} holds no ${wanted}`);
      writeFileSync(join(staging, wanted), bytes, { mode: 0o755 });
      manifest[wanted] = digest(bytes);
    }
    writeFileSync(join(staging, manifestName), JSON.stringify(manifest, null, 2));
    replaceFolder(staging, target);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error)) throw error;
    const message = `${target}: cannot be written: ${error.message}; DAWNGRAD_CACHE can name another folder`;
    throw Object.assign(error, { message });
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
  return located(target);
}

/** Removes what a process that was killed while it unpacked has left. */
function removeAbandoned(parent: string, name: string): void {
  for (const entry of readdirSync(parent)) {
    if (!entry.startsWith(`${name}.new-`) && !entry.startsWith(`${name}.old-`)) continue;
    const path = join(parent, entry);
    const made = statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Number.NaN;
    if (Math.abs(Date.now() - made) > ABANDONED_MS) rmSync(path, { recursive: true, force: true });
  }
}

/** Puts `staging` in the place of `target`, unless another process put an intact one there first. */
function replaceFolder(staging: string, target: string): void {
  for (let attempt = 0; ; attempt++) {
    try {
      renameSync(staging, target); // fails on a folder that is not empty
      return;
    } catch (error) {
      if (isIntact(target)) return;
      if (attempt === 3) throw error;
      // Moved away before it is removed: a process that has the old files mapped keeps them.
      const broken = mkdtempSync(`${target}.old-`);
      try {
        renameSync(target, join(broken, basename(target)));
      } catch {
        // Another process moved it first.
      }
      rmSync(broken, { recursive: true, force: true });
    }
  }
}

function isIntact(folder: string): boolean {
  try {
    const manifest = JSON.parse(readFileSync(join(folder, manifestName), 'utf8')) as Record<string, string>;
    return [...wantedFiles].every((name) => digest(readFileSync(join(folder, name))) === manifest[name]);
  } catch {
    return false;
  }
}

const digest = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

/**
 * Reads the regular files called `names` out of an uncompressed tar.
 *
 * Format: POSIX.1-1988 ustar, 512-byte headers (name at 0, size in octal at 124, checksum at 148, type at 156), data
 * padded to 512. Throws Error on a wrong checksum or an end before its time.
 */
export function readTar(tar: Buffer, names: ReadonlySet<string>): Map<string, Buffer> {
  const files = new Map<string, Buffer>();
  const text = (start: number, length: number) => tar.toString('latin1', start, start + length).replace(/\0.*$/s, '');
  for (let at = 0; ; ) {
    if (at + 512 > tar.length) throw new Error(`the tar ends at byte ${tar.length}, inside its entries`);
    if (tar[at] === 0) return files;
    let sum = 8 * 0x20; // the checksum field itself counts as spaces
    for (let i = 0; i < 512; i++) if (i < 148 || i >= 156) sum += tar[at + i]!;
    const sizeBytes = Number.parseInt(text(at + 124, 12), 8);
    if (sum !== Number.parseInt(text(at + 148, 8), 8) || !(sizeBytes >= 0))
      throw new Error(`the tar header at byte ${at} is damaged`);
    const start = at + 512;
    if (start + sizeBytes > tar.length) throw new Error(`the tar ends at byte ${tar.length}, inside ${text(at, 100)}`);
    const name = text(at, 100).replace(/^\.\//, '');
    const type = tar[at + 156];
    if ((type === 0x30 || type === 0) && names.has(name)) files.set(name, tar.subarray(start, start + sizeBytes));
    at = start + Math.ceil(sizeBytes / 512) * 512;
  }
}

let installedLoader: boolean | undefined;

/** True when `libvulkan.so.1`, without which Dawn has no Vulkan, is installed. */
export function hasVulkanLoader(): boolean {
  // Asked once: later on, the one that loadVulkanLoader loaded would be found.
  installedLoader ??= loadLibrary(loaderName, constants.dlopen.RTLD_LAZY) === '';
  return installedLoader;
}

/**
 * Loads a Vulkan loader by path, for good, so that Dawn's own `dlopen("libvulkan.so.1")` finds it by its SONAME.
 *
 * Returns the dynamic linker's message when that fails, else an empty string.
 */
export function loadVulkanLoader(path: string): string {
  const keep = 0x1000; // RTLD_NODELETE, which Node has no name for: Node closes what registers no module
  return loadLibrary(path, constants.dlopen.RTLD_NOW | constants.dlopen.RTLD_GLOBAL | keep);
}

function loadLibrary(path: string, flags: number): string {
  try {
    process.dlopen({ exports: {} }, path, flags);
  } catch (error) {
    // Not being an addon is Node's complaint about a library that did load.
    const { message } = error as Error;
    if (!message.includes('did not self-register')) return message;
  }
  return '';
}

/**
 * Names the Vulkan driver manifests that a loader finds on Linux by itself.
 *
 * Search order: the Vulkan loader's LoaderDriverInterface.md, "Driver Discovery on Linux".
 */
export function installedDrivers(env: NodeJS.ProcessEnv = process.env): string[] {
  const list = (value: string | undefined, otherwise: string) => (value || otherwise).split(':').filter(Boolean);
  const folders = [
    ...list(env.XDG_CONFIG_HOME, join(homedir(), '.config')),
    ...list(env.XDG_CONFIG_DIRS, '/etc/xdg'),
    '/usr/local/etc',
    '/etc',
    ...list(env.XDG_DATA_HOME, join(homedir(), '.local', 'share')),
    ...list(env.XDG_DATA_DIRS, '/usr/local/share:/usr/share'),
  ].map((folder) => join(folder, 'vulkan', 'icd.d'));
  const found = folders.flatMap((folder) => {
    try {
      return readdirSync(folder).filter((name) => name.endsWith('.json'));
    } catch {
      return []; // not there, or not ours to read
    }
  });
  return [...found, ...list(env.VK_ADD_DRIVER_FILES, '').filter((path) => existsSync(path))];
}
