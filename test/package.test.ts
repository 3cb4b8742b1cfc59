// The package as npm makes it, used from an empty folder: what is in it, its commands, and strict TypeScript programs that
// import it, README's examples among them.
import { execFileSync, spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

const root = fileURLToPath(new URL('..', import.meta.url));
const tsc = join(root, 'node_modules/typescript/bin/tsc');

/** `test` where TypeScript, which builds the package, is installed: a machine that is only lent for its GPU may lack it. */
const buildTest = existsSync(tsc) ? test : test.skip;
if (buildTest === test.skip)
  process.stdout.write('skipped: what needs the package built, for TypeScript is not installed\n');
const examples = ['program', 'network', 'operation'] as const;
const exampleText = (name: string): string => readFileSync(join(root, 'test/examples', `${name}.ts`), 'utf8');

const folder = mkdtempSync(join(tmpdir(), 'dawngrad-package-'));
const built = join(folder, 'package');
const user = join(folder, 'user');
test.after(() => rmSync(folder, { recursive: true, force: true }));

const environment = { ...process.env, NO_COLOR: '1' };

/** npm as Node starts it: on Windows the command is a batch file, for a shell. */
const [npm, ...npmScript] =
  process.platform === 'win32' ? [process.execPath, process.env.npm_execpath ?? 'npm-cli.js'] : ['npm'];

/** Runs a program to its end; `cwd` is the user's folder. Returns stdout. */
function run(program: string, ...args: string[]): string {
  const ended = spawnSync(program, args, { cwd: user, env: environment, encoding: 'utf8', timeout: 240_000 });
  assert.is(ended.status, 0, `${program} ${args.join(' ')}\n${ended.stdout}${ended.stderr}`);
  return ended.stdout;
}

/** The paths that `npm pack` would put into the archive of the package in `cwd`. */
function packed(cwd: string): Map<string, { size: number; mode: number }> {
  const args = ['pack', '--dry-run', '--json', '--ignore-scripts', '--offline'];
  const [archive] = JSON.parse(
    execFileSync(npm!, [...npmScript, ...args], { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }),
  );
  return new Map(
    archive.files.map(({ path, ...facts }: { path: string; size: number; mode: number }) => [path, facts]),
  );
}

buildTest('the build is JavaScript with declarations', () => {
  mkdirSync(built);
  for (const name of ['package.json', 'README.md', 'LICENSE', 'shaders'])
    cpSync(join(root, name), join(built, name), { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(built, 'node_modules'), 'junction');
  execFileSync(process.execPath, [tsc, '-p', join(root, 'tsconfig.build.json'), '--outDir', join(built, 'dist')]);
  const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.ts'),
  );
  const outputs = readdirSync(join(built, 'dist'), { recursive: true, encoding: 'utf8' }).filter(
    (name) => name.endsWith('ts') || name.endsWith('.js'),
  );
  const expected = sources.flatMap((name) => [name.replace(/\.ts$/, '.js'), name.replace(/\.ts$/, '.d.ts')]);
  assert.equal(outputs.sort(), expected.sort());
});

buildTest('the archive holds the build, the shaders and two texts, and nothing else', () => {
  const files = packed(built);
  const shaders = readdirSync(join(root, 'shaders'), { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.wgsl'),
  );
  assert.equal(
    [...files.keys()].filter((path) => path.endsWith('.wgsl')).sort(),
    shaders.map((name) => `shaders/${name.replaceAll('\\', '/')}`).sort(),
  );
  const others = [...files.keys()].filter((path) => !/^(dist\/.*\.(js|d\.ts)|shaders\/.*\.wgsl)$/.test(path));
  assert.equal(others.sort(), ['LICENSE', 'README.md', 'package.json']);
  const { exports, bin, types } = JSON.parse(readFileSync(join(built, 'package.json'), 'utf8'));
  for (const path of [exports['.'].types, exports['.'].default, types, bin.dawngrad]) {
    assert.ok(files.has(path.replace(/^\.\//, '')), `${path} is not in the archive`);
  }
  assert.match(readFileSync(join(built, bin.dawngrad), 'utf8'), /^#!\/usr\/bin\/env node\n/);
  const bytes = [...files.values()].reduce((sum, { size }) => sum + size, 0);
  assert.ok(bytes < 2e6, `${bytes} bytes unpacked`);
});

/** Fewer images and epochs than README shows: what counts here is that it runs. */
function shortened(text: string): string {
  const short = text
    .replace("data: 'toyfaces'", "data: 'toyfaces', limit: 64")
    .replace('epochs(6)', 'epochs(2)')
    .replace('6 * batches', '2 * batches');
  assert.is(short.length, text.length + ', limit: 64'.length);
  return short;
}

const programs: Record<string, string> = {
  'program.ts': shortened(exampleText('program')),
  'network.ts': exampleText('network'),
  'operation.ts': exampleText('operation'),
  'own.ts': `import { data, keep, noGrad, nn, openGpu, ops, Random, step, Tensor } from 'dawngrad';
import { load, Residual, save } from './network.js';
import { mish } from './operation.js';

const gpu = await openGpu();
const device: GPUDevice = gpu.device;
const images = Array.from({ length: 20 }, (_, i) => new Uint8Array(16 * 16).fill(12 * i));
const set = data.fromArrays({ images, labels: images.map((_, i) => i % 2), classes: ['even', 'odd'] });
const { x } = await step(() => new data.Batches(set.train, { batch: 4 }).take([0, 1, 2, 3]));
class Net extends nn.Module {
  readonly conv = new nn.Conv2d({ inChannels: 1, outChannels: 4, kernel: 3, padding: 1 }, new Random(1));
  readonly residual = new Residual(4, new Random(2));
  override children() {
    return [['conv', this.conv], ['residual', this.residual]] as const;
  }
  forward(x: Tensor): Tensor {
    return ops.mean(this.residual.forward(mish(this.conv.forward(x))));
  }
}
const net = new Net();
const y = await step(() => {
  const loss = net.forward(x);
  loss.backward();
  return keep(loss);
});
const gradient = await net.parameters().get('conv.weight')!.grad!.read();
const before = await net.residual.norm.runningVar.read();
await save('own.safetensors', net);
net.residual.norm.runningVar.fill(5);
load('own.safetensors', net);
const after = await net.residual.norm.runningVar.read();
if (before.join() !== after.join()) throw new Error(\`saved \${before}, loaded \${after}\`);
console.log(JSON.stringify([await y.item(), noGrad(() => x.size), gradient.length, device.limits.maxBindGroups > 0]));
gpu.close();
`,
};

/** README says what types a program needs: those of the DOM, or @webgpu/types. */
const libraries: Record<string, object> = {
  'the DOM’s types': { lib: ['ES2023', 'DOM'], types: [] },
  '@webgpu/types': { lib: ['ES2023'], types: ['@webgpu/types', 'node'], skipLibCheck: true },
};

buildTest('strict TypeScript programs type-check against the package', () => {
  mkdirSync(join(user, 'node_modules'), { recursive: true });
  symlinkSync(built, join(user, 'node_modules/dawngrad'), 'junction');
  for (const name of ['@webgpu', '@types', 'undici-types']) {
    symlinkSync(join(root, 'node_modules', name), join(user, 'node_modules', name), 'junction');
  }
  writeFileSync(join(user, 'package.json'), JSON.stringify({ name: 'user', private: true, type: 'module' }));
  for (const [name, text] of Object.entries(programs)) writeFileSync(join(user, name), text);
  for (const settings of Object.values(libraries)) {
    const strict = {
      strict: true,
      noUncheckedIndexedAccess: true,
      exactOptionalPropertyTypes: true,
      skipLibCheck: false,
    };
    const compilerOptions = { ...strict, module: 'NodeNext', target: 'ES2022', outDir: 'out', ...settings };
    writeFileSync(join(user, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: Object.keys(programs) }));
    run(process.execPath, tsc, '-p', user);
  }
});

buildTest('they run: shaders are found, and a network trains', () => {
  assert.match(run(process.execPath, join(user, 'out/program.js')), /^\d+\.\d % right\n$/);
  const [loss, size, gradients, hasLimits] = JSON.parse(run(process.execPath, join(user, 'out/own.js')));
  assert.ok(Number.isFinite(loss));
  assert.equal([size, gradients, hasLimits], [4 * 16 * 16, 4 * 9, true]);
});

buildTest('the command is there', () => {
  const bin = join(built, 'dist/cli/bin.js');
  assert.match(run(process.execPath, bin, '--help'), /^ {2}predict /m);
  assert.ok(JSON.parse(run(process.execPath, bin, 'info', '--json')).chosen.name.length > 0);
});

test('README shows the examples as they are tested', () => {
  const readme = readFileSync(join(root, 'README.md'), 'utf8');
  for (const name of examples)
    assert.ok(readme.includes(`\`\`\`ts\n${exampleText(name)}\`\`\`\n`), `README has another ${name}`);
});

if (process.env.DAWNGRAD_TEST === 'full') {
  buildTest('installed by npm in an empty folder, it trains', () => {
    const empty = join(folder, 'empty');
    mkdirSync(empty);
    const inEmpty = (...args: string[]) => {
      const ended = spawnSync(npm!, [...npmScript, ...args], {
        cwd: empty,
        env: environment,
        encoding: 'utf8',
        timeout: 240_000,
      });
      assert.is(ended.status, 0, `npm ${args.join(' ')}\n${ended.stderr}`);
      return ended;
    };
    const pack = ['pack', built, '--ignore-scripts', '--pack-destination', empty];
    const archive = execFileSync(npm!, [...npmScript, ...pack], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    writeFileSync(join(empty, 'package.json'), '{ "private": true, "type": "module" }');
    inEmpty('install', '--no-audit', '--no-fund', `./${archive.trim()}`);
    const { stderr } = inEmpty(
      'exec',
      '--offline',
      '--',
      'dawngrad',
      'train',
      '--limit',
      '32',
      '--epochs',
      '1',
      '--batch',
      '16',
      '--size',
      '32',
      '--out',
      'run',
    );
    assert.match(stderr, /Report: run.report\.html/);
    assert.ok(readdirSync(join(empty, 'run')).includes('model.safetensors'));
  });
}

test.run();
