import { ConfigError, GpuError } from '../core/errors.ts';
import { nearest } from '../core/nearest.ts';
import { bundledSwiftShader, hasVulkanLoader, installedDrivers, loadVulkanLoader } from './software.ts';

/** `software` is a CPU adapter that is none of those known by name, such as an unknown Vulkan driver. */
export type AdapterKind = 'hardware' | 'lavapipe' | 'software' | 'swiftshader' | 'null';

/** One of Dawn's backends under one set of drivers: a place where adapters are looked for. */
export interface Source {
  /** Where its drivers come from, for people. */
  origin: string;
  /** Options for Dawn's `create`. */
  create: string[];
  /** Set in the environment while Dawn looks for adapters. */
  env: Record<string, string>;
  /** What to say when it offers no adapter. */
  none: string;
}

/** An adapter that a source offers; `name` is the driver's own. */
export interface Candidate {
  source: Source;
  name: string;
  kind: AdapterKind;
}

/** Best first: lavapipe is 4 to 7 times faster than SwiftShader. */
const preference: readonly AdapterKind[] = ['hardware', 'lavapipe', 'software', 'swiftshader', 'null'];

/** The words that choose an adapter that computes. */
const computing: readonly string[] = ['auto', 'hardware', 'software', 'lavapipe', 'swiftshader'];
/** The words that choose an adapter; everything else is part of a name. */
const adapterWords: readonly string[] = [...computing, 'null'];
/** What one may ask for where something is to be computed. */
export const validWishes = `${computing.join(', ')} or part of the name of one`;

/** Tells what kind an adapter of this name is; what is known by no name is taken for hardware until it says otherwise. */
export function kindOfName(name: string): AdapterKind {
  if (/llvmpipe|lavapipe/i.test(name)) return 'lavapipe';
  if (/swiftshader/i.test(name)) return 'swiftshader';
  if (/microsoft basic render/i.test(name)) return 'software'; // WARP, of Direct3D
  return name === 'Null backend' ? 'null' : 'hardware';
}

/** The candidates of `names` that `wish` allows, best first. */
export function candidates(source: Source, names: readonly string[], wish: string): Candidate[] {
  return names
    .map((name) => ({ source, name, kind: kindOfName(name) }))
    .filter((candidate) => allows(wish, candidate))
    .sort((a, b) => preference.indexOf(a.kind) - preference.indexOf(b.kind));
}

/** True when somebody who asked for `wish` (lower case) would be content with this adapter. */
export function allows(wish: string, { name, kind }: { name: string; kind: AdapterKind }): boolean {
  if (wish === 'auto') return true;
  if (wish === 'software') return kind !== 'hardware' && kind !== 'null';
  return adapterWords.includes(wish) ? kind === wish : name.toLowerCase().includes(wish);
}

/** The variable in which the user names Vulkan drivers, if so; the loader prefers the first. Elsewhere Dawn takes D3D12 or Metal. */
export const chosenDrivers = (): string | undefined =>
  process.platform === 'linux' ? ['VK_DRIVER_FILES', 'VK_ICD_FILENAMES'].find((name) => process.env[name]) : undefined;

export const nullSource: Source = {
  origin: 'part of Dawn',
  create: ['backend=null'],
  env: {},
  none: 'this build of Dawn has no null backend',
};

/**
 * Yields the places to look for `wish` (lower case) in, in order, and tells `notes` in a line about each that is none.
 *
 * Lazy: SwiftShader is unpacked only when what comes before it gave nothing, or when the machine has no Vulkan loader
 * and needs the one beside it. Drivers that the user named are left alone unless a software adapter is asked for.
 */
export function* sources(wish: string, notes: string[]): Generator<Source> {
  if (wish === 'null') yield nullSource;
  else if (process.platform !== 'linux')
    yield { origin: 'system driver', create: [], env: {}, none: 'Dawn finds no adapter' };
  else {
    if (wish === 'swiftshader') yield* bundledSource(notes);
    yield* vulkanSource(notes);
    const obeysUser = chosenDrivers() && wish === 'auto';
    if (!obeysUser && !['hardware', 'lavapipe', 'swiftshader'].includes(wish)) yield* bundledSource(notes);
  }
}

const noDriver = 'no Vulkan driver is installed';

/** Vulkan with the drivers that the user chose, or those that are installed. */
function* vulkanSource(notes: string[]): Generator<Source> {
  const chosen = chosenDrivers();
  const drivers = installedDrivers();
  if (!hasVulkanLoader()) {
    // A GPU driver without a loader is what a container with a GPU often has. Without either there is nothing to try,
    // and Dawn would fill the terminal with warnings.
    if (!chosen && drivers.length === 0) {
      notes.push(noDriver);
      return;
    }
    if (!carriedLoader(notes)) return;
  }
  if (chosen) {
    const origin = `${chosen}=${process.env[chosen]}`;
    yield { origin, create: [], env: {}, none: `${origin} offers no adapter that Dawn accepts` };
  } else {
    const none =
      drivers.length > 0
        ? `none of the installed Vulkan drivers (${drivers.join(', ')}) offers an adapter that Dawn accepts`
        : noDriver;
    yield { origin: 'system driver', create: [], env: {}, none };
  }
}

