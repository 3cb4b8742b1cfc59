// npm run bench: what it checks, how it times, what it prints. Whether kernels are fast is no test's business.
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { forwardCase, measureCase } from '../bench/cases.ts';
import { copyMs, leastMs } from '../bench/ceilings.ts';
import {
  BatchNormExpected,
  convDgrad,
  convForward,
  convolvedSide,
  convWgrad,
  type Expected,
} from '../bench/expected.ts';
import { noise, quantile, timeRecording, timeRepeats } from '../bench/harness.ts';
import type { BenchResult } from '../bench/result.ts';
import { ceilingLines, comparisonLines, digits, variantLines } from '../bench/table.ts';
import { Tensor } from '../src/core/tensor.ts';
import * as ops from '../src/ops/index.ts';
import { gpu, gpuTest, within } from './gpu.ts';
import { type Values, values } from './reference/values.ts';
import * as reference from './reference.ts';

const program = fileURLToPath(new URL('../bench/bench.ts', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'dawngrad-bench-'));
test.after(() => rmSync(folder, { recursive: true }));

/** Runs the benchmark as a person would, on the suite's adapter; `first` is JavaScript to run before. */
function bench(args: readonly string[], first = '') {
  const { DEBUG, npm_lifecycle_event, ...env } = process.env;
  const before = first ? ['--import', `data:text/javascript,${encodeURIComponent(first)}`] : [];
  const argv = [
    ...before,
    '--import',
    import.meta.resolve('tsx'),
    program,
    '--quick',
    '--no-tune',
    '--adapter',
    gpu.adapter.name,
    ...args,
  ];
  const run = spawnSync(process.execPath, argv, { cwd: folder, env, encoding: 'utf8', timeout: 60_000 });
  return { status: run.status, stdout: run.stdout, stderr: run.stderr };
}

/** JavaScript after which a shader reads otherwise. */
const breaking = (shader: string, from: string, to: string): string => `
    import fs from 'node:fs';
    import { syncBuiltinESMExports } from 'node:module';
    const read = fs.readFileSync;
    fs.readFileSync = (path, ...rest) => {
      const text = read(path, ...rest);
      return String(path).endsWith('${shader}') ? text.replace('${from}', '${to}') : text;
    };
    syncBuiltinESMExports();`;

const ceilings = {
  ...{ gflops: 100, gflopsBy: '', gbps: 10, gbpsBy: '' },
  copies: [
    { bytes: 1e6, gbps: 20 },
    { bytes: 5e6, gbps: 50 },
    { bytes: 1e8, gbps: 10 },
  ],
  dispatch: { ms: 0.02, bestMs: 0.01 },
};
const pace = { batchMs: 1, caseMs: 5 };
// Signals are the tests' way to stop; Windows has none.
const unix = process.platform === 'win32' ? test.skip : test;

test('quantiles are interpolated', () => {
  assert.is(quantile([4, 1, 3, 2], 0.5), 2.5);
  assert.is(quantile([10, 0], 0.25), 2.5);
  assert.is(quantile([7], 0.75), 7);
});

test('short work is repeated until a batch is long enough, and slow work is not repeated', async () => {
  const calls: number[] = [];
  const work = (ms: number) => async (repeats: number) => {
    calls.push(repeats);
    const end = performance.now() + ms * repeats;
    while (performance.now() < end);
  };
  const short = await timeRepeats(work(0.1), { batchMs: 5, caseMs: 200 });
  assert.ok(short.ms >= 0.1 && short.bestMs >= 0.1 && short.bestMs <= short.ms, `${short.ms} ms`);
  assert.ok(Math.max(...calls) >= 5, `batches of ${calls}`);
  calls.length = 0;
  const slow = await timeRepeats(work(20), { batchMs: 1, caseMs: 10 });
  assert.ok(slow.ms >= 20, `${slow.ms} ms`);
  assert.equal(calls, [1, 1, 1]);
});

test('the roofline takes the slower of arithmetic and bytes, and a copy of the size of the work', () => {
  assert.is(copyMs(ceilings, 0), 0.01);
  assert.ok(Math.abs(copyMs(ceilings, 5e5) - 0.03) < 1e-12, 'between a dispatch and the smallest copy');
  assert.is(copyMs(ceilings, 1e6), 0.05);
  assert.ok(Math.abs(copyMs(ceilings, 2e6) - 0.0625) < 1e-12, 'between two copies');
  assert.is(copyMs(ceilings, 1e9), 100, 'beyond the largest');
  assert.is(leastMs(ceilings, 1e9, 8), 10);
  assert.is(leastMs(ceilings, 8, 1e9), 100);
});

