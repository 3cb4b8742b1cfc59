import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { step } from '../src/core/step.ts';
import { Tensor } from '../src/core/tensor.ts';
import * as ops from '../src/ops/index.ts';
import * as optim from '../src/optim/index.ts';
import { close } from './check.ts';
import { fixture } from './fixtures/vgg.ts';
import { scaled } from './fixtures/weights.ts';
import { gpuTest, halfTest, messageOf, onDevice } from './gpu.ts';

interface Run {
  most: number;
  options: { lr: number; momentum?: number; weight_decay: number; eps?: number };
  norms: number[];
  after: number[][][];
}

const torch = fixture<{ sizes: number[]; lengths: number[]; sgd: Run[]; adamw: Run[] }>('clip.json');

const parameter = (values: ArrayLike<number>): Tensor =>
  Tensor.from(Float32Array.from(values), undefined, { requiresGrad: true });

/** Backward passes that give the parameters these gradients. */
function backward(params: readonly Tensor[], gradients: readonly ArrayLike<number>[], optimizer: optim.Optimizer) {
  for (const [k, p] of params.entries()) {
    const gradient = Tensor.from(Float32Array.from(gradients[k]!));
    ops.sum(ops.mul(p, gradient)).backward(optimizer.lossScale?.gradient());
  }
}

const gradientsOf = (i: number) => torch.sizes.map((n, k) => scaled(7 + i, k, n, 0, torch.lengths[i]));

/** The parameters after each step. */
async function stepsOf({ most, options }: Run, name: 'sgd' | 'adamw', lossScale?: optim.LossScale) {
  const params = torch.sizes.map((n, k) => parameter(scaled(6, k, n)));
  const shared = { clip: most, weightDecay: options.weight_decay, ...(lossScale && { lossScale }) };
  const optimizer =
    name === 'sgd' ? new optim.SGD(params, shared) : new optim.AdamW(params, { ...shared, eps: options.eps });
  const after: number[][][] = [];
  for (const i of torch.lengths.keys()) {
    await step(() => {
      backward(params, gradientsOf(i), optimizer);
      optimizer.step({ lr: options.lr, momentum: options.momentum ?? 0.9 });
    });
    after.push(await Promise.all(params.map(async (p) => [...(await p.read())])));
  }
  return after;
}

/** Every element is as near as its few roundings a step allow: those of the norm are all elements' alike. */
function asTorch(got: number[][][], { after }: Run) {
  for (const [i, params] of after.entries()) {
    for (const [k, want] of params.entries()) close(got[i]![k]!, want, { ulps: 10 * (i + 1) }, `step ${i + 1}, ${k}`);
  }
}

test('the fixture has steps that are clipped and steps that are not', () => {
  for (const { most, norms } of [...torch.sgd, ...torch.adamw]) {
    assert.ok(norms.some((norm) => norm > 2 * most) && norms.some((norm) => norm < most / 2));
  }
});

for (const name of ['sgd', 'adamw'] as const) {
  for (const run of torch[name]) {
    gpuTest(`${name} with gradients clipped to ${run.most} takes torch’s steps`, async () => {
      asTorch(await stepsOf(run, name), run);
    });
    halfTest(`${name} with gradients clipped to ${run.most} and a loss scale, too`, async () => {
      asTorch(await stepsOf(run, name, new optim.LossScale({ initial: 1024 })), run);
    });
  }
}

gpuTest('several ranges have one norm, and a hardware adapter’s tree finds the same', async () => {
  const run = torch.sgd[0]!;
  await onDevice({}, async (gpu) => {
    Object.defineProperty(gpu, 'limits', { value: { maxStorageBufferBindingSize: 512, maxBufferSize: 512 } });
    asTorch(await stepsOf(run, 'sgd'), run);
    if (gpu.adapter.features.has('shader-f16')) asTorch(await stepsOf(run, 'sgd', new optim.LossScale()), run);
  });
  await onDevice({}, async (gpu) => {
    Object.defineProperty(gpu, 'adapter', { value: { ...gpu.adapter, software: false } });
    asTorch(await stepsOf(run, 'sgd'), run);
  });
});

gpuTest('the same gradients have the same factor, to the bit, and a large arena is summed closely', async () => {
  const n = 600_001;
  const values = Float32Array.from({ length: n }, (_, i) => ((i * 7919) % 1000) / 1000 - 0.4);
  const norm = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
  const once = async () => {
    const p = parameter(new Float32Array(n));
    const optimizer = new optim.SGD([p], { clip: 1 });
    await step(() => {
      backward([p], [values], optimizer);
      optimizer.step({ lr: 1, momentum: 0 });
    });
    return p.read();
  };
  const first = await once();
  assert.equal(await once(), first);
  const at = 999;
  const want = -values[at]! / (norm + 1e-6);
  assert.ok(Math.abs(first[at]! - want) < 2e-6 * Math.abs(want), `${first[at]} for ${want}`);
});

