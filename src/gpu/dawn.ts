import { createRequire } from 'node:module';
import { GpuError, LossError, MemoryError } from '../core/errors.ts';
import {
  type AdapterKind,
  allows,
  type Candidate,
  candidates,
  chosenDrivers,
  explain,
  loadFailure,
  nullSource,
  refusal,
  type Source,
  sources,
} from './adapters.ts';
import { calmPolling } from './polling.ts';
import { holdStderr } from './stderr.ts';

export type { AdapterKind } from './adapters.ts';

/**
 * `fast`, for training and benchmarks: Dawn trusts calls and kernels. `validated`, for tests: it validates every call. `checked`: it
 * guards every access of a kernel, too.
 */
export type DawnFlags = 'checked' | 'validated' | 'fast';

export interface OpenOptions {
  /** `auto`, `hardware`, `software`, `lavapipe`, `swiftshader`, `null` or part of a name; default `DAWNGRAD_ADAPTER`, else `auto`. */
  adapter?: string | undefined;
  /** Default `fast`. */
  flags?: DawnFlags | undefined;
  /**
   * Receives what drivers print on standard error while they are loaded, less Dawn's word on limits that nothing here uses. Without
   * it, and where it cannot be held back (`holdStderr`), they just print.
   */
  onPrint?: ((text: string) => void) | undefined;
}

/** A matrix product that a subgroup does in hardware: M×K by K×N, `componentType` in, `resultComponentType` out. */
export interface SubgroupMatrixConfig {
  readonly componentType: string;
  readonly resultComponentType: string;
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

/** An adapter as it says itself, and what it granted. */
export interface AdapterFacts {
  readonly kind: AdapterKind;
  readonly name: string;
  readonly vendor: string;
  readonly driver: string;
  /** True when it computes on this machine's own cores. */
  readonly software: boolean;
  /** Granted, of the features that kernels have a use for. */
  readonly features: ReadonlySet<string>;
  /** Granted: all that the adapter has, sizes in bytes. */
  readonly limits: Readonly<Record<LimitName, number>>;
  readonly subgroupSizes: { readonly min: number; readonly max: number };
  /** Invocations of a subgroup that a kernel with many registers asks for; 0 where it is for the driver to say. */
  readonly narrow: number;
  readonly subgroupMatrixConfigs: readonly SubgroupMatrixConfig[];
  /** Adapter, driver and version of Dawn: whatever depends on one of them is kept under this key. */
  readonly fingerprint: string;
}

export interface OpenedDevice extends AdapterFacts {
  readonly device: GPUDevice;
  readonly flags: DawnFlags;
  /** One line: what was chosen and why. */
  readonly why: string;
  /**
   * Calls `handler` for each error that no error scope caught, within the call that failed, from where it must not call Dawn; and when
   * the device is lost. Returns what ends that.
   */
  onError(handler: (error: GpuError) => void): () => void;
  /** Frees the device and all that was made with it. */
  close(): void;
}

export interface AdapterSummary extends AdapterFacts {
  /** Where its driver comes from. */
  readonly origin: string;
  /** True for the one that `auto` takes. */
  readonly auto: boolean;
  /** Why `auto` takes it, or does not. */
  readonly why: string;
}

/** Features that kernels have a use for. */
const usefulFeatures: readonly string[] = [
  'shader-f16',
  'subgroups',
  'subgroup-size-control',
  'chromium-experimental-subgroup-matrix',
  'timestamp-query',
];

/** Limits that stay at low defaults unless asked for. Offset alignments stay at 256 everywhere, on purpose. */
const usefulLimits = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxUniformBufferBindingSize',
  'maxStorageBuffersPerShaderStage',
  'maxUniformBuffersPerShaderStage',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
  'maxComputeWorkgroupSizeY',
  'maxComputeWorkgroupSizeZ',
  'maxComputeWorkgroupsPerDimension',
] as const;
export type LimitName = (typeof usefulLimits)[number];