/** A flat f32 array as the oracle's tensor. */
const asValues = (data: Float32Array, shape: number[]): Values => values(shape, data);

for (const [kernel, stride, side] of [
  [3, 1, 3],
  [3, 2, 5],
  [1, 2, 4],
  [7, 2, 6],
] as const) {
  test(`the sampled results of ${kernel}×${kernel}, stride ${stride}, are what the oracle says, gradients too`, () => {
    const shape = { N: 2, side, C: 5, K: 4, kernel, stride, padding: kernel >> 1 };
    const extents = { ...shape, out: convolvedSide(shape) };
    const { N, C, K, padding } = shape;
    const x = noise(N * side * side * C, 1);
    const w = noise(K * kernel * kernel * C, 2);
    const convolve = (a: Float32Array, b: Float32Array) =>
      reference.conv2d(asValues(a, [N, side, side, C]), asValues(b, [K, kernel, kernel, C]), null, { stride, padding })
        .data;
    const near = (got: Expected, want: number, what: string) =>
      assert.ok(Math.abs(got.value - want) <= 1e-12 * got.size, `${what}: ${got.value}, not ${want}`);
    const y = convolve(x, w);
    const dy = noise(y.length, 3);
    for (const [i, want] of y.entries()) near(convForward(extents, x, w, i), want, `y[${i}]`);

    // Linear in each input, so a gradient is the loss Σ dy·y of a unit vector.
    const unit = (length: number, i: number) => Float32Array.from({ length }, (_, j) => (i === j ? 1 : 0));
    const loss = (result: Float64Array) => result.reduce((sum, value, i) => sum + value * dy[i]!, 0);
    for (const i of x.keys()) near(convDgrad(extents, dy, w, i), loss(convolve(unit(x.length, i), w)), `dx[${i}]`);
    for (const i of w.keys()) near(convWgrad(extents, x, dy, i), loss(convolve(x, unit(w.length, i))), `dw[${i}]`);
  });
}

test('so are those of batch norm, by central differences', () => {
  const [rows, C] = [6, 2];
  const [x, dy, gamma, beta] = [noise(rows * C, 1), noise(rows * C, 2), noise(C, 3), noise(C, 4)];
  const zeros = asValues(new Float32Array(C), [C]);
  const run = (input: Float64Array | Float32Array, g: Float64Array | Float32Array = gamma) =>
    reference.batchNorm(values([rows, C], input), values([C], g), asValues(beta, [C]), zeros, zeros, { relu: true }).y
      .data;
  const y = Float32Array.from(run(x));
  const expected = new BatchNormExpected(x, gamma, beta);
  const slope = (at: Float32Array, i: number, f: (moved: Float64Array) => Float64Array) => {
    const h = 1e-6;
    const moved = (by: number) => f(Float64Array.from(at, (value, j) => (i === j ? value + by : value)));
    const [up, down] = [moved(h), moved(-h)];
    return up.reduce((sum, value, j) => sum + (dy[j]! * (value - down[j]!)) / (2 * h), 0);
  };
  for (const [i, want] of run(x).entries()) assert.ok(Math.abs(expected.forward(i).value - want) < 1e-12);
  for (const i of x.keys()) {
    const want = slope(x, i, (moved) => run(moved));
    assert.ok(Math.abs(expected.input(dy, y, i).value - want) < 1e-7, `dx[${i}]`);
  }
  for (const c of gamma.keys()) {
    const want = slope(gamma, c, (moved) => run(x, moved));
    assert.ok(Math.abs(expected.parameters(dy, y, c).dgamma.value - want) < 1e-7, `dγ[${c}]`);
  }
});

gpuTest('a kernel that is wrong is told and not timed; one that is right is timed', async () => {
  const facts = { name: 'negation', shape: '1000', flops: 1000, bytes: 8000, quick: true };
  const negation = (wrongAt: number) =>
    forwardCase(facts, { inputs: { x: [1000] }, run: ({ x }: { x: Tensor }) => ops.neg(x) }, 0, ({ x }, i) => ({
      value: i === wrongAt ? x[i]! : -x[i]!,
      size: 1,
    }));
  const wrong = await measureCase(gpu, negation(999), ceilings, pace, 'usual');
  assert.match('wrong' in wrong ? wrong.wrong : '', /^y\[999\] of \[1000\] is /);
  assert.not('ms' in wrong);
  const before = gpu.pool.stats.liveBytes;
  const right = await measureCase(gpu, negation(-1), ceilings, pace, 'usual');
  if (!('ms' in right)) throw new Error(right.wrong);
  assert.ok(right.ms > 0 && right.repeats >= 1);
  assert.ok(Math.abs((right.gbps! * right.ms) / 0.008 - 1) < 1e-9, `${right.gbps} GB/s in ${right.ms} ms`);
  // What earlier tests left may be collected meanwhile.
  assert.ok(gpu.pool.stats.liveBytes <= before, 'a case gives its memory back');
});

