import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { step } from '../src/core/step.ts';
import { Tensor } from '../src/core/tensor.ts';
import type { AdapterKind } from '../src/gpu/adapters.ts';
import type { Gpu } from '../src/gpu/gpu.ts';
import { createModel } from '../src/models/index.ts';
import { unfilled } from '../src/nn/init.ts';
import * as ops from '../src/ops/index.ts';
import * as optim from '../src/optim/index.ts';
import { forcing } from './forcing.ts';
import { gpuTest, onDevice } from './gpu.ts';

const [BATCH, SIDE] = [64, 48];

/** The most bytes that full-width VGG16_bn holds in two steps of SGD on 64 images: weights, gradients and momentum included. */
async function peakBytes(gpu: Gpu, dtype: 'f32' | 'f16'): Promise<number> {
  const net = unfilled(() => createModel('vgg16_bn', { classes: 7, size: SIDE }));
  const lossScale = dtype === 'f16' ? new optim.LossScale() : undefined;
  const optimizer = new optim.SGD(net.parameters().values(), { lossScale });
  await gpu.trim();
  gpu.pool.resetPeak();
  const labels = Tensor.zeros([BATCH], 'u32');
  for (let i = 0; i < 2; i++) {
    await step(() => {
      const loss = ops.crossEntropy(net.forward(Tensor.empty([BATCH, SIDE, SIDE, 3], dtype)), labels);
      loss.backward(lossScale?.gradient());
      optimizer.step({ lr: 0.1, momentum: 0.9 });
    });
  }
  return gpu.pool.stats.peakBytes;
}

/** Large buffers are counted and not made: the null backend has less memory than they need, and nothing has to be computed. */
function onPaper(gpu: Gpu): void {
  const { device } = gpu;
  const create = device.createBuffer.bind(device);
  const createBuffer = (asked: GPUBufferDescriptor) =>
    asked.size > 2 ** 16 ? ({ size: asked.size, destroy() {} } as GPUBuffer) : create(asked);
  Object.defineProperty(device, 'createBuffer', { value: createBuffer });
  Object.defineProperty(gpu.stream, 'flush', { value: async () => {} });
  Object.defineProperty(gpu.stream, 'idle', { value: true });
  Object.defineProperty(gpu.stream, 'afterwards', { value: (done: () => void) => done() });
}

/** Pretends to be an adapter of a kind, whose subgroups are `lanes` wide. */
function pretend(gpu: Gpu, kind: AdapterKind, lanes: number): void {
  const subgroupSizes = { min: lanes, max: lanes };
  const value = { ...gpu.adapter, kind, software: kind !== 'hardware', subgroupSizes };
  Object.defineProperty(gpu, 'adapter', { value });
}

const labelsOf = ({ pipelines }: Gpu): string[] => [
  ...(pipelines as unknown as { pipelines: ReadonlyMap<string, unknown> }).pipelines.keys(),
];

// The tiers split their sums differently, software adapters transform convolutions, and what they hold meanwhile counts.
for (const [kind, lanes] of [
  ['lavapipe', 8],
  ['swiftshader', 4],
  ['hardware', 32],
] as const) {
  for (const [dtype, limit] of [
    ['f32', 0.8e9],
    ['f16', 0.7e9],
  ] as const) {
    gpuTest(`VGG16_bn on 64 images of 48 px fits ${limit / 1e9} GB in ${dtype} with the kernels for ${kind}`, () =>
      onDevice({ adapter: 'null' }, async (gpu) => {
        pretend(gpu, kind, lanes);
        onPaper(gpu);
        const bytes = await peakBytes(gpu, dtype);
        assert.ok(bytes <= limit, `${(bytes / 1e9).toFixed(3)} GB`);
        assert.ok(bytes > 0.4e9, 'weights, gradients and momentum alone are more');
      }),
    );
  }
}

for (const name of ['winograd 4×4 tile', 'winograd 2×2 tile']) {
  gpuTest(`so it does in f32 on hardware where "${name}" wins everywhere`, () =>
    onDevice({ adapter: 'null' }, (gpu) =>
      forcing(name, async () => {
        pretend(gpu, 'hardware', 32);
        onPaper(gpu);
        const bytes = await peakBytes(gpu, 'f32');
        assert.ok(bytes <= 0.8e9, `${(bytes / 1e9).toFixed(3)} GB`);
        assert.ok(
          labelsOf(gpu).some((label) => label.startsWith('winograd.')),
          'it is used',
        );
      }),
    ),
  );
}

test.run();
