import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { repeated } from '../src/core/repeat.ts';
import { step } from '../src/core/step.ts';
import { noGrad } from '../src/core/tape.ts';
import { Tensor } from '../src/core/tensor.ts';
import { AUGMENTATIONS } from '../src/data/augment.ts';
import { Batches } from '../src/data/batches.ts';
import { drawToyfaces } from '../src/data/toyfaces.ts';
import type { Gpu } from '../src/gpu/gpu.ts';
import { createModel } from '../src/models/index.ts';
import * as ops from '../src/ops/index.ts';
import * as optim from '../src/optim/index.ts';
import { gpuTest, onDevice } from './gpu.ts';

const CREATORS = [
  'createBuffer',
  'createBindGroup',
  'createBindGroupLayout',
  'createPipelineLayout',
  'createShaderModule',
  'createComputePipeline',
  'createComputePipelineAsync',
  'createQuerySet',
] as const;
const WATCHED = [...CREATORS, 'submit', 'writeBuffer'] as const;
type Counts = Record<(typeof WATCHED)[number], number>;

/** Counts the calls to a device and its queue from now on. */
function watch({ device }: Gpu): Counts {
  const counts = Object.fromEntries(WATCHED.map((name) => [name, 0])) as Counts;
  const count = (object: object, name: keyof Counts) => {
    const original = Reflect.get(object, name) as (...values: unknown[]) => unknown;
    Reflect.set(object, name, (...values: unknown[]) => {
      counts[name]++;
      return original.apply(object, values);
    });
  };
  for (const name of CREATORS) count(device, name);
  for (const name of ['submit', 'writeBuffer'] as const) count(device.queue, name);
  return counts;
}

const BATCH = 4;
const SIDE = 32;

const network = () =>
  createModel('vgg11_bn', { classes: 7, channels: 3, size: SIDE, width: 1 / 16, head: 'fastai', pool: 1, seed: 1 });

function training() {
  const net = network();
  const optimizer = new optim.AdamW(net.parameters().values());
  let seen = 0;
  /** Each batch has pixels and labels of its own, as batches do. */
  const batch = () => {
    const size = BATCH * SIDE * SIDE * 3;
    const x = Tensor.from(
      Float32Array.from({ length: size }, (_, i) => Math.sin(i + seen)),
      [BATCH, SIDE, SIDE, 3],
    );
    seen++;
    return { x, labels: Tensor.from(Uint32Array.from({ length: BATCH }, (_, i) => (i + seen) % 7)) };
  };
  const schedule = optim.oneCycle(1e-3);
  return {
    net,
    train: () =>
      step(() => {
        const { x, labels } = batch();
        const loss = ops.crossEntropy(net.train().forward(x), labels);
        loss.backward();
        optimizer.step(schedule(seen, 100));
      }),
    validate: () =>
      step(() =>
        noGrad(() => {
          const { x, labels } = batch();
          ops.crossEntropy(net.eval().forward(x), labels);
        }),
      ),
  };
}

/** What `run` called, by name, calls of 0 left out. */
async function callsOf(counts: Counts, run: () => Promise<unknown>): Promise<Partial<Counts>> {
  const before = { ...counts };
  await run();
  return Object.fromEntries(
    WATCHED.map((name) => [name, counts[name] - before[name]] as const).filter(([, calls]) => calls > 0),
  );
}

/** The step buffer, pixels and labels are written; then there is one submit and nothing else. */
const STEADY = { submit: 1, writeBuffer: 3 };

gpuTest('from step 3 on a step creates nothing and submits once, across validations too', () =>
  onDevice({}, async (gpu) => {
    const counts = watch(gpu);
    const { train, validate } = training();
    const first = await callsOf(counts, train);
    assert.ok(first.createBuffer! > 0 && first.createBindGroup! > 0 && first.createComputePipelineAsync! > 0);
    await train();
    for (let epoch = 1; epoch <= 3; epoch++) {
      for (let i = 0; i < 4; i++) assert.equal(await callsOf(counts, train), STEADY, `epoch ${epoch}, step ${i}`);
      for (let i = 0; i < 4; i++) {
        const calls = await callsOf(counts, validate);
        if (epoch > 1 || i > 1) assert.equal(calls, STEADY, `epoch ${epoch}, validation ${i}`);
      }
    }
    assert.is(gpu.pool.stats.peakBytes, gpu.pool.stats.allocatedBytes);
  }),
);

/** The same with steps that are recorded; `calls` counts the bodies. */
function repeatedTraining() {
  const { train: set } = drawToyfaces(64);
  const batches = new Batches(set, {
    batch: BATCH,
    size: SIDE,
    channels: 3,
    augmentation: AUGMENTATIONS.fer,
    mixup: 0.4,
  });
  const net = network();
  const optimizer = new optim.AdamW(net.parameters().values());
  const schedule = optim.oneCycle(1e-3);
  const calls = { train: 0, validate: 0 };
  let seen = 0;
  const choose = () => batches.choose(Uint32Array.from({ length: BATCH }, (_, n) => (seen + n) % 64));
  const train = repeated(
    () => {
      net.train();
      choose();
      optimizer.prepare(schedule(seen++, 100));
    },
    () => {
      calls.train++;
      const { x, labels } = batches.gather();
      const loss = ops.crossEntropy(net.forward(x), labels);
      loss.backward();
      optimizer.apply();
      return loss;
    },
  );
  const validate = repeated(
    () => {
      net.eval();
      choose();
    },
    () => {
      calls.validate++;
      noGrad(() => {
        const { x, labels } = batches.gather();
        ops.crossEntropy(net.forward(x), labels);
      });
    },
  );
  return { train, validate, calls };
}

gpuTest('from step 3 on a repeated step creates nothing, submits once and does not call its body', () =>
  onDevice({}, async (gpu) => {
    const counts = watch(gpu);
    const { train, validate, calls } = repeatedTraining();
    for (let i = 0; i < 2; i++) await train();
    for (let epoch = 1; epoch <= 3; epoch++) {
      for (let i = 0; i < 4; i++) {
        assert.equal(await callsOf(counts, train), { submit: 1, writeBuffer: 1 }, `epoch ${epoch}, step ${i}`);
      }
      for (let i = 0; i < 4; i++) {
        const made = await callsOf(counts, validate);
        if (epoch > 1 || i > 1) assert.equal(made, { submit: 1, writeBuffer: 1 }, `epoch ${epoch}, validation ${i}`);
      }
    }
    assert.equal(calls, { train: 2, validate: 2 });
  }),
);

gpuTest('a step of the same work takes the same memory, and gives it back', () =>
  onDevice({}, async (gpu) => {
    const { train } = training();
    await train();
    const { liveBytes, created } = { ...gpu.pool.stats };
    for (let i = 0; i < 3; i++) await train();
    assert.equal([gpu.pool.stats.liveBytes, gpu.pool.stats.created], [liveBytes, created]);
  }),
);

test.run();