gpuTest('recorded work runs as often as it is replayed', async () => {
  const x = ops.neg(Tensor.full([3], -1));
  let sum: Tensor | undefined;
  const recording = gpu.stream.capture(() => {
    sum = ops.add(x, x);
  });
  await gpu.stream.finish();
  const { dispatches } = gpu.stream.stats;
  await timeRecording(gpu, recording, { batchMs: 0, caseMs: 0 });
  assert.ok(gpu.stream.stats.dispatches - dispatches >= 3 * recording.length);
  assert.equal([...(await sum!.read())], [2, 2, 2]);
});

test('numbers show three digits that count', () => {
  assert.equal([1234.5, 123.4, 12.34, 1.234, 0.1234].map(digits), ['1235', '123', '12.3', '1.23', '0.123']);
});

test('which kernels took which cases is said where they are not all the same', () => {
  const took = (name: string, variant?: string) => ({
    ...{ name, shape: '', ms: 1, spread: 0, repeats: 3, share: 1 },
    ...(variant && { variant }),
  });
  assert.equal(variantLines([took('conv', 'lanes'), took('relu'), took('fc', 'lanes')]), []);
  const many = Array.from({ length: 9 }, (_, i) => took(`conv${i} forward`, 'tile 64×64'));
  const lines = variantLines([took('fc', 'lanes'), ...many, { name: 'bad', shape: '', wrong: 'all of it' }]);
  assert.equal(lines.slice(0, 2), ['Kernels', '  lanes: fc']);
  assert.is(lines.slice(2).join(' ').replace(/\s+/g, ' '), ` tile 64×64: ${many.map(({ name }) => name).join(', ')}`);
  for (const line of lines) assert.ok(line.length <= 80, line);
});

test('80 columns are enough for the ceilings of slow machines, too', () => {
  const copies = [15, 17, 19, 21, 23, 25, 27].map((power) => ({ bytes: 2 ** power, gbps: 0.305 }));
  const ceilings = {
    gflops: 0.123,
    gflopsBy: 'four',
    gbps: 0.305,
    gbpsBy: 'one',
    copies,
    dispatch: { ms: 12.3, bestMs: 1.23 },
  };
  const lines = ceilingLines(ceilings);
  assert.match(lines.join(' '), /0\.305 at 128 MiB/);
  for (const line of lines) assert.ok(line.length <= 80, line);
});

test('the whole program: adapter first, ceilings, cases, JSON; 80 columns are enough', () => {
  const json = join(folder, 'result.json');
  const run = bench(['--filter', 'CONV4_2', '--json', json]);
  assert.is(run.status, 0, run.stderr);
  const lines = run.stdout.split('\n');
  assert.match(lines[0]!, gpu.adapter.name);
  for (const line of lines.slice(1)) assert.ok(line.length <= 80, line);

  const result = JSON.parse(readFileSync(json, 'utf8')) as BenchResult;
  assert.is(result.adapter.fingerprint, gpu.adapter.fingerprint);
  assert.is(result.flags, 'fast');
  assert.ok(Math.abs(Date.now() - Date.parse(result.date)) < 120_000, result.date);
  assert.equal(Object.keys(result.versions), ['dawngrad', 'node', 'webgpu']);
  assert.ok(result.ceilings!.gflops > 0.1 && result.ceilings!.gbps > 0.01);
  assert.equal(
    result.cases.map(({ name }) => name),
    ['conv4_2 forward', 'conv4_2 dgrad', 'conv4_2 wgrad'],
  );
  for (const entry of result.cases) {
    if (!('ms' in entry)) throw new Error(`${entry.name}: ${entry.wrong}`);
    assert.ok(entry.ms > 0 && entry.gflops! > 0 && entry.share > 0, entry.name);
    assert.type(entry.variant, 'string');
  }
  assert.is(result.step, null);
  assert.is(result.host, null);

  const twice = {
    ...result,
    cases: result.cases.map((entry) => ('ms' in entry ? { ...entry, ms: 2 * entry.ms } : entry)),
  };
  const compared = comparisonLines(twice, result, 'old.json');
  assert.is(compared.length, 4);
  for (const line of compared.slice(1)) assert.match(line, /2\.00×$/);
});

