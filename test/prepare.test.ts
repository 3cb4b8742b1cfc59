// What is found out about kernels before a run: that it changes nothing, that the fastest right variant wins, that a wrong one
// never does.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { GpuError, LossError, MemoryError } from '../src/core/errors.ts';
import { kernel } from '../src/core/kernel.ts';
import { Random } from '../src/core/random.ts';
import { step } from '../src/core/step.ts';
import { setSeed, stepCounter } from '../src/core/stepbuffer.ts';
import { Storage } from '../src/core/storage.ts';
import { Tensor } from '../src/core/tensor.ts';
import { drawToyfaces } from '../src/data/toyfaces.ts';
import type { DawnFlags } from '../src/gpu/dawn.ts';
import type { Gpu } from '../src/gpu/gpu.ts';
import { CommandStream } from '../src/gpu/stream.ts';
import * as nn from '../src/nn/index.ts';
import { faultOf } from '../src/ops/matrix/check.ts';
import { forwards } from '../src/ops/matrix/convolve.ts';
import { lanesMultiply } from '../src/ops/matrix/lanes.ts';
import { products } from '../src/ops/matrix/multiply.ts';
import { planOf } from '../src/ops/matrix/plan.ts';
import { prepare, type Winner } from '../src/ops/matrix/prepare.ts';
import type { Multiplication } from '../src/ops/matrix/problem.ts';
import { deviation, fillWithNoise, tunable } from '../src/ops/matrix/trial.ts';
import { candidatesFor, type Variant } from '../src/ops/matrix/variant.ts';
import type { TrainConfig } from '../src/train/config.ts';
import { type Kernels, prepareKernels } from '../src/train/kernels.ts';
import { Trainer } from '../src/train/trainer.ts';
import {
  chosen,
  cleared,
  does,
  familyOf,
  fast,
  multiplyBy,
  nameOf,
  notANumber,
  nothing,
  onHardware,
  SAME,
  short,
  slow,
} from './families.ts';
import { scratchFolder } from './files.ts';
import { gpu, gpuTest, onDevice } from './gpu.ts';

const config: TrainConfig = {
  ...{ arch: 'none', width: 1, head: 'vgg', pool: 1, dropout: 0, size: 16, channels: 1 },
  ...{ pretrained: null, freezeEpochs: 0, lrMult: 1, decay: 'all' },
  ...{ epochs: 1, batch: 8, accumulate: 2, optimizer: 'adamw', nesterov: false, lr: 0.01, momentum: 0.9 },
  ...{
    weightDecay: 0.01,
    schedule: 'constant',
    warmup: 0,
    labelSmoothing: 0.1,
    mixup: 0,
    classWeights: 'none',
    clip: null,
    ema: 0,
    augment: 'fer',
    precision: 'f32',
    seed: 4,
  },
};

/** All that a step draws from or leaves behind: running statistics, dropout, parameters with and without a bias. */
function trainerOf(): Trainer {
  setSeed(7);
  const random = new Random(1, 1);
  const model = new nn.Sequential([
    new nn.Conv2d({ inChannels: 1, outChannels: 8, kernel: 3, padding: 1, bias: false }, random),
    new nn.BatchNorm(8),
    nn.relu(),
    nn.maxPool2d({ kernel: 2 }),
    nn.flatten(),
    new nn.Dropout(0.5),
    new nn.Linear({ inFeatures: 8 * 8 * 8, outFeatures: 7, std: 0.05 }, random),
  ]);
  const { train, valid } = drawToyfaces(64);
  return new Trainer({ model, config, train, valid, normalisation: { mean: [0.5], std: [0.25] } }, 7);
}

async function bitsAfter(trainer: Trainer, steps: number): Promise<string> {
  await trainer.run({
    afterStep: async ({ step }) => step === steps,
    progress: () => {},
    epochEnd: async () => {},
  });
  const tensors = [...trainer.model.state().values()].map(({ tensor }) => tensor);
  const words: string[] = [];
  for (const tensor of [...tensors, ...trainer.optimizer.state().flat()]) words.push((await tensor.readInts()).join());
  return words.join('\n');
}