/** Vulkan with the SwiftShader that came with the npm packages as its one driver. */
function* bundledSource(notes: string[]): Generator<Source> {
  const found = bundledSwiftShader();
  if (typeof found === 'string') notes.push(found);
  else if (hasVulkanLoader() || carriedLoader(notes)) {
    const env = { VK_DRIVER_FILES: found.icd, VK_ICD_FILENAMES: found.icd };
    yield { origin: 'bundled', create: [], env, none: `the bundled SwiftShader (${found.icd}) does not start` };
  }
}

/** Loads the Vulkan loader that lies beside the bundled SwiftShader; false, and a note, when there is none. */
function carriedLoader(notes: string[]): boolean {
  const found = bundledSwiftShader();
  // Why nothing is bundled is said once, by `bundledSource`.
  const problem = typeof found === 'string' ? '' : loadVulkanLoader(found.loader);
  if (typeof found !== 'string' && !problem) return true;
  notes.push(`no Vulkan loader: libvulkan.so.1 is not installed${problem && `, and ${problem}`}`);
  return false;
}

/** The one line that says what was chosen and why. */
export function explain(chosen: Candidate, wish: string, notes: readonly string[]): string {
  const { name, kind, source } = chosen;
  const reasons: string[] = [];
  if (wish !== 'auto') reasons.push(`asked for with "${wish}"`);
  else if (kind === 'hardware') reasons.push('a hardware adapter');
  else if (kind === 'lavapipe' || process.platform !== 'linux') reasons.push('no hardware adapter');
  else reasons.push('no hardware adapter and no lavapipe');
  const user = chosenDrivers();
  if (user && source.origin === 'bundled') reasons.push(`so ${user} is set aside`);
  else if (user && wish === 'auto') reasons.push('only the drivers named there are looked at');
  if (wish === 'auto') reasons.push(...notes);
  return `${name}, ${source.origin}: ${reasons.join('; ')}`;
}

/**
 * The error for `wish` when nothing could be opened for it; `asked` is what the wish was given by.
 *
 * `here` are the names of the adapters that could be: with some, it is a ConfigError that lists them; with none, a
 * GpuError that says what to install.
 */
export function refusal(
  wish: string,
  here: readonly string[],
  notes: readonly string[],
  asked = 'adapter',
): ConfigError | GpuError {
  const why = notes.length > 0 ? ` (${notes.join('; ')})` : '';
  const there = here.length > 0 ? here.join(', ') : 'none';
  if (!adapterWords.includes(wish)) {
    const [meant] = nearest(wish, [...computing, ...here]);
    const hint = meant ? ` Did you mean "${meant}"?` : '';
    return new ConfigError(`${asked}: none is called "${wish}".${hint} Valid: ${validWishes}; here: ${there}.`);
  }
  if (here.length > 0 && wish !== 'auto') {
    return new ConfigError(`${asked}: there is no ${wish} adapter here${why}. Here: ${there}.`);
  }
  return new GpuError(`No adapter: nothing that Dawn can use was found${why}. ${mend(notes)}`);
}

function mend(notes: readonly string[]): string {
  const user = chosenDrivers();
  if (user) return `Correct or unset ${user}, or ask for the adapter "software".`;
  if (process.platform === 'darwin') return 'On a Mac it needs a GPU with Metal.';
  if (notes.some((note) => note.includes('DynamicLib.Open')))
    return 'Its own libraries lie where it cannot find them: move this program to a folder whose path is all ASCII.';
  if (process.platform !== 'linux') return "Install or update the graphics card's driver.";
  const driver =
    'a Vulkan driver: "apt install libvulkan1 mesa-vulkan-drivers", Mesa 25 or later (on Debian 12 from bookworm-backports)';
  return process.arch === 'x64' ? `Run "npm install @sparticuz/chromium", or install ${driver}.` : `Install ${driver}.`;
}

/** The error for a Dawn that Node cannot load. */
export function loadFailure(error: unknown): GpuError {
  const { code, message } = error as NodeJS.ErrnoException;
  // What Windows says names dawn.node, and never the library that it looked for in vain.
  const mend =
    process.platform === 'win32' && code === 'ERR_DLOPEN_FAILED'
      ? `Install the Visual C++ Redistributable, https://aka.ms/vs/17/release/vc_redist.${process.arch}.exe.`
      : 'It has builds for Windows and Linux with glibc (x64, arm64) and for macOS.';
  const why = message.split('\n', 1)[0]!.replace(/\.$/, '');
  return new GpuError(
    `Dawn (npm package webgpu) does not load on ${process.platform}-${process.arch}: ${why}. ${mend}`,
  );
}