test('the host is measured without the adapter', () => {
  const json = join(folder, 'host.json');
  const run = bench(['--filter', 'host', '--json', json, '--compare', join(folder, 'result.json')]);
  assert.is(run.status, 0, run.stderr);
  const { host, ceilings, cases } = JSON.parse(readFileSync(json, 'utf8')) as BenchResult;
  assert.ok(host!.msPerRepeatedStep > 0 && host!.dispatches > 100);
  assert.ok(host!.usPerRepeatedDispatch < host!.usPerDispatch);
  assert.is(ceilings, null);
  assert.equal(cases, []);
});

test('the null backend, which computes nothing, is refused', () => {
  const run = bench(['--adapter', 'null']);
  assert.is(run.status, 2);
  assert.is(run.stdout, '');
  assert.match(run.stderr, /^dawngrad: --adapter: "null" compiles kernels but computes nothing: /m);
});

test('an optimizer that keeps nothing is wrong', () => {
  const forget = breaking('optimizer.wgsl', 'let mean = momentum * m[i] + g;', 'let mean = g;');
  const run = bench(['--filter', 'update'], forget);
  assert.is(run.status, 1, run.stdout);
  assert.match(run.stderr, /^bench: 1 wrong: sgd update\.$/m);
});

test('one wrong kernel among others is told, not timed, and ends the program with 1', () => {
  const breakRelu = breaking('unary.wgsl', 'select(v, Vec(), v < Vec())', 'select(v, Vec(0.5), v < Vec())');
  const json = join(folder, 'wrong.json');
  const run = bench(['--filter', 'relu', '--json', json], breakRelu);
  assert.is(run.status, 1, run.stdout);
  assert.match(run.stdout, /relu forward .*\n {2}WRONG, not timed: y\[\d+\] of \[/);
  assert.match(run.stderr, /^bench: 1 wrong: relu forward\.$/m);
  const { cases } = JSON.parse(readFileSync(json, 'utf8')) as BenchResult;
  assert.equal(
    cases.map((entry) => ['wrong' in entry, 'ms' in entry]),
    [
      [true, false],
      [false, true],
    ],
  );
});

unix('what was measured before Ctrl-C is written', async () => {
  const json = join(folder, 'stopped.json');
  const argv = ['--import', import.meta.resolve('tsx'), program, '--quick', '--no-tune', '--adapter', gpu.adapter.name];
  const child = spawn(process.execPath, [...argv, '--filter', 'ward', '--json', json], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let shown = '';
  child.stdout.on('data', (text) => {
    if (!/^relu backward/m.test(shown) && /^relu backward/m.test(`${shown}${text}`)) child.kill('SIGINT');
    shown += text;
  });
  assert.is(
    await within(60_000, new Promise((resolve) => child.on('exit', (code, signal) => resolve(code ?? signal)))),
    0,
  );
  const { cases } = JSON.parse(readFileSync(json, 'utf8')) as BenchResult;
  const names = cases.map(({ name }) => name);
  assert.ok(names.includes('relu backward') && !names.includes('cross-entropy backward'), names.join(', '));
});

test('what cannot be done is said in a line, with 2', () => {
  writeFileSync(join(folder, 'other.json'), '{"a": 1}');
  writeFileSync(
    join(folder, 'damaged.json'),
    '{"adapter": {"fingerprint": ""}, "date": "", "cases": [{"name": "a", "shape": "b", "ms": "1"}]}',
  );
  for (const [args, message] of [
    [['--filter', 'conv9'], /--filter conv9: nothing is called that\. There are training step, matmul 512, conv2_2/],
    [['--filter', 'CONV5_2 W'], /--filter CONV5_2 W: conv5_2 wgrad is measured without --quick only\./],
    [['--compare', 'missing.json'], /missing\.json: cannot be read \(ENOENT\)/],
    [['--compare', 'other.json'], /other\.json: is no result of this benchmark/],
    [['--compare', 'damaged.json'], /damaged\.json: is no result of this benchmark/],
    [['--json', 'no/such/folder.json'], /there is no folder no\/such/],
    [['--json', '.'], /--json \.: is no regular file\. Name a new one\./],
  ] as const) {
    const run = bench(args);
    assert.is(run.status, 2, run.stderr);
    assert.match(run.stderr, message);
  }
});

test.run();
