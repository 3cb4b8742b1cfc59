/**
 * Compiles everything that there is to compile, one kernel after the other, on the one adapter that compile.ts leaves in
 * the environment; or opens it and no more (its argument, `How`). The driver prints what it made of a kernel on standard error; lines
 * that begin with MARK tell compile.ts there which kernel it is. Nothing else may write there.
 */
import { writeSync } from 'node:fs';
import { step } from '../../src/core/step.ts';
import { Tensor } from '../../src/core/tensor.ts';
import type { Gpu } from '../../src/gpu/gpu.ts';
import { openGpu } from '../../src/gpu/node.ts';
import * as ops from '../../src/ops/index.ts';
import { type Family, watchProblems } from '../../src/ops/matrix/variant.ts';
import { convolutionOf, LAYERS, takesImage } from '../kernels.ts';
import { Network, type StepShape } from '../network.ts';
import { type How, MARK, type Message, type Use } from './messages.ts';

type Precision = 'f32' | 'f16';

const say = (message: Message): void => {
  writeSync(2, `\n${MARK}${JSON.stringify(message)}\n`);
};

/** What is being recorded. */
let now: Use = { variant: '', problem: '' };

/** Has the device compile its pipelines one by one, each between marks. */
function mark(device: GPUDevice): void {
  const uses = new Map<string, Use>();
  const createModule = device.createShaderModule.bind(device);
  const createPipeline = device.createComputePipelineAsync.bind(device);
  let queue: Promise<unknown> = Promise.resolve();
  device.createShaderModule = (descriptor) => {
    uses.set(descriptor.label!, now);
    return createModule(descriptor);
  };
  device.createComputePipelineAsync = (descriptor) => {
    const label = descriptor.label!;
    const own = queue.then(async () => {
      say({ begin: label, ...uses.get(label)! });
      let compiled = false;
      try {
        const pipeline = await createPipeline(descriptor);
        compiled = true;
        return pipeline;
      } finally {
        say({ end: label, compiled });
      }
    });
    queue = own.catch(() => {});
    return own;
  };
}

/** From now on each matrix product and convolution that is met is recorded by every variant that fits it, before its own. */
function recordEveryVariant({ adapter }: Gpu): void {
  watchProblems(<P>(problem: string, family: Family<P>, operands: P) => {
    const outer = now;
    for (const variant of family.variants) {
      if (!variant.fits(operands, adapter)) continue;
      now = { variant: variant.name, problem };
      variant.run(operands);
    }
    now = outer;
  });
}

/** Runs `work`; what does not compile in it is told, and is no reason not to try the rest. */
async function attempt(problem: string, work: () => Promise<unknown>): Promise<void> {
  now = { variant: '', problem };
  try {
    await work();
  } catch (error) {
    say({ failed: problem, why: (error as Error).message });
  }
}

/** Computes `operation` and the gradients of `operands`. */
function bothWays(operands: readonly Tensor[], operation: () => Tensor): Promise<void> {
  return step(() => {
    for (const tensor of operands) tensor.requiresGrad = true;
    const y = operation();
    y.backward(Tensor.empty(y.shape, y.dtype));
  });
}

async function train(shape: StepShape): Promise<void> {
  const network = new Network(shape);
  await network.trainEagerly();
  await network.evaluate();
}

const BATCH = 64;

async function compileAll(precision: Precision): Promise<void> {
  const training = { batch: BATCH, width: 1, precision };
  for (const optimizer of ['sgd', 'adam'] as const)
    await attempt(`vgg16_bn ${optimizer} ${precision}`, () => train({ ...training, optimizer }));
  await attempt(`resnet34 ${precision}`, () => train({ ...training, arch: 'resnet34' }));
  for (const layer of LAYERS) {
    await attempt(`${layer.layer} ${precision}`, () => {
      const { N, side, C, K, kernel, stride, padding } = convolutionOf(layer, training);
      const x = Tensor.empty([N, side, side, C], precision);
      const w = Tensor.empty([K, kernel, kernel, C], precision);
      return bothWays(takesImage(layer) ? [w] : [x, w], () => ops.conv2d(x, w, null, { stride, padding }));
    });
  }
  // Rows that are, and are not, vectors of four.
  for (const side of [512, 301]) {
    await attempt(`matmul ${side} ${precision}`, () => {
      const [a, b] = [Tensor.empty([side, side], precision), Tensor.empty([side, side], precision)];
      return bothWays([a, b], () => ops.matmul(a, b));
    });
  }
}

const gpu = await openGpu({ adapter: 'hardware' });
const { name, driver, features } = gpu.adapter;
say({ adapter: name, driver });
if (process.argv[2] === ('compile' satisfies How)) {
  mark(gpu.device);
  recordEveryVariant(gpu);
  await compileAll('f32');
  if (features.has('shader-f16')) await compileAll('f16');
}
say({ done: true });
// Not closed: there is no device to tear down.
process.exit(0);