/**
 * Dawn's toggles. Subgroup matrices are unsafe by name while they are experimental. Without theirs there is no shader-f16 on NVIDIA's
 * Vulkan driver, and there are no subgroups on Intel's GPUs up to Comet Lake, which broadcast f16 wrongly; no kernel does. Time stamps
 * are rounded to 65.536 µs unless quantization is off.
 */
const checked = {
  on: ['allow_unsafe_apis', 'vulkan_enable_f16_on_nvidia', 'enable_subgroups_intel_gen9'],
  // The validator in this build of Dawn refuses valid modules ("Operand … cannot be a type").
  off: ['timestamp_quantization', 'enable_spirv_validation'],
};
const validated = {
  on: [
    ...checked.on,
    'disable_robustness',
    'disable_workgroup_init',
    'disable_polyfills_on_integer_div_and_mod',
    'disable_lazy_clear_for_mapped_at_creation_buffer',
  ],
  off: [...checked.off, 'lazy_clear_resource_on_first_use', 'blob_cache_hash_validation'],
};
const fast = { ...validated, on: [...validated.on, 'skip_validation'] };
const toggles = { checked, validated, fast } satisfies Record<DawnFlags, unknown>;

/**
 * Opens a device through Dawn: a hardware adapter; else a system lavapipe that works; else the bundled SwiftShader.
 *
 * Drivers that the user names in `VK_DRIVER_FILES` or `VK_ICD_FILENAMES` are the only ones that `auto` looks at. An
 * adapter that refuses is passed over. Throws ConfigError when there are adapters but none as asked for, and GpuError
 * when there is none, or when Dawn does not run here.
 */
export async function openDevice(options: OpenOptions = {}): Promise<OpenedDevice> {
  const wish = (options.adapter || process.env.DAWNGRAD_ADAPTER || 'auto').trim().toLowerCase();
  const { flags = 'fast', onPrint } = options;
  const notes: string[] = [];
  for (const source of sources(wish, notes)) {
    for (const candidate of candidates(source, await namesIn(source, notes, onPrint), wish)) {
      try {
        const opened = await open(candidate, flags, () => explain(candidate, wish, notes), onPrint);
        if (allows(wish, opened)) return opened;
        opened.close();
      } catch (error) {
        notes.push(`${candidate.name} refused: ${firstLine(error)}`);
      }
    }
  }
  const here =
    wish === 'auto'
      ? []
      : (await listAdapters([], onPrint)).filter(({ kind }) => kind !== 'null').map(({ name }) => name);
  const { DAWNGRAD_ADAPTER } = process.env;
  // The commands hand on what the environment says as if it had been given.
  const byEnvironment = !options.adapter || options.adapter === DAWNGRAD_ADAPTER;
  throw refusal(wish, here, notes, byEnvironment ? 'DAWNGRAD_ADAPTER' : 'adapter');
}

/**
 * Opens and closes every adapter there is, in the order in which `auto` takes them; Dawn's null backend comes last.
 *
 * `notes` receives a line for each thing that could have been an adapter and is none; `onPrint` is OpenOptions'.
 */
export async function listAdapters(notes: string[] = [], onPrint?: OpenOptions['onPrint']): Promise<AdapterSummary[]> {
  const found: AdapterSummary[] = [];
  for (const source of [...sources('', notes), nullSource]) {
    for (const candidate of candidates(source, await namesIn(source, notes, onPrint), '')) {
      try {
        const { device, flags, onError, close, ...facts } = await open(candidate, 'checked', () => '', onPrint);
        close();
        const best = found.find(({ auto }) => auto);
        const user = source.origin === 'bundled' && chosenDrivers();
        let why = 'auto takes this one';
        if (facts.kind === 'null') why = 'compiles, but computes nothing';
        else if (user) why = `auto keeps to ${user}`;
        else if (best) why = `auto prefers ${best.name}`;
        found.push({ ...facts, origin: source.origin, auto: facts.kind !== 'null' && !user && !best, why });
      } catch (error) {
        notes.push(`${candidate.name} refused: ${firstLine(error)}`);
      }
    }
  }
  return found;
}

