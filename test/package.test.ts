// The package as its users get it: what is in it, and that it works from there. With DAWNGRAD_TEST=full it is packed and
// installed by npm, which needs a registry.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { scratchFolder } from './files.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const tsc = join(root, 'node_modules/typescript/bin/tsc');
const scratch = scratchFolder();
const home = join(scratch.path, 'package');
const full = process.env.DAWNGRAD_TEST === 'full';
const { NODE_OPTIONS, DEBUG, npm_lifecycle_event, ...rest } = process.env;
const env = { ...rest, DAWNGRAD_ADAPTER: rest.DAWNGRAD_ADAPTER ?? 'swiftshader' };

const settings = {
  compilerOptions: {
    ...{ strict: true, noUncheckedIndexedAccess: true, exactOptionalPropertyTypes: true, skipLibCheck: false },
    // The names of WebGPU's types come from DOM, as in a project without settings.
    ...{ target: 'ES2022', lib: ['ES2022', 'DOM'], module: 'NodeNext', types: [], outDir: 'out', rootDir: '.' },
  },
  files: ['program.ts'],
};
const program = `
import { data, nn, openGpu, ops, optim, Random, step, type Tensor } from 'dawngrad';

const gpu = await openGpu();
// Dark images and light ones.
const labels = Array.from({ length: 40 }, (_, i) => i % 2);
const images = labels.map((label) => new Uint8Array(64).fill(60 + 120 * label));
const set = data.fromArrays({ images, labels, classes: ['dark', 'light'] });
const normalisation = data.normalisationOf(set.train, 1);
const batches = new data.Batches(set.train, { batch: 12, size: 8, channels: 1, normalisation });
const net = new nn.Sequential([nn.flatten(), new nn.Linear({ inFeatures: 64, outFeatures: 2 }, new Random(1))]);
const sgd = new optim.SGD(net.parameters().values());
const losses: number[] = [];
for (let epoch = 0; epoch < 5; epoch++) {
  const loss: Tensor = await step(() => {
    const { x, labels } = batches.take(batches.order(1, epoch).subarray(0, 12));
    const mean = ops.crossEntropy(net.forward(x), labels);
    mean.backward();
    sgd.step({ lr: 0.1, momentum: 0.9 });
    return mean;
  });
  losses.push(await loss.item());
}
gpu.close();
if (!(losses[4]! < 0.5 * losses[0]!)) throw new Error(\`losses \${losses}\`);
`;

/** Runs a program to its good end and returns its output. */
function run(command: string, args: readonly string[], cwd: string): string {
  const ended = spawnSync(command, args, { cwd, env, encoding: 'utf8', timeout: 300_000 });
  assert.is(ended.status, 0, `${command} ${args.join(' ')}\n${ended.stdout}${ended.stderr}`);
  return ended.stdout;
}

/** A user's program in `folder`, where the package is installed: type-checked and run. */
function programRuns(folder: string): void {
  scratch.write(`${folder}/package.json`, '{ "type": "module" }');
  scratch.write(`${folder}/tsconfig.json`, JSON.stringify(settings));
  scratch.write(`${folder}/program.ts`, program);
  const cwd = join(scratch.path, folder);
  run(process.execPath, [tsc, '-p', '.'], cwd);
  // Without DOM, as in a project for Node alone, and its usual settings.
  run(process.execPath, [tsc, '-p', '.', '--lib', 'ES2022', '--skipLibCheck', '--noEmit'], cwd);
  run(process.execPath, ['out/program.js'], cwd);
}

test.before(() => {
  mkdirSync(home);
  for (const name of ['package.json', 'LICENSE', 'README.md', 'shaders']) {
    cpSync(join(root, name), join(home, name), { recursive: true });
  }
  run(process.execPath, [tsc, '-p', 'tsconfig.build.json', '--outDir', join(home, 'dist')], root);
  // What else may lie there, and is not for users.
  for (const name of ['runs/a/model.safetensors', 'test/a.test.ts', 'bench/bench.ts', 'src/index.ts', 'shared/x']) {
    scratch.write(`package/${name}`, '');
  }
  symlinkSync(join(root, 'node_modules'), join(home, 'node_modules'), 'junction');
});
test.after(() => scratch.remove());

test('the package holds the program, its types, its shaders, README and licence, and nothing else', () => {
  const [{ files }] = JSON.parse(run('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], home));
  const paths: string[] = files.map(({ path }: { path: string }) => path);
  const others = paths.filter((path) => !/^(dist\/.+\.(js|d\.ts)|shaders\/.+\.wgsl)$/.test(path));
  assert.equal(others.sort(), ['LICENSE', 'README.md', 'package.json']);
  for (const path of ['dist/index.js', 'dist/index.d.ts', 'dist/cli/bin.js', 'shaders/lib/grid.wgsl']) {
    assert.ok(paths.includes(path), path);
  }
  const shaders = readdirSync(join(root, 'shaders'), { recursive: true, encoding: 'utf8' });
  assert.is(paths.filter((path) => path.endsWith('.wgsl')).length, shaders.filter((s) => s.endsWith('.wgsl')).length);
});

test('what was built runs: the command, and a strict TypeScript program with the library', () => {
  const help = run(process.execPath, [join(home, 'dist/cli/bin.js'), '--help'], scratch.path);
  for (const name of ['train', 'evaluate', 'predict', 'info']) assert.match(help, `  ${name} `);
  mkdirSync(join(scratch.path, 'user/node_modules'), { recursive: true });
  symlinkSync(home, join(scratch.path, 'user/node_modules/dawngrad'), 'junction');
  programRuns('user');
});

if (full) {
  test('packed and installed in an empty folder, it trains', () => {
    const folder = join(scratch.path, 'installed');
    mkdirSync(folder);
    run('npm', ['pack', '--ignore-scripts', '--pack-destination', folder], home);
    scratch.write('installed/package.json', '{ "type": "module" }');
    run(
      'npm',
      ['install', '--no-audit', '--no-fund', `./${readdirSync(folder).find((name) => name.endsWith('.tgz'))}`],
      folder,
    );
    const size = ['--limit', '64', '--epochs', '1', '--out', 'run'];
    run('npx', ['--no-install', 'dawngrad', 'train', ...size], folder);
    assert.ok(readdirSync(join(folder, 'run')).includes('report.html'));
    programRuns('installed');
  });
}

test.run();