gpuTest('a run that was prepared, in the middle too, has the bits of one that was not', async () => {
  const unprepared = await bitsAfter(trainerOf(), 3);
  const trainer = trainerOf();
  const before = { live: gpu.pool.stats.liveBytes, counter: stepCounter(), dispatches: gpu.stream.stats.dispatches };
  const { problems, timed, warnings } = await prepare(gpu, () => trainer.rehearse());
  const after = { live: gpu.pool.stats.liveBytes, counter: stepCounter(), dispatches: gpu.stream.stats.dispatches };
  assert.equal({ ...after, timed, warnings }, { ...before, timed: 0, warnings: [] });
  assert.is(problems.length, 5);
  assert.not.ok([...trainer.model.parameters().values()].some(({ grad }) => grad !== null));

  await bitsAfter(trainer, 1);
  const plan = problems.map((problem) => [problem, planOf(gpu).choice(problem)!] as const);
  await prepare(gpu, () => trainer.rehearse(), { winners: new Map() });
  // Another winner would have bits of its own.
  planOf(gpu).follow(plan);
  assert.ok((await bitsAfter(trainer, 3)) === unprepared, 'other bits');
});

gpuTest('the unmeasured choice is the one of lowest rank, and the definition where nothing else fits', async () => {
  assert.equal(await chosen(gpu, familyOf(fast, slow)), { variant: 'slow', timed: 0, warnings: [] });
  assert.is((await chosen(gpu, familyOf({ ...fast, fits: () => false }))).variant, 'plain');
});

gpuTest('the fastest variant wins; its name is remembered, and nothing is timed again', async () => {
  const family = familyOf(slow, fast);
  const winners = new Map<string, Winner>();
  assert.equal(await chosen(gpu, family, { winners }), { variant: 'fast', timed: 1, warnings: [] });
  assert.equal([...winners], [[nameOf(family), { variant: 'fast', of: ['slow', 'fast'] }]]);
  await onDevice({}, async (other) => {
    assert.equal(await chosen(other, family, { winners }), { variant: 'fast', timed: 0, warnings: [] });
  });
  await onDevice({}, async (other) => {
    const faster = { ...family, variants: [...family.variants, { ...fast, name: 'new' }] };
    assert.is((await chosen(other, faster, { winners })).timed, 1, 'another candidate, another race');
  });
  await onDevice({}, async (other) => {
    const gone = new Map([[nameOf(family), { variant: 'gone', of: ['slow', 'fast'] }]]);
    assert.is(
      (await chosen(other, family, { winners: gone })).timed,
      1,
      'a winner that there is no more, another race',
    );
    assert.is(gone.get(nameOf(family))!.variant, 'fast');
  });
  await onDevice({}, async (other) => {
    const late = { winners: new Map<string, Winner>(), totalMs: 0 };
    assert.equal(await chosen(other, family, late), { variant: 'slow', timed: 0, warnings: [] });
    assert.is(late.winners.size, 0, 'what was not timed is not remembered');
  });
});

gpuTest('what is over too soon for races takes the winners that are remembered, and looks for none', async () => {
  const scratch = scratchFolder();
  const family = familyOf(slow, fast);
  const taken = (kernels: Kernels, flags: DawnFlags = 'fast') =>
    onDevice({ flags }, async (other) => {
      const { lines } = await prepareKernels(other, () => multiplyBy(family), kernels);
      multiplyBy(family);
      return [planOf(other).used().get(nameOf(family)), lines.length];
    });
  try {
    assert.equal(await taken('remembered'), ['slow', 0]);
    assert.equal(await taken('fastest'), ['fast', 1]);
    assert.equal(await taken('remembered'), ['fast', 0]);
    assert.equal(await taken('usual'), ['slow', 0]);
    assert.equal(await taken('remembered', 'checked'), ['slow', 0], 'with bounds checks another one may be');
  } finally {
    scratch.remove();
  }
});

gpuTest('a variant with one candidate is not timed', async () => {
  const winners = new Map<string, Winner>();
  assert.equal(await chosen(gpu, familyOf(fast), { winners }), { variant: 'fast', timed: 0, warnings: [] });
  assert.is(winners.size, 0);
});

for (const wrong of [nothing, cleared, short, notANumber]) {
  gpuTest(`a variant that is wrong never wins, however fast: "${wrong.name}"`, async () => {
    const family = familyOf(slow, wrong);
    const { variant, warnings } = await chosen(gpu, family, { winners: new Map() });
    assert.is(variant, 'slow');
    assert.is(warnings.length, 1);
    assert.match(warnings[0]!, `The kernel '${wrong.name}' is not used on ${gpu.adapter.name}: for ${nameOf(family)}`);
    planOf(gpu).follow([[nameOf(family), wrong.name]]);
    multiplyBy(family);
    assert.is(planOf(gpu).used().get(nameOf(family)), 'slow', 'not even where a plan asks for it');
  });
}