async function open(
  { source, name, kind: expected }: Candidate,
  flags: DawnFlags,
  why: () => string,
  onPrint: OpenOptions['onPrint'],
): Promise<OpenedDevice> {
  const { on, off } = toggles[flags];
  const adapter = await requestAdapter(
    source,
    [`adapter=${name}`, `enable-dawn-features=${on.join()}`, `disable-dawn-features=${off.join()}`],
    onPrint,
  );
  if (!adapter) throw new GpuError('the adapter is gone');
  const { info } = adapter;
  const kind = expected === 'hardware' && info.isFallbackAdapter ? 'software' : expected;
  const software = kind !== 'hardware' && kind !== 'null';
  if (software) calmPolling((await loadDawn()).globals);

  const device = await adapter.requestDevice({
    label: 'dawngrad',
    requiredFeatures: usefulFeatures.filter((feature) => adapter.features.has(feature)) as GPUFeatureName[],
    requiredLimits: Object.fromEntries(usefulLimits.map((limit) => [limit, wholeLimit(adapter.limits[limit])])),
  });
  const driver = info.description || 'Dawn';
  return {
    device,
    kind,
    name,
    vendor: info.vendor,
    driver,
    software,
    features: new Set(usefulFeatures.filter((feature) => device.features.has(feature))),
    limits: Object.fromEntries(usefulLimits.map((limit) => [limit, device.limits[limit]])) as Record<LimitName, number>,
    subgroupSizes: { min: info.subgroupMinSize ?? 0, max: info.subgroupMaxSize ?? 0 },
    narrow: narrowOf(info, device.features),
    subgroupMatrixConfigs: matrixConfigs(info),
    fingerprint: [name, driver, (await loadDawn()).version].join(' | '),
    flags,
    why: why(),
    ...watch(device, name),
  };
}

/** A limit in a form that Dawn takes back: exact as a number, and a size that bindings can have (a multiple of 4). */
const wholeLimit = (limit: number) => {
  const exact = Math.min(limit, Number.MAX_SAFE_INTEGER);
  return exact > 0xffff ? exact - (exact % 4) : exact;
};

/**
 * On Intel's GPUs the invocations of a subgroup share the 128 registers of a thread. On Vulkan Dawn asks for twice as many invocations
 * as are the least, and each has room for 64 numbers; the least have room for 128. On Direct3D it is the driver's to choose.
 */
const narrowOf = (
  { vendor, subgroupMinSize: min = 0, subgroupMaxSize: max = 0 }: GPUAdapterInfo,
  features: GPUSupportedFeatures,
): number =>
  process.platform === 'linux' &&
  vendor === 'intel' &&
  features.has('subgroup-size-control') &&
  min < max &&
  [8, 16].includes(min)
    ? min
    : 0;

/** Not in @webgpu/types, being Dawn's experiment. Copied, since the values are views of the adapter's memory. */
function matrixConfigs(info: GPUAdapterInfo): SubgroupMatrixConfig[] {
  const { subgroupMatrixConfigs = [] } = info as { subgroupMatrixConfigs?: Iterable<SubgroupMatrixConfig> };
  return [...subgroupMatrixConfigs].map(({ componentType, resultComponentType, M, N, K }) => ({
    componentType,
    resultComponentType,
    M,
    N,
    K,
  }));
}

