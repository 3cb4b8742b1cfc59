import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { info } from '../src/cli/info.ts';
import { ConfigError, GpuError } from '../src/core/errors.ts';
import { allows, candidates, explain, kindOfName, loadFailure, nullSource, refusal } from '../src/gpu/adapters.ts';
import { listAdapters, type OpenedDevice, openDevice } from '../src/gpu/dawn.ts';
import { calmPolling } from '../src/gpu/polling.ts';
import { bundledSwiftShader, hasVulkanLoader, installedDrivers } from '../src/gpu/software.ts';
import { onPlatform } from './platform.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const tsx = pathToFileURL(join(root, 'node_modules', 'tsx', 'dist', 'loader.mjs')).href;
const dawnModule = new URL('../src/gpu/dawn.ts', import.meta.url).href;
const temporary = mkdtempSync(join(tmpdir(), 'dawngrad-test-'));
test.after(() => rmSync(temporary, { recursive: true, force: true }));

/** Unpacked where it stays: the caches of other files' scratch folders, set as all files are imported, go away with them. */
function unpackedToStay() {
  const scratch = process.env.DAWNGRAD_CACHE;
  delete process.env.DAWNGRAD_CACHE;
  try {
    return bundledSwiftShader();
  } finally {
    if (scratch !== undefined) process.env.DAWNGRAD_CACHE = scratch;
  }
}

const bundled = unpackedToStay();
/** Tests of the bundled SwiftShader are only declared where there is one. */
const bundledTest: typeof test | typeof test.skip = typeof bundled === 'string' ? test.skip : test;

/** Runs a program in a process of its own, with `openDevice` imported. */
function run(program: string, env: NodeJS.ProcessEnv = {}, { node = [] as string[], wrap = [] as string[] } = {}) {
  const source = `import { openDevice, listAdapters } from '${dawnModule}';\n${program}`;
  const [command, ...args] = [...wrap, process.execPath, ...node, '--import', tsx, '--input-type=module', '-e', source];
  const { DAWNGRAD_ADAPTER, VK_DRIVER_FILES, VK_ICD_FILENAMES, ...rest } = process.env;
  const clean = { ...rest, ...env };
  const { status, signal, stdout, stderr } = spawnSync(command!, args, {
    encoding: 'utf8',
    env: clean,
    cwd: root,
    timeout: 60_000,
  });
  return { status: signal ?? status, stdout: stdout.trim(), stderr };
}

/** Computes x·2+1 on the device and returns the first numbers. */
async function compute({ device }: OpenedDevice): Promise<number[]> {
  const code = `@group(0) @binding(0) var<storage, read_write> x: array<f32>;
    @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) { x[id.x] = x[id.x] * 2.0 + 1.0; }`;
  const module = device.createShaderModule({ code });
  const pipeline = await device.createComputePipelineAsync({ layout: 'auto', compute: { module } });
  const [MAP_READ, COPY_SRC, COPY_DST, STORAGE] = [1, 4, 8, 128] as const;
  const buffer = device.createBuffer({ size: 256, usage: STORAGE | COPY_SRC | COPY_DST });
  const readable = device.createBuffer({ size: 256, usage: MAP_READ | COPY_DST });
  device.queue.writeBuffer(buffer, 0, Float32Array.of(0, 1, 2, 3));
  const entries = [{ binding: 0, resource: { buffer } }];
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
  pass.dispatchWorkgroups(1);
  pass.end();
  encoder.copyBufferToBuffer(buffer, 0, readable, 0, 256);
  device.queue.submit([encoder.finish()]);
  await readable.mapAsync(MAP_READ);
  return [...new Float32Array(readable.getMappedRange()).slice(0, 4)];
}

async function rejection(promise: Promise<unknown>): Promise<Error> {
  try {
    await promise;
  } catch (error) {
    return error as Error;
  }
  throw new Error('expected a rejection');
}

const sleep = (ms: number) => new Promise((done) => setTimeout(done, ms));

const some = ['SwiftShader Device (Subzero)', 'llvmpipe (LLVM 15.0.6, 256 bits)', 'NVIDIA H200'];

test('auto prefers hardware, then lavapipe, then SwiftShader; other words choose their kind, the rest part of a name', () => {
  const chosen = (wish: string) => candidates(nullSource, some, wish).map(({ kind }) => kind);
  assert.equal(chosen('auto'), ['hardware', 'lavapipe', 'swiftshader']);
  assert.equal(chosen('hardware'), ['hardware']);
  assert.equal(chosen('software'), ['lavapipe', 'swiftshader']);
  assert.equal(chosen('h200'), ['hardware']);
  assert.equal(chosen('nothing'), []);
  assert.is(kindOfName('Microsoft Basic Render Driver'), 'software');
  assert.is(kindOfName('Null backend'), 'null');
  // What passed for hardware by its name and then turned out to run on the CPU.
  assert.not(allows('hardware', { name: 'Some Driver', kind: 'software' }));
});

