/**
 * What the compilers of real GPUs make of every kernel, on a machine without these GPUs: Mesa's RADV compiles for any AMD
 * GPU that RADV_FORCE_FAMILY names, and under a layer that does nothing (norun.c) Dawn has it do so. Nothing runs.
 *
 *     apt install gcc libvulkan-dev mesa-vulkan-drivers
 *     node --import tsx bench/compilers/compile.ts vega20 navi31 --json compiled.json
 *
 * It exits with 1 where a kernel does not compile, or not without spilled registers or scratch memory, or waits for what it
 * loads ahead.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  createReadStream,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { command } from '../../src/cli/command.ts';
import { main } from '../../src/cli/main.ts';
import { operands, option, type Values } from '../../src/cli/option.ts';
import { text } from '../../src/cli/value.ts';
import { ConfigError, GpuError } from '../../src/core/errors.ts';
import { counted } from '../../src/core/words.ts';
import { checkJson, toJson, writeJson } from '../result.ts';
import type { How } from './messages.ts';
import { type Compiled, Reader } from './reader.ts';

const FAMILIES = ['vega20', 'navi21', 'navi31'];
const DRIVER_FOLDERS = ['/usr/share/vulkan/icd.d', '/etc/vulkan/icd.d'];
const SIGNALS = ['SIGINT', 'SIGTERM'] as const;
const LAYER = 'VK_LAYER_DAWNGRAD_norun';

const options = {
  families: {
    ...operands(text('FAMILY…'), `GPUs as RADV calls them: navi10, gfx1201; without any, ${FAMILIES.join(', ')}`),
    initial: null,
  },
  json: option('Output', text('FILE'), null, 'writes the results to FILE', { otherwise: 'none' }),
};

/** What one GPU's compiler made of everything. */
interface FamilyResult {
  family: string;
  adapter: string;
  driver: string;
  kernels: readonly Compiled[];
  /** What did not compile, and why. */
  failures: readonly string[];
}

async function compile({ families, json }: Partial<Values<typeof options>>): Promise<void> {
  if (json) checkJson(json);
  const drivers = findDrivers();
  const folder = mkdtempSync(join(tmpdir(), 'dawngrad-norun-'));
  const results: FamilyResult[] = [];
  const remove = () => rmSync(folder, { recursive: true, force: true });
  const stop = () => {
    remove();
    process.exit(1);
  };
  for (const signal of SIGNALS) process.once(signal, stop);
  try {
    buildLayer(folder);
    const start = (family: string, how: How) =>
      startChild(family, how, folder, {
        ...{ VK_DRIVER_FILES: drivers, VK_ADD_LAYER_PATH: folder, VK_INSTANCE_LAYERS: LAYER },
        ...{ RADV_FORCE_FAMILY: family, RADV_DEBUG: 'shaderstats,cs,asm', MESA_SHADER_CACHE_DISABLE: 'true' },
      });
    // A name that RADV does not know would end it minutes from now.
    for (const family of families ?? FAMILIES) await start(family, 'open');
    for (const family of families ?? FAMILIES) {
      const result = await start(family, 'compile');
      results.push(result);
      for (const line of linesOf(result)) console.log(line);
    }
  } finally {
    for (const signal of SIGNALS) process.off(signal, stop);
    remove();
  }
  if (json) writeJson(json, toJson({ date: new Date().toISOString(), families: results }));
  const good = results.every(
    ({ kernels, failures }) => failures.length === 0 && !kernels.some(spills) && !kernels.some(waitsAhead),
  );
  process.exitCode = good ? 0 : 1;
}

function findDrivers(): string {
  const found = DRIVER_FOLDERS.filter((folder) => existsSync(folder)).flatMap((folder) =>
    readdirSync(folder)
      .filter((name) => /^radeon_icd.*\.json$/.test(name))
      .map((name) => join(folder, name)),
  );
  if (found.length > 0) return found.join(':');
  throw new ConfigError(
    `no RADV: there is no radeon_icd*.json in ${DRIVER_FOLDERS.join(' or ')}. Run "apt install mesa-vulkan-drivers".`,
  );
}

/** Builds the layer into `folder`, with the manifest that the Vulkan loader looks for. */
function buildLayer(folder: string): void {
  const source = fileURLToPath(new URL('norun.c', import.meta.url));
  const library = join(folder, 'libnorun.so');
  const flags = ['-shared', '-fPIC', '-Wall', '-Wextra', '-O1', '-o', library];
  const { error, status, stderr } = spawnSync('cc', [...flags, source], { encoding: 'utf8' });
  if (error) throw new ConfigError('no C compiler: cc is not installed. Run "apt install gcc".');
  if (/vulkan\/\w+\.h: No such file/.test(stderr) || /'vulkan\/\w+\.h' file not found/.test(stderr))
    throw new ConfigError('no Vulkan headers: cc does not find vulkan/vulkan.h. Run "apt install libvulkan-dev".');
  if (status !== 0) throw new GpuError(`cc does not compile ${source}: ${stderr}`);
  const layer = {
    ...{ name: LAYER, type: 'GLOBAL', library_path: library, api_version: '1.3.0', implementation_version: '1' },
    description: 'Compiles, and runs nothing',
  };
  writeFileSync(join(folder, 'norun.json'), JSON.stringify({ file_format_version: '1.2.0', layer }));
}