/** Hands a device's uncaught errors and its loss to whoever listens; with no listener, Dawn prints them. */
function watch(device: GPUDevice, name: string): Pick<OpenedDevice, 'onError' | 'close'> {
  const handlers = new Set<(error: GpuError) => void>();
  let closed = false;
  const report = (error: GpuError) => {
    for (const handler of handlers) handler(error);
  };
  device.addEventListener('uncapturederror', (event) => {
    if (handlers.size > 0) event.preventDefault();
    report(errorOf(event.error, name));
  });
  void device.lost.then(({ reason, message }) => {
    if (!closed) report(new LossError(`${name}: the device is lost (${reason}): ${message}`));
  });
  return {
    onError(handler) {
      handlers.add(handler);
      return () => handlers.delete(handler);
    },
    close() {
      closed = true;
      device.destroy();
    },
  };
}

/** Of memory it says what can be done about it; how it was asked for is no help. */
const errorOf = (error: GPUError, name: string): GpuError =>
  error.constructor.name === 'GPUOutOfMemoryError'
    ? new MemoryError(`${name}: its memory ran out (${firstLine(error.message)}). Use a smaller batch, size or width.`)
    : new GpuError(`${name}: ${error.message}`);

interface Dawn {
  create(options: string[]): GPU;
  globals: Parameters<typeof calmPolling>[0];
  version: string;
}

let dawn: Promise<Dawn> | undefined;

/** Loads Dawn when it is first needed: where it has no build, everything that needs no GPU still works. */
function loadDawn(): Promise<Dawn> {
  dawn ??= (async () => {
    try {
      const { create, globals } = await import('webgpu');
      const { version } = createRequire(import.meta.url)('webgpu/package.json') as { version: string };
      return { create, globals: globals as Dawn['globals'], version: `webgpu ${version}` };
    } catch (error) {
      throw loadFailure(error);
    }
  })();
  return dawn;
}

/**
 * What `create` returned, by its options, for the life of the process. Dawn's event loop keeps a bare pointer to it:
 * once one of these is garbage-collected, the next look at a promise of its devices crashes the process.
 */
const instances = new Map<string, GPU>();

/** What Dawn says of limits that it lowers, on most drivers, and that nothing here comes near. */
const loweredLimits = /^Warning: maxDynamic\w+ artificially reduced from .*\n/gm;

async function requestAdapter(
  { create, env }: Source,
  options: string[],
  onPrint: OpenOptions['onPrint'],
): Promise<GPUAdapter | null> {
  const dawn = await loadDawn();
  // Drivers are looked for once an instance: one that was started under other drivers does not see these.
  const drivers = {
    VK_DRIVER_FILES: process.env.VK_DRIVER_FILES,
    VK_ICD_FILENAMES: process.env.VK_ICD_FILENAMES,
    ...env,
  };
  const key = JSON.stringify([create, options, drivers]);
  const gpu = instances.get(key) ?? dawn.create([...create, ...options]);
  instances.set(key, gpu);
  // The drivers are loaded before requestAdapter returns its promise: the variables can be taken back at once, and
  // neither child processes nor the program see them.
  const before = Object.keys(env).map((name) => [name, process.env[name]] as const);
  Object.assign(process.env, env);
  const request = () => gpu.requestAdapter({ powerPreference: 'high-performance' });
  try {
    if (!onPrint) return request();
    return holdStderr(request, (text) => {
      const rest = text.replace(loweredLimits, '');
      if (rest) onPrint(rest);
    });
  } finally {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
}

/** The names of a source's adapters, in Dawn's order: Dawn lists them when it is asked for a name that nobody has. */
async function namesIn(source: Source, notes: string[], onPrint: OpenOptions['onPrint']): Promise<string[]> {
  let list = '';
  try {
    await requestAdapter(source, ['adapter=?'], onPrint);
  } catch (error) {
    list = String(error);
    if (!list.includes('Available adapters')) throw new GpuError(firstLine(error));
  }
  const names = [...list.matchAll(/name: '(.*)'/g)].map(([, name]) => name!);
  if (names.length === 0) notes.push(source.none);
  return names;
}

const firstLine = (error: unknown) => (error instanceof Error ? error.message : String(error)).split('\n', 1)[0]!;