test('the choice is explained in one line', () => {
  const source = { ...nullSource, origin: 'bundled' };
  const why = (wish: string, note: string) =>
    onPlatform('linux', () => explain({ source, name: 'S', kind: 'swiftshader' }, wish, [note]));
  assert.match(
    why('auto', 'no Vulkan driver is installed'),
    /^S, bundled: no hardware adapter and no lavapipe; .*no Vulkan driver is installed$/,
  );
  assert.is(why('s', 'n').split('; ')[0], 'S, bundled: asked for with "s"');
});

test('an adapter that is not here gives one line with the nearest name, what is valid and what is here', () => {
  const typo = refusal('lavapip', some, []);
  assert.instance(typo, ConfigError);
  assert.match(typo.message, /"lavapip".*Did you mean "lavapipe"\?.*Valid: auto, hardware, .*here: SwiftShader Device/);
  assert.not.match(typo.message, /null/);
  assert.match(refusal('nvidia h20', some, []).message, /Did you mean "NVIDIA H200"/);
  assert.not.match(refusal('quantum', some, []).message, /Did you mean/);
  const absent = refusal('hardware', some.slice(0, 1), ['no Vulkan driver is installed']);
  assert.instance(absent, ConfigError);
  assert.match(absent.message, /no hardware adapter here \(no Vulkan driver is installed\)\. Here: SwiftShader/);
  const nothing = refusal('auto', [], ['a', 'b']);
  assert.instance(nothing, GpuError);
  assert.match(nothing.message, /\(a; b\)\. .*[Ii]nstall/);
  for (const { message } of [typo, absent, nothing]) assert.not.match(message, /\n/);
});

