import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { brotliCompressSync } from 'node:zlib';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { cacheFolder, writableCacheFolder } from '../src/gpu/cachedir.ts';
import { installedDrivers, readTar, unpackSwiftShader } from '../src/gpu/software.ts';
import { onFailingDisk } from './faults.ts';

// It is for Linux alone, and Windows replaces no folder by a rename.
const unix = process.platform === 'win32' ? test.skip : test;
const temporary = mkdtempSync(join(tmpdir(), 'dawngrad-test-'));
test.after(() => rmSync(temporary, { recursive: true, force: true }));

test('the cache folder follows DAWNGRAD_CACHE, then the platform', () => {
  const home = homedir();
  assert.is(cacheFolder({ DAWNGRAD_CACHE: 'here' }, 'win32'), resolve('here'));
  assert.is(cacheFolder({}, 'linux'), join(home, '.cache', 'dawngrad'));
  assert.is(cacheFolder({ DAWNGRAD_CACHE: '', XDG_CACHE_HOME: '/x' }, 'linux'), join('/x', 'dawngrad'));
  assert.is(cacheFolder({ XDG_CACHE_HOME: 'relative' }, 'linux'), join(home, '.cache', 'dawngrad'));
  assert.is(cacheFolder({ XDG_CACHE_HOME: '/x' }, 'darwin'), join(home, 'Library', 'Caches', 'dawngrad'));
  assert.is(cacheFolder({ LOCALAPPDATA: '/local' }, 'win32'), join('/local', 'dawngrad'));
});