/**
 * Opens the device of a family in a process of its own, and compiles everything there: the loader and the driver read their environment
 * once. What they print goes through a file in `folder`: a pipe that is full would lose some of it. Throws ConfigError for a family
 * that RADV does not know, GpuError where it opens no device.
 */
async function startChild(
  family: string,
  how: How,
  folder: string,
  env: Readonly<Record<string, string>>,
): Promise<FamilyResult> {
  const { DEBUG, VK_ICD_FILENAMES, DAWNGRAD_ADAPTER, ...inherited } = process.env;
  const program = fileURLToPath(new URL('child.ts', import.meta.url));
  const printed = join(folder, `${basename(family)}.txt`);
  const file = openSync(printed, 'w');
  const child = spawn(process.execPath, ['--import', import.meta.resolve('tsx'), program, how], {
    env: { ...inherited, ...env },
    stdio: ['ignore', 'ignore', file],
  });
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  const [code, signal] = (await once(child, 'exit')) as [number | null, string | null];
  process.off('exit', kill);
  closeSync(file);
  const reader = new Reader();
  let unknown = false;
  for await (const line of createInterface({ input: createReadStream(printed) })) {
    if (line.includes('Unknown family')) unknown = true;
    reader.read(line);
  }
  if (unknown)
    throw new ConfigError(`FAMILY: RADV knows no ${family}. Known are navi10, navi21, navi31, vega20 and more.`);
  const ended = signal ?? `exit code ${code}`;
  const { adapter, driver, kernels, failures, done, compiling, lastLine } = reader;
  if (adapter === null) throw new GpuError(`${family}: RADV opens no device: ${lastLine || ended}`);
  if (!done) failures.push(`${compiling?.label ?? lastLine}: this ended the compiler's process (${ended})`);
  return { family, adapter, driver, kernels, failures };
}

const spills = ({ spilledVectors, spilledScalars, scratchBytes }: Compiled): boolean =>
  spilledVectors + spilledScalars + scratchBytes > 0;

/** True for a kernel that loads vectors into workgroup memory for its next products: it must not wait for them. */
const loadsAhead = ({ kernel, consts }: Compiled): boolean =>
  /_(tile|tensor)\./.test(kernel) && !/VEC_\w+=false|RAGGED=true|load_scalars/.test(consts);

const waitsAhead = (compiled: Compiled): boolean => loadsAhead(compiled) && (compiled.waits?.waited ?? 0) > 0;

/** A line of figures, which fits 80 columns; what the kernel computes stands in a line above. */
const row = (figures: readonly string[], kernel: string): string =>
  `${figures.map((figure) => figure.padStart(9)).join(' ')}  ${kernel}`;

function linesOf({ family, adapter, driver, kernels, failures }: FamilyResult): string[] {
  let above = '';
  const rows = kernels.flatMap((compiled) => {
    const { kernel, variant, problem, registers, spilledVectors, spilledScalars, scratchBytes, waits } = compiled;
    const waited = waits ? `${waits.waited} of ${waits.loads}` : '–';
    const figures = [registers, spilledVectors + spilledScalars, scratchBytes, compiled.workgroupBytes, compiled.waves];
    const use = variant ? `${variant}: ${problem}` : problem;
    const heading = use === above ? [] : [use];
    above = use;
    return [...heading, row([...figures.map(String), waited], kernel)];
  });
  const spilling = kernels.filter(spills).length;
  const ahead = kernels.filter((compiled) => loadsAhead(compiled) && compiled.waits);
  const waiting = kernels.filter(waitsAhead).length;
  return [
    `${family}: ${adapter}, ${driver}`,
    'Compiled only: nothing ran.',
    row(['registers', 'spilled', 'scratch', 'workgroup', 'waves', 'waited'], 'kernel'),
    ...rows,
    ...failures.map((failure) => `FAILED ${failure}`),
    'scratch, workgroup: bytes; waves: subgroups that a SIMD holds',
    'waited: loads that a turn waits for before its products',
    `${family}: ${counted(kernels.length, 'kernel')}, ${spilling} with spills or scratch, ${failures.length} failed to compile`,
    ahead.length === 0
      ? 'no assembly to look for waits in'
      : `${waiting} of ${ahead.length} that load vectors ahead wait for them before their products`,
  ];
}

await main(
  ['compile', ...process.argv.slice(2)],
  [
    command(
      {
        name: 'compile',
        summary: "shows what real GPUs' compilers make of every kernel, on a machine without them",
        options,
        examples: ['', 'vega20 navi31 --json compiled.json'],
      },
      compile,
    ),
  ],
);