test('what is said of drivers and of Dawn itself is of use on Windows and macOS, too', () => {
  const { VK_DRIVER_FILES } = process.env;
  process.env.VK_DRIVER_FILES = '/some.json';
  try {
    const wanting = (platform: NodeJS.Platform, note: string) =>
      onPlatform(platform, () => refusal('auto', [], [note]).message);
    assert.match(wanting('linux', 'a'), /unset VK_DRIVER_FILES/);
    assert.match(wanting('win32', 'a'), /\(a\)\. Install or update the graphics card's driver\.$/);
    assert.match(wanting('win32', 'G refused: DynamicLib.Open: d3dcompiler_47.dll Windows Error: 87'), /all ASCII\.$/);
    assert.match(wanting('darwin', 'a'), /Metal\.$/);
    const warp = { source: { ...nullSource, origin: 'system driver' }, name: 'W', kind: 'software' } as const;
    assert.is(
      onPlatform('win32', () => explain(warp, 'auto', [])),
      'W, system driver: no hardware adapter',
    );
  } finally {
    if (VK_DRIVER_FILES === undefined) delete process.env.VK_DRIVER_FILES;
    else process.env.VK_DRIVER_FILES = VK_DRIVER_FILES;
  }
  const error = Object.assign(new Error('The module is not there.\n\\\\?\\C:\\dawn.node'), {
    code: 'ERR_DLOPEN_FAILED',
  });
  const failure = (platform: NodeJS.Platform) => onPlatform(platform, () => loadFailure(error).message);
  assert.match(
    failure('win32'),
    /^Dawn .* on win32-\w+: The module is not there\. Install the Visual C\+\+ Redist.*\.exe\.$/,
  );
  assert.match(failure('linux'), /not there\. It has builds for .*macOS\.$/);
});

test('openDevice rejects an unknown adapter with what is here', async () => {
  const error = await rejection(openDevice({ adapter: 'no such adapter' }));
  assert.instance(error, ConfigError);
  assert.match(error.message, /none is called "no such adapter"/);
});

test('checked, validated, fast and null devices work side by side, compute right, and leave the globals alone', async () => {
  const globals = Object.getOwnPropertyNames(globalThis).sort();
  const { setImmediate, setTimeout } = globalThis;
  const { VK_DRIVER_FILES, VK_ICD_FILENAMES } = process.env;
  const none = await openDevice({ adapter: 'null' });
  const checked = await openDevice({ flags: 'checked' });
  const validated = await openDevice({ flags: 'validated' });
  const fast = await openDevice();
  assert.equal([checked.flags, validated.flags, fast.flags], ['checked', 'validated', 'fast']);
  console.log(`adapter: ${checked.why}`);
  assert.is(checked.fingerprint, fast.fingerprint);
  assert.is(none.kind, 'null');
  const pending = [compute(checked), compute(validated), compute(fast)];
  assert.is(globalThis.setImmediate, setImmediate);
  for (const values of await Promise.all(pending)) assert.equal(values, [1, 3, 5, 7]);
  assert.equal(await compute(checked), [1, 3, 5, 7]);
  assert.is(globalThis.setImmediate, setImmediate);
  assert.is(globalThis.setTimeout, setTimeout);
  assert.equal(Object.getOwnPropertyNames(globalThis).sort(), globals);
  assert.equal([process.env.VK_DRIVER_FILES, process.env.VK_ICD_FILENAMES], [VK_DRIVER_FILES, VK_ICD_FILENAMES]);
  for (const { device } of [checked, validated]) {
    device.pushErrorScope('validation');
    device.createBuffer({ size: 4, usage: 0 });
    assert.ok(await device.popErrorScope(), 'a call that is not valid');
  }
  for (const opened of [none, checked, validated, fast, checked]) opened.close();
});

test('all that an adapter has is asked for, and offset alignment stays at its default', async () => {
  const opened = await openDevice();
  assert.ok(opened.limits.maxStorageBuffersPerShaderStage >= 8);
  assert.is(opened.limits.maxStorageBufferBindingSize % 4, 0);
  for (const [name, value] of Object.entries(opened.limits)) {
    assert.is(opened.device.limits[name as 'maxBufferSize'], value, name);
  }
  assert.is(opened.device.limits.minStorageBufferOffsetAlignment, 256);
  for (const feature of opened.features) assert.ok(opened.device.features.has(feature as GPUFeatureName));
  opened.close();
});

test("the program's timers keep their order and their pace while a promise is pending", async () => {
  const opened = await openDevice({ adapter: process.env.DAWNGRAD_ADAPTER || 'software' }).catch(() => openDevice());
  const order: string[] = [];
  const pending = compute(opened).then(() => order.push('gpu'));
  await new Promise<void>((done) => {
    setImmediate((a: string, b: string) => order.push(a + b), 'im', 'mediate');
    const cancelled = setImmediate(() => order.push('cancelled'));
    clearImmediate(cancelled);
    setTimeout(done, 5);
    process.nextTick(() => order.push('tick'));
  });
  await pending;
  assert.equal(
    order.filter((name) => name !== 'gpu'),
    ['tick', 'immediate'],
  );
  opened.close();
});

test('while a promise is pending, Dawn is asked a few times and then once a millisecond; on Windows often for longer', async () => {
  const { setImmediate, setTimeout } = globalThis;
  for (const [platform, spinMs] of [
    ['linux', 0.5],
    ['win32', 20],
  ] as const) {
    let latePolls = 0;
    let startMs = 0;
    let sleptMs = Number.POSITIVE_INFINITY;
    const elapsedMs = () => performance.now() - startMs;
    // Polls as dawn.node does: through whatever the global is, from its own callback, for 80 ms.
    const mapAsync = () =>
      new Promise<void>((done) => {
        const poll = () => {
          if (elapsedMs() > 30) latePolls++;
          if (elapsedMs() > 80) done();
          else globalThis.setImmediate(poll);
        };
        globalThis.setImmediate(poll);
      });
    const classes = { GPUBuffer: { prototype: { mapAsync } } };
    globalThis.setTimeout = ((...args: Parameters<typeof setTimeout>) => {
      sleptMs = Math.min(sleptMs, elapsedMs());
      return setTimeout(...args);
    }) as typeof setTimeout;
    onPlatform(platform, () => {
      calmPolling(classes);
      calmPolling(classes);
    });
    globalThis.setTimeout = setTimeout;
    startMs = performance.now();
    const pending = classes.GPUBuffer.prototype.mapAsync();
    assert.is(globalThis.setImmediate, setImmediate);
    await pending;
    assert.is(globalThis.setImmediate, setImmediate);
    assert.ok(latePolls > 0 && latePolls <= 51, `${latePolls} polls`);
    assert.ok(sleptMs >= spinMs, `a first sleep after ${sleptMs} ms`);
  }
});

test('onError receives what no error scope caught, and the loss of a device that was not closed', async () => {
  const opened = await openDevice({ adapter: 'null', flags: 'checked' });
  const messages: string[] = [];
  const stop = opened.onError((error) => messages.push(`${error.name}: ${error.message}`));
  opened.device.createBuffer({ size: 4, usage: 0xffff });
  assert.is(messages.length, 1, 'at once');
  assert.match(messages[0]!, /^GpuError: Null backend: .*BufferUsage/);
  opened.device.destroy();
  await sleep(20);
  assert.match(messages[1]!, /the device is lost/);
  stop();

  const quiet = await openDevice({ adapter: 'null' });
  quiet.onError((error) => messages.push(error.message));
  quiet.close();
  await sleep(20);
  assert.is(messages.length, 2);
});

test('info lists the adapters and the choice, as text of 80 columns and as JSON', async () => {
  const print = console.log;
  let out = '';
  console.log = (text: string) => {
    out += `${text}\n`;
  };
  try {
    await info({ adapter: 'null', json: false });
    assert.match(out, /^Chosen\n {2}Null backend, part of Dawn: asked for with "null"\n/);
    assert.match(out, /\* Null backend/);
    assert.match(out, /maxComputeInvocationsPerWorkgroup {3}256\n/);
    for (const line of out.split('\n')) assert.ok(line.length <= 80 || !line.trim().includes(' '), line);
    out = '';
    await info({ adapter: 'null', json: true });
    const { chosen, adapters, node } = JSON.parse(out);
    assert.is(chosen.kind, 'null');
    assert.is(chosen.limits.maxComputeWorkgroupStorageSize, 16384);
    assert.ok(adapters.length >= 1 && adapters.at(-1).kind === 'null');
    assert.ok(adapters.filter((one: { auto: boolean }) => one.auto).length <= 1);
    assert.is(node, process.version);
    out = '';
    assert.instance(await rejection(info({ adapter: 'no such', json: true })), ConfigError);
    assert.is(JSON.parse(out).chosen, null);
  } finally {
    console.log = print;
  }
});

test('listAdapters marks the one that auto takes', async () => {
  const [first] = await listAdapters();
  const opened = await openDevice({ adapter: 'auto' });
  assert.is(first!.name, opened.name);
  assert.ok(first!.auto);
  opened.close();
});

const pinned = `
  const { device } = await openDevice({ flags: 'fast' });
  for (let i = 0; i < 20; i++) {
    globalThis.gc();
    const buffer = device.createBuffer({ size: 1 << 16, usage: 9 });
    await buffer.mapAsync(1);
    globalThis.gc();
    await device.queue.onSubmittedWorkDone();
  }`;

test('garbage collection does not take Dawn away, and the process ends by itself', () => {
  const { status, stderr } = run(`${pinned}\nconsole.log('done');`, process.env, { node: ['--expose-gc'] });
  assert.is(status, 0, stderr);
});

test('a process ends with its own exit code after an error, and with work still pending', () => {
  const pending = 'const { device } = await openDevice(); device.queue.onSubmittedWorkDone();';
  assert.is(run(`${pending} throw new Error('on purpose');`, process.env).status, 1);
  assert.is(run(`${pending} process.exit(7);`, process.env).status, 7);
});

bundledTest('drivers that the user chose are the only ones that auto takes', () => {
  const { icd } = bundled as { icd: string };
  const print = 'console.log((await openDevice()).why)';
  const chosen = run(print, { VK_ICD_FILENAMES: icd });
  assert.is(chosen.stdout.split(':')[0], `SwiftShader Device (Subzero), VK_ICD_FILENAMES=${icd}`, chosen.stderr);
  const missing = run(`await openDevice().catch((e) => console.log(e.name, e.message))`, {
    VK_DRIVER_FILES: '/none.json',
  });
  assert.match(missing.stdout, /^GpuError .*VK_DRIVER_FILES=\/none\.json offers no adapter.*unset VK_DRIVER_FILES/);
  const asked = run("console.log((await openDevice({ adapter: 'software' })).why)", { VK_DRIVER_FILES: '/none.json' });
  assert.match(
    asked.stdout,
    /^SwiftShader.*bundled: asked for with "software"; so VK_DRIVER_FILES is set aside$/,
    asked.stderr,
  );
});

/** Whether this machine lets us hide its Vulkan in a mount namespace. */
const bare = ['sh', join(root, 'test', 'bare.sh')];
const canHide = process.platform === 'linux' && spawnSync(bare[0]!, [bare[1]!, 'true']).status === 0;
const bareTest = canHide && typeof bundled !== 'string' ? test : test.skip;

bareTest(
  'without Vulkan, the SwiftShader that npm brought is unpacked and computes; nothing is printed by Dawn',
  () => {
    const cache = join(temporary, 'bare');
    const program = 'const opened = await openDevice(); console.log(opened.kind, opened.why); opened.close();';
    const { status, stdout, stderr } = run(program, { DAWNGRAD_CACHE: cache }, { wrap: bare });
    assert.is(status, 0, stderr);
    assert.match(
      stdout,
      /^swiftshader SwiftShader.*, bundled: no hardware adapter and no lavapipe; no Vulkan driver is installed$/,
    );
    assert.not.match(stderr, /Warning: max/, stderr);
    assert.is(readdirSync(cache).length, 1);
  },
);

/** A folder for XDG_DATA_DIRS that holds these driver manifests. */
function driversIn(name: string, manifests: Record<string, string>): NodeJS.ProcessEnv {
  const folder = join(temporary, name, 'vulkan', 'icd.d');
  mkdirSync(folder, { recursive: true });
  for (const [file, text] of Object.entries(manifests)) writeFileSync(join(folder, file), text);
  return { XDG_DATA_DIRS: join(temporary, name) };
}

const manifestOf = (library: string) =>
  JSON.stringify({ file_format_version: '1.0.0', ICD: { library_path: library, api_version: '1.3.0' } });

bareTest('installed drivers that are broken are passed over for SwiftShader, by name', () => {
  const env = driversIn('broken', { 'a_icd.json': '{ not json', 'b_icd.json': manifestOf('/nowhere/libvulkan_b.so') });
  const { stdout, stderr } = run('console.log((await openDevice()).why)', env, { wrap: bare });
  assert.match(
    stdout,
    /^SwiftShader.*, bundled: .*none of the installed Vulkan drivers \(a_icd\.json, b_icd\.json\)/,
    stderr,
  );
});

bareTest('a driver that has no loader, as in many containers, gets the one that npm brought', () => {
  const library = (bundled as { icd: string }).icd.replace('vk_swiftshader_icd.json', 'libvk_swiftshader.so');
  const env = driversIn('loaderless', { 'some_icd.json': manifestOf(library) });
  const { stdout, stderr } = run('console.log((await openDevice()).why)', env, { wrap: bare });
  assert.match(stdout, /^SwiftShader.*, system driver: /, stderr);
});

/** Where Vulkan's loader is to look for drivers, with none there. */
const nowhere = Object.fromEntries(
  ['XDG_CONFIG_HOME', 'XDG_CONFIG_DIRS', 'XDG_DATA_HOME', 'XDG_DATA_DIRS'].map((name) => [name, '/none']),
);
const withoutDrivers = hasVulkanLoader() && installedDrivers(nowhere).length === 0 ? bundledTest : test.skip;

withoutDrivers('a Vulkan loader that finds no driver is said to have none', () => {
  const { stdout, stderr } = run('console.log((await openDevice()).why)', nowhere);
  assert.match(stdout, /no hardware adapter and no lavapipe; no Vulkan driver is installed$/, stderr);
});

bareTest('without Vulkan and without the optional package, the error says what to install', () => {
  const copy = join(temporary, 'copy');
  for (const folder of ['gpu', 'core'])
    cpSync(join(root, 'src', folder), join(copy, 'src', folder), { recursive: true });
  mkdirSync(join(copy, 'node_modules'));
  symlinkSync(join(root, 'node_modules', 'webgpu'), join(copy, 'node_modules', 'webgpu'));
  writeFileSync(join(copy, 'package.json'), '{ "type": "module" }');
  const program = (arch: string) => `
    await import('${pathToFileURL(join(root, 'node_modules/webgpu/index.js')).href}');
    Object.defineProperty(process, 'arch', { value: '${arch}' });
    const { openDevice: open } = await import('${pathToFileURL(join(copy, 'src/gpu/dawn.ts')).href}');
    await open().catch((error) => console.log(error.name, error.message));`;
  const x64 = run(program('x64'), {}, { wrap: bare });
  assert.match(
    x64.stdout,
    /^GpuError No adapter: .*no Vulkan driver.*@sparticuz\/chromium.*not installed\)\. Run "npm install @sparticuz/,
    x64.stderr,
  );
  const arm64 = run(program('arm64'), {}, { wrap: bare });
  assert.match(
    arm64.stdout,
    /^GpuError No adapter: .*no SwiftShader is bundled for linux-arm64\)\. Install a Vulkan driver/,
    arm64.stderr,
  );
  const loaderless = run(program('arm64'), driversIn('arm64', { 'some_icd.json': manifestOf('/nowhere') }), {
    wrap: bare,
  });
  assert.match(
    loaderless.stdout,
    /was found \(no Vulkan loader: libvulkan\.so\.1 is not installed; no SwiftShader is bundled for linux-arm64\)\./,
    loaderless.stderr,
  );
});

test.run();