/** Runs `body` with variables set, and puts them back. */
function withEnv<T>(env: Record<string, string>, body: () => T): T {
  const before = Object.fromEntries(Object.keys(env).map((name) => [name, process.env[name]]));
  Object.assign(process.env, env);
  try {
    return body();
  } finally {
    for (const [name, value] of Object.entries(before)) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
}

test('a cache folder that cannot be made gives way to a private temporary one', () => {
  const file = join(temporary, 'file');
  writeFileSync(file, '');
  const tmp = join(temporary, 'tmp');
  mkdirSync(tmp);
  withEnv({ DAWNGRAD_CACHE: join(file, 'cache'), TMPDIR: tmp, TEMP: tmp }, () => {
    const folder = writableCacheFolder();
    assert.ok(folder.startsWith(join(tmp, 'dawngrad-')), folder);
    if (process.platform === 'win32') return;
    assert.is(statSync(folder).mode & 0o777, 0o700);
    // Somebody else may have made a folder of that name: anyone can write to this one.
    rmSync(folder, { recursive: true });
    symlinkSync(temporary, folder);
    assert.is.not(writableCacheFolder(), folder);
  });
});

/** A tar of one file, with one byte of its header changed when `damageAt` says where. */
function tarOf(name: string, bytes: Buffer, damageAt?: number): Buffer {
  const header = Buffer.alloc(512);
  header.write(name, 0);
  header.write(`${bytes.length.toString(8).padStart(11, '0')} `, 124);
  header.write('        0', 148);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  if (damageAt !== undefined) header[damageAt]! ^= 1;
  const padding = Buffer.alloc(-bytes.length & 511);
  return Buffer.concat([header, bytes, padding, Buffer.alloc(1024)]);
}

test('readTar takes the named files and refuses what is damaged', () => {
  const bytes = Buffer.from('x'.repeat(700));
  const tar = Buffer.concat([tarOf('other', Buffer.from('no')).subarray(0, 1024), tarOf('./wanted', bytes)]);
  const files = readTar(tar, new Set(['wanted']));
  assert.equal([...files.keys()], ['wanted']);
  assert.ok(files.get('wanted')!.equals(bytes));
  assert.throws(() => readTar(tarOf('wanted', bytes, 130), new Set()), /header at byte 0 is damaged/);
  assert.throws(() => readTar(tar.subarray(0, 1600), new Set()), /inside .*wanted/);
  assert.throws(() => readTar(tar.subarray(0, 1024), new Set()), /ends at byte 1024/);
});

/** An archive with the three files that SwiftShader's has; unpacking does not look into them. */
function smallArchive(): string {
  const names = ['libvk_swiftshader.so', 'libvulkan.so.1', 'vk_swiftshader_icd.json'];
  const parts = names.map((name) => tarOf(name, Buffer.from(name.repeat(100))).subarray(0, -1024));
  const path = join(temporary, 'small.tar.br');
  writeFileSync(path, brotliCompressSync(Buffer.concat([...parts, Buffer.alloc(1024)])));
  return path;
}

unix('SwiftShader is unpacked once, and again when its files were damaged', () => {
  const archive = smallArchive();
  const cache = join(temporary, 'cache');
  withEnv({ DAWNGRAD_CACHE: cache }, () => {
    const { icd, loader } = unpackSwiftShader(archive, '1.0.0');
    assert.is(icd, join(cache, 'swiftshader-1.0.0', 'vk_swiftshader_icd.json'));
    const { ino } = statSync(loader);
    unpackSwiftShader('/no/archive/needed', '1.0.0');
    assert.is(statSync(loader).ino, ino);
    truncateSync(loader, 10);
    // A process that was killed left one of these; another is at work in the other.
    for (const name of ['swiftshader-1.0.0.new-killed', 'swiftshader-1.0.0.new-busy', 'swiftshader-1.0.0.old-killed'])
      mkdirSync(join(cache, name));
    for (const kind of ['new', 'old']) utimesSync(join(cache, `swiftshader-1.0.0.${kind}-killed`), 0, 0);
    unpackSwiftShader(archive, '1.0.0');
    assert.equal(readdirSync(cache).sort(), ['swiftshader-1.0.0', 'swiftshader-1.0.0.new-busy']);
    rmdirSync(join(cache, 'swiftshader-1.0.0.new-busy'));
    assert.is(readFileSync(loader, 'utf8'), 'libvulkan.so.1'.repeat(100));
    // Something else is in its place.
    rmSync(join(cache, 'swiftshader-1.0.0'), { recursive: true });
    writeFileSync(join(cache, 'swiftshader-1.0.0'), '');
    unpackSwiftShader(archive, '1.0.0');
    assert.is(readFileSync(loader, 'utf8'), 'libvulkan.so.1'.repeat(100));
    unpackSwiftShader(archive, '1.0.1');
    assert.equal(readdirSync(cache).sort(), ['swiftshader-1.0.0', 'swiftshader-1.0.1']);
  });
});

test('a damaged archive throws and leaves nothing behind', () => {
  const cache = join(temporary, 'cache-damaged');
  const archive = join(temporary, 'damaged.tar.br');
  writeFileSync(archive, brotliCompressSync(tarOf('libvulkan.so.1', Buffer.from('x'))));
  withEnv({ DAWNGRAD_CACHE: cache }, () => {
    assert.throws(() => unpackSwiftShader(archive, '1.0.0'), /holds no libvk_swiftshader\.so/);
    assert.equal(readdirSync(cache), []);
  });
});

test('a full disk throws, names the folder and what can be done, and nothing is left on it', async () => {
  const archive = smallArchive();
  const cache = join(temporary, 'cache-full');
  for (const nth of [1, 4]) {
    let told = '';
    await onFailingDisk(
      { writeFileSync: nth },
      () =>
        withEnv({ DAWNGRAD_CACHE: cache }, () => {
          try {
            unpackSwiftShader(archive, '1.0.0');
          } catch (error) {
            told = (error as Error).message;
          }
        }),
      'ENOSPC',
    );
    const where = join(cache, 'swiftshader-1.0.0');
    assert.is(
      told,
      `${where}: cannot be written: ENOSPC: injected, writeFileSync; DAWNGRAD_CACHE can name another folder`,
    );
    assert.equal(readdirSync(cache), []);
  }
});

test('drivers are looked for where the Vulkan loader looks', () => {
  const folder = join(temporary, 'data', 'vulkan', 'icd.d');
  mkdirSync(folder, { recursive: true });
  for (const name of ['some_icd.json', 'README']) writeFileSync(join(folder, name), '');
  const env = { XDG_DATA_DIRS: join(temporary, 'data'), XDG_CONFIG_DIRS: '/none', VK_ADD_DRIVER_FILES: '/none.json' };
  assert.ok(installedDrivers(env).includes('some_icd.json'));
  assert.not(installedDrivers(env).some((name) => name === 'README' || name === '/none.json'));
});

test.run();