gpuTest(
  'an unverified variant is used once it was found right, without timing too, and never when it was found wrong',
  async () => {
    const right = familyOf(fast, { ...fast, name: 'tensor cores', rank: () => 1, unverified: true });
    multiplyBy(right);
    assert.is(planOf(gpu).used().get(nameOf(right)), 'fast');
    assert.equal(await chosen(gpu, right), { variant: 'tensor cores', timed: 0, warnings: [] });

    for (const winners of [undefined, new Map<string, Winner>()]) {
      const broken = familyOf(fast, { ...short, unverified: true, rank: () => 1 });
      const { variant, warnings } = await chosen(gpu, broken, winners && { winners });
      assert.equal([variant, warnings.length], ['fast', 1]);
    }
  },
);

const doesNotCompile = kernel(
  'does_not_compile',
  'main',
  '@group(0) @binding(0) var<storage, read_write> c: array<f32>;\n@compute @workgroup_size(1) fn main() { c[0] = x; }',
);
const broken = does('broken', 2, ({ c }) => doesNotCompile({}, { c }, {}, 1));

gpuTest('a variant that does not compile is passed over', async () => {
  const { variant, warnings } = await chosen(gpu, familyOf(slow, broken, fast), { winners: new Map() });
  assert.is(variant, 'fast');
  assert.match(warnings.join('\n'), /^The kernel 'broken' is not used .* it does not run \(/);
});

for (const wrong of [nothing, cleared, short, notANumber, broken]) {
  gpuTest(`a reference that is wrong makes nobody else so, and is found out: "${wrong.name}"`, async () => {
    const family = familyOf({ ...wrong, reference: true }, slow, fast);
    const { variant, warnings } = await chosen(gpu, family, { winners: new Map() });
    assert.equal([variant, warnings.length], ['fast', 1], warnings.join('\n'));
    assert.match(warnings[0]!, `The kernel '${wrong.name}' is not used on ${gpu.adapter.name}: for ${nameOf(family)}`);
  });
}

gpuTest('what is taken where all candidates are wrong is the definition', async () => {
  const family = familyOf(short, cleared);
  const { variant, warnings } = await chosen(gpu, family, { winners: new Map() });
  assert.equal([variant, warnings.length], ['plain', 2]);
});

gpuTest('on hardware a variant is checked before its first use, without races too, and once', () =>
  onHardware(async (other) => {
    const verified = new Map<string, readonly string[]>();
    const family = familyOf(slow);
    for (const checked of [1, 0]) {
      assert.is((await prepare(other, () => multiplyBy(family), { verified })).checked, checked);
    }
    assert.equal([...verified], [[nameOf(family), ['slow']]]);
    const { variant, warnings } = await chosen(other, familyOf(short, cleared));
    assert.equal([variant, warnings.length], ['plain', 2]);
    await onHardware(async (another) => {
      assert.is((await prepare(another, () => multiplyBy(family), { verified })).checked, 0, 'nor after a restart');
    });
  }),
);

gpuTest('on hardware a winner that goes wrong now and then is found out under load', () =>
  onHardware(async (other) => {
    const count = Tensor.zeros([1]);
    const code = `
@group(0) @binding(0) var<storage, read_write> c: array<f32>;
@group(0) @binding(1) var<storage, read_write> count: array<f32>;
@compute @workgroup_size(1) fn main() { count[0] += 1.0; if (count[0] > 3.0) { c[7] += 1.0; } }`;
    const spoil = kernel('spoils_later_runs', 'main', code);
    const run: (typeof fast)['run'] = (problem) => {
      lanesMultiply.run(problem);
      spoil({}, { c: problem.c, count }, {}, 1);
    };
    const { variant, warnings } = await chosen(other, familyOf(slow, does('now and then', 2, run)), {
      winners: new Map(),
    });
    assert.equal([variant, warnings.length], ['slow', 1]);
    assert.match(warnings[0]!, /^The kernel 'now and then' is not used .* is off by /);
  }),
);

gpuTest('a kernel is not blamed where there is no memory to check it, or no device', () =>
  onDevice({}, async (other) => {
    const [result, want] = [Tensor.full([8], 1), Tensor.full([8], 1)];
    const check = () => faultOf(other, { recording: [] } as never, { result, want } as never);
    const lacking = (error: GpuError) => () => {
      throw error;
    };
    other.pool.acquire = lacking(new GpuError('refused'));
    assert.is(await check(), 'does not run (refused)');
    for (const error of [new MemoryError('its memory ran out'), new LossError('the device is lost')]) {
      other.pool.acquire = lacking(error);
      assert.is(await check().catch((failure: unknown) => failure), error);
    }
  }),
);

gpuTest('races say nothing about how long a training step is: the first one goes in small submits', () =>
  onHardware(async (other) => {
    const stream = new CommandStream(other.device, true);
    Object.defineProperty(other, 'stream', { value: stream });
    const { timed } = await prepare(other, () => multiplyBy(familyOf(slow, fast)), { winners: new Map() });
    assert.is(timed, 1);
    const x = Tensor.empty([4]);
    await step(() => x.fill(0));
    const before = stream.stats.submits;
    await step(() => {
      for (let i = 0; i < 20; i++) x.fill(i);
    });
    assert.is(stream.stats.submits - before, 3);
  }),
);

test('what is right is kept where no variant of a trial works, on hardware too', () =>
  onDevice({ adapter: 'null' }, async (other) => {
    const value = { ...other.adapter, kind: 'hardware', software: false, subgroupSizes: { min: 32, max: 32 } };
    Object.defineProperty(other, 'adapter', { value });
    // As large as what Winograd needs for itself.
    const shape = { N: 16, H: 16, W: 16, C: 64, K: 64, R: 3, S: 3, P: 16, Q: 16, ...SAME };
    const [x, w, y] = [Tensor.empty([16, 16, 16, 64]), Tensor.empty([64, 3, 3, 64]), Tensor.empty([16, 16, 16, 64])];
    const problem = tunable('a convolution', forwards, { x, w, bias: null, y, shape });
    assert.ok(problem.candidates.some((name) => name.startsWith('winograd')));
    const { runners, want } = problem.stage(other, problem.candidates);
    for (const { name, recording } of runners) {
      const buffers = recording.flatMap((command) =>
        command.kind === 'dispatch' ? command.bound.bindings.map(({ range }) => range.pool) : [],
      );
      assert.not.ok(buffers.includes(want.storage.pool), name);
    }
  }));

/** A device that takes `ms` to compile each pipeline called `late`. */
function compilesSlowly({ device }: Gpu, ms: number): void {
  const compile = device.createComputePipelineAsync.bind(device);
  const value = async (asked: GPUComputePipelineDescriptor) => {
    if (asked.label!.startsWith('late')) await new Promise((resolve) => setTimeout(resolve, ms));
    return compile(asked);
  };
  Object.defineProperty(device, 'createComputePipelineAsync', { value });
}

const LATE_MS = 3000;

/** What it computes is of no account: it is never compiled in time. */
function lateVariant(name: string, rank: number): Variant<Multiplication> {
  const code =
    '@group(0) @binding(0) var<storage, read_write> c: array<f32>;\n@compute @workgroup_size(1) fn main() { c[0] = 1; }';
  const run = kernel(name, 'main', code);
  return does(name, rank, ({ c }) => run({}, { c }, {}, 1));
}

gpuTest('what compiles too slowly does not make the races last longer, and is not raced', () =>
  onDevice({}, async (other) => {
    compilesSlowly(other, LATE_MS);
    const family = familyOf(fast, lateVariant('late_in_races', 500));
    const winners = new Map<string, Winner>();
    await multiplyBy(family).read();
    const { timed, elapsedMs } = await prepare(other, () => multiplyBy(family), { winners, totalMs: 300 });
    assert.ok(elapsedMs >= 300 && elapsedMs < LATE_MS / 2, `${elapsedMs} ms`);
    assert.equal([timed, winners.size], [0, 0], 'what was not timed is not remembered');
  }),
);

gpuTest('an interruption ends it, whatever compiles', () =>
  onDevice({}, async (other) => {
    compilesSlowly(other, LATE_MS);
    const families = [familyOf(fast, lateVariant('late_in_race', 500)), familyOf(lateVariant('late_itself', 1), fast)];
    for (const family of families) {
      await Tensor.zeros([4]).read();
      const end = performance.now() + 300;
      const { timed, elapsedMs } = await prepare(other, () => other.stream.capture(() => multiplyBy(family)), {
        winners: new Map(),
        interrupted: () => performance.now() > end,
      });
      assert.ok(elapsedMs < LATE_MS / 2, `${elapsedMs} ms`);
      assert.is(timed, 0);
    }
  }),
);

gpuTest('the noise of a trial is of ordinary size, in pairs of f16 too', async () => {
  const tensor = Tensor.empty([4001]);
  fillWithNoise(tensor, 1);
  const values = await tensor.read();
  assert.ok(values.every((value) => Math.abs(value) >= 0.125 && Math.abs(value) < 0.5));
  assert.ok(Math.abs(values.reduce((sum, value) => sum + value) / values.length) < 0.02);
  const halves = new Tensor(Storage.acquire(2 * 4002), [4002], 'f16');
  fillWithNoise(halves, 1);
  const words = await gpu.stream.read(halves.storage);
  for (const half of new Uint16Array(words)) assert.ok([12, 13].includes((half >> 10) & 31), half.toString(16));
});

gpuTest('a deviation is counted in what rounding may do', async () => {
  const of = (values: Float32Array) => Tensor.from(values);
  const want = Float32Array.from({ length: 5000 }, (_, i) => (i % 2 ? 2 : -2));
  const changed = (index: number, value: number) => {
    const values = want.slice();
    values[index] = value;
    return deviation(of(values), of(want));
  };
  assert.is(await deviation(of(want), of(want)), 0);
  for (const index of [0, 1, 4999]) {
    const off = await changed(index, want[index]! + 0.004);
    assert.ok(Math.abs(off - 2) < 0.01, `${off}`);
    for (const wild of [Number.NaN, Number.POSITIVE_INFINITY, 1e38]) assert.ok((await changed(index, wild)) > 1e6);
  }
  for (const wild of [Number.NaN, Number.POSITIVE_INFINITY]) {
    const infinite = of(want.with(4999, wild));
    assert.ok((await deviation(infinite, infinite)) > 1, 'nothing is right that is held against it');
    assert.ok((await deviation(of(want), infinite)) > 1);
  }
  // 1.0 and 1.5 as f16, an odd number of them.
  const halves = (last: number) => {
    const tensor = new Tensor(Storage.acquire(2 * 7), [7], 'f16');
    gpu.stream.clear(tensor.storage);
    gpu.stream.write(tensor.storage, new Uint8Array(Uint16Array.from([...Array(6).fill(0x3c00), last, 0]).buffer));
    return tensor;
  };
  assert.is(await deviation(halves(0x3c00), halves(0x3c00)), 0);
  assert.ok(Math.abs((await deviation(halves(0x3e00), halves(0x3c00))) - 50) < 0.1);
  assert.ok((await deviation(halves(0x7c01), halves(0x3c00))) > 1e6, 'NaN');
});

test('a problem on other tensors is the same problem', () => {
  const t = Tensor.zeros([4, 4]);
  const product = { M: 4, N: 4, K: 4, transposeA: true, transposeB: false };
  const made: Tensor[] = [];
  const like = (tensor: Tensor) => {
    made.push(tensor.emptyLike());
    return made.at(-1)!;
  };
  const twin = products.on({ a: t, b: t, bias: t, c: t, product }, like);
  assert.equal([twin.a, twin.b, twin.bias, twin.c], made);
  assert.is(products.key(twin), '4×4×4 aᵀ');
  const shape = { N: 1, H: 4, W: 4, C: 1, K: 1, R: 1, S: 1, P: 4, Q: 4, strideH: 1, strideW: 1, padH: 0, padW: 0 };
  assert.is(forwards.on({ x: t, w: t, bias: null, y: t, shape }, like).bias, null);
});

const softwareTest = gpu.adapter.software ? gpuTest : test.skip;

softwareTest(
  'a classifier of seven classes has no race on a software adapter, and other products go to `lanes`',
  () => {
    const namesFor = (M: number, N: number, K: number): string[] => {
      const [a, b, c] = [Tensor.empty([M, K]), Tensor.empty([N, K]), Tensor.empty([M, N])];
      const product = { M, N, K, transposeA: false, transposeB: true };
      return candidatesFor(products, { a, b, bias: null, c, product }).map(({ name }) => name);
    };
    assert.equal(namesFor(16, 7, 512), ['plain']);
    assert.equal(namesFor(16, 512, 512), ['lanes']);
  },
);

test.run();