for (const withScale of [false, true]) {
  (withScale ? halfTest : gpuTest)(
    `parameters that are frozen or have no gradient do not count; gradients that were added up do as one${withScale ? '; with a loss scale' : ''}`,
    async () => {
      const [a, b, c] = [parameter([0]), parameter([0]), parameter([0])];
      const lossScale = withScale ? new optim.LossScale({ initial: 16 }) : undefined;
      const optimizer = new optim.SGD([a, b, c], { clip: 1, ...(lossScale && { lossScale }) });
      const rates = { lr: 1, momentum: 0 };
      await step(() => {
        backward([a, b, c], [[3], [4], [12]], optimizer);
        optimizer.step(rates);
      });
      close([await a.item(), await b.item(), await c.item()], [-3 / 13, -4 / 13, -12 / 13], { ulps: 4 }, 'all');
      // The slots of b and c still hold 4 and 12.
      b.requiresGrad = false;
      for (const p of [a, b, c]) p.write(Float32Array.of(0));
      await step(() => backward([a], [[1]], optimizer));
      await step(() => {
        backward([a], [[7]], optimizer);
        optimizer.step(rates);
      });
      close([await a.item(), await b.item(), await c.item()], [-1, 0, 0], { ulps: 20 }, 'a alone');
    },
  );
}

halfTest(
  'an update with an infinite gradient is left out, and the next one is clipped as if it had not been',
  async () => {
    const p = parameter([1, 2]);
    const lossScale = new optim.LossScale({ initial: 16 });
    const optimizer = new optim.SGD([p], { lossScale, clip: 1 });
    const update = (gradient: number[]) =>
      step(() => {
        backward([p], [gradient], optimizer);
        optimizer.step({ lr: 1, momentum: 0 });
      });
    await update([Number.POSITIVE_INFINITY, 1]);
    assert.equal([...(await p.read())], [1, 2]);
    await update([3, 4]);
    close(await p.read(), [1 - 3 / 5, 2 - 4 / 5], { ulps: 4 }, 'clipped to 1');
  },
);

halfTest('with a loss scale, too, what is frozen does not count', async () => {
  const [a, b] = [parameter([0]), parameter([0])];
  const lossScale = new optim.LossScale({ initial: 16 });
  const optimizer = new optim.SGD([a, b], { lossScale, clip: 1 });
  const update = (params: Tensor[], gradients: number[][]) =>
    step(() => {
      backward(params, gradients, optimizer);
      optimizer.step({ lr: 1, momentum: 0 });
    });
  await update([a, b], [[3], [4]]);
  // The slot of b still holds 4.
  b.requiresGrad = false;
  await update([a], [[8]]);
  close([await a.item(), await b.item()], [-3 / 5 - 1, -4 / 5], { ulps: 8 }, 'a alone');
});

gpuTest('a norm as small as what keeps the factor finite is halved, as torch does', async () => {
  const p = Tensor.from([0], [1], { requiresGrad: true });
  const optimizer = new optim.SGD([p], { clip: 1e-6 });
  await step(() => {
    ops.mul(p, 1e-6).backward();
    optimizer.step({ lr: 1, momentum: 0 });
  });
  assert.ok(Math.abs((await p.item()) / -5e-7 - 1) < 1e-6, `${await p.item()}`);
});

gpuTest('a NaN in one gradient makes all of an update NaN, as torch does', async () => {
  const params = [parameter([1, 2]), parameter([3])];
  const optimizer = new optim.SGD(params, { clip: 1 });
  await step(() => {
    backward(params, [[Number.NaN, 1], [1]], optimizer);
    optimizer.step({ lr: 1, momentum: 0 });
  });
  for (const p of params) assert.ok((await p.read()).every(Number.isNaN));
});

gpuTest('a gradient of zeros stays one', async () => {
  const p = parameter([1]);
  const optimizer = new optim.SGD([p], { clip: 1 });
  await step(() => {
    backward([p], [[0]], optimizer);
    optimizer.step({ lr: 1, momentum: 0 });
  });
  assert.is(await p.item(), 1);
});

gpuTest('a norm that is none is refused', async () => {
  for (const clip of [0, -1, Number.NaN, Number.POSITIVE_INFINITY]) {
    assert.match(await messageOf(() => new optim.SGD([parameter([1])], { clip })), /^clip is .*a number above 0/);
  }
});

test.run();
