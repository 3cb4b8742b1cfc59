import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { repeated } from '../src/core/repeat.ts';
import { step } from '../src/core/step.ts';
import { gradientFor, noGrad, record } from '../src/core/tape.ts';
import { Tensor } from '../src/core/tensor.ts';
import * as ops from '../src/ops/index.ts';
import * as optim from '../src/optim/index.ts';
import { close } from './check.ts';
import { collected } from './collected.ts';
import { fixture } from './fixtures/vgg.ts';
import { gpuTest, halfTest, messageOf, onDevice } from './gpu.ts';

/** torch.optim's arguments. */
interface TorchOptions {
  lr: number;
  momentum?: number;
  nesterov?: boolean;
  weight_decay?: number;
  betas?: [number, number];
  eps?: number;
}

interface Run {
  options: TorchOptions;
  parameter: number[];
  gradients: number[][];
  after: number[][];
}

const runs = fixture<{ sgd: Run[]; adam: Run[]; adamw: Run[] }>('schedules.json');

const parameter = (values: ArrayLike<number>): Tensor =>
  Tensor.from(Float32Array.from(values), [values.length], { requiresGrad: true });

/** One step on a loss whose gradients are these. */
const stepOn = (optimizer: optim.Optimizer, gradients: Map<Tensor, readonly number[]>, rates: optim.StepValues) =>
  step(() => {
    for (const [p, gradient] of gradients) ops.sum(ops.mul(p, Tensor.from(gradient))).backward();
    optimizer.step(rates);
  });

const adamOptions = ({ betas = [0.9, 0.999], eps = 1e-8, weight_decay }: TorchOptions) => ({
  beta2: betas[1],
  eps,
  ...(weight_decay !== undefined && { weightDecay: weight_decay }),
});

const makers = {
  sgd: (p: Tensor, { weight_decay = 0, nesterov = false }: TorchOptions) =>
    new optim.SGD([p], { weightDecay: weight_decay, nesterov }),
  adam: (p: Tensor, options: TorchOptions) => new optim.Adam([p], adamOptions(options)),
  adamw: (p: Tensor, options: TorchOptions) => new optim.AdamW([p], adamOptions(options)),
};

for (const name of ['sgd', 'adam', 'adamw'] as const) {
  for (const { options, parameter: start, gradients, after } of runs[name]) {
    gpuTest(`${name} ${JSON.stringify(options)} takes torch.optim's five steps`, async () => {
      const p = parameter(start);
      const optimizer = makers[name](p, options);
      const rates = { lr: options.lr, momentum: options.betas?.[0] ?? options.momentum ?? (name === 'sgd' ? 0 : 0.9) };
      for (const [i, gradient] of gradients.entries()) {
        await stepOn(optimizer, new Map([[p, gradient]]), rates);
        // A few roundings of p, lr·m and wd·p a step, and those of the steps before. In Adam m̂/√v̂ costs 20 u of lr, at most 0.01.
        close(await p.read(), after[i]!, { ulps: 4 * (i + 1) }, `after step ${i + 1}`);
      }
      assert.is(optimizer.steps, gradients.length);
    });
  }
}

gpuTest('groups have rates and decay of their own', async () => {
  const [a, b] = [parameter([1, 2]), parameter([3])];
  const optimizer = new optim.SGD(
    [
      { params: [a], lrScale: 0.5 },
      { params: [b], weightDecay: 0.25 },
    ],
    { weightDecay: 0 },
  );
  const gradients = new Map([
    [a, [1, 1]],
    [b, [2]],
  ]);
  await stepOn(optimizer, gradients, { lr: 0.5, momentum: 0 });
  assert.equal([...(await a.read())], [0.75, 1.75]);
  assert.equal([...(await b.read())], [3 - 0.5 * (2 + 0.75)]);
});

gpuTest(
  'a parameter with requiresGrad false is left alone, state and decay included, until it has it again',
  async () => {
    const [a, b] = [parameter([1]), parameter([1])];
    const optimizer = new optim.SGD([a, b], { weightDecay: 0.5 });
    const both = new Map([
      [a, [1]],
      [b, [1]],
    ]);
    const rates = { lr: 0.5, momentum: 0.5 };
    b.requiresGrad = false;
    await stepOn(optimizer, new Map([[a, [1]]]), rates);
    assert.equal([await a.item(), await b.item()], [0.25, 1]);
    b.requiresGrad = true;
    await stepOn(optimizer, both, rates);
    assert.is(await b.item(), 0.25);
  },
);

gpuTest('gradients of several backward calls add up; after a step they start anew', async () => {
  const p = parameter([0]);
  const optimizer = new optim.SGD([p]);
  const lr = { lr: 1, momentum: 0 };
  const twice = () => {
    ops.sum(ops.mul(p, 3)).backward();
    ops.sum(ops.mul(p, 4)).backward();
  };
  await step(() => {
    twice();
    optimizer.step(lr);
  });
  assert.is(await p.item(), -7);
  // Gradients of an earlier step, as with --accumulate.
  await step(twice);
  await stepOn(optimizer, new Map([[p, [1]]]), lr);
  assert.is(await p.item(), -7 - 8);
  await step(() => {
    twice();
    optimizer.zeroGrad();
  });
  assert.is(p.grad, null);
  await stepOn(optimizer, new Map([[p, [1]]]), lr);
  assert.is(await p.item(), -16);
});

// torch.optim skips a parameter whose grad is None: no decay, no momentum, no update.
for (const [name, make] of Object.entries({
  sgd: (params: Tensor[]) => new optim.SGD(params, { weightDecay: 0.5 }),
  adam: (params: Tensor[]) => new optim.Adam(params, { weightDecay: 0.5 }),
  adamw: (params: Tensor[]) => new optim.AdamW(params, { weightDecay: 0.5 }),
})) {
  gpuTest(`${name} leaves a parameter that a step does not use alone, state and decay included`, async () => {
    const [a, b] = [parameter([1]), parameter([1])];
    const optimizer = make([a, b]);
    const rates = { lr: 0.5, momentum: 0.5 };
    const gradients = (...used: Tensor[]) => new Map(used.map((p) => [p, [1]] as const));
    const stateOf = (i: number) => Promise.all(optimizer.state().map((arena) => arena[i]!.item()));
    await stepOn(optimizer, gradients(b), rates);
    assert.is(await a.item(), 1);
    await stepOn(optimizer, gradients(a, b), rates);
    const [value, state] = [await b.item(), await stateOf(1)];
    for (let i = 0; i < 2; i++) await stepOn(optimizer, gradients(a), rates);
    assert.is(await b.item(), value);
    assert.equal(await stateOf(1), state);
    await stepOn(optimizer, gradients(b), rates);
    assert.is.not(await b.item(), value);
  });
}

gpuTest('momentum is .9, and AdamW’s decay .01, where nothing is said', async () => {
  const after = async (make: (p: Tensor) => optim.Optimizer, rates: optim.StepValues) => {
    const p = parameter([1, -2]);
    const optimizer = make(p);
    for (const gradient of [[1, 2], [3, -1]]) await stepOn(optimizer, new Map([[p, gradient]]), rates); // biome-ignore format: a pair
    return p.read();
  };
  const said = { lr: 0.1, momentum: 0.9 };
  const sgd = (p: Tensor) => new optim.SGD([p]);
  assert.equal(await after(sgd, { lr: 0.1 }), await after(sgd, said));
  const adamw = (p: Tensor) => new optim.AdamW([p], { weightDecay: 0.01 });
  assert.equal(await after((p) => new optim.AdamW([p]), { lr: 0.1 }), await after(adamw, said));
});

gpuTest('what is frozen stays as it is, though it has a gradient; a graph may read it beyond the update', async () => {
  const [a, b] = [parameter([1]), parameter([2])];
  const optimizer = new optim.SGD([a, b], { weightDecay: 0.5 });
  await step(() => ops.sum(ops.mul(a, b)).backward());
  b.requiresGrad = false;
  const x = parameter([3]);
  const y = ops.sum(ops.mul(x, b));
  await step(() => optimizer.step({ lr: 1, momentum: 0 }));
  assert.equal([await a.item(), await b.item()], [1 - 2 - 0.5, 2]);
  y.backward();
  assert.is(await x.grad!.item(), 2);
});

gpuTest('a step without any gradient changes nothing', async () => {
  const p = parameter([1]);
  const optimizer = new optim.SGD([p], { weightDecay: 0.5 });
  await step(() => optimizer.step({ lr: 1 }));
  assert.is(await p.item(), 1);
  await stepOn(optimizer, new Map([[p, [1]]]), { lr: 1, momentum: 0 });
  assert.is(await p.item(), 1 - 1.5);
});

gpuTest('a parameter used as weight and again as bias of one operation gets both gradients', async () => {
  const w = parameter([2, 3]);
  const optimizer = new optim.SGD([w]);
  const x = Tensor.from([1, 10], [1, 2]);
  await step(() => {
    const y = ops.linear(x, ops.reshape(w, [1, 2]), null);
    ops.sum(ops.add(ops.mul(y, 1), ops.sum(w))).backward();
    optimizer.step({ lr: 1, momentum: 0 });
  });
  assert.equal([...(await w.read())], [2 - 2, 3 - 11]);
});

gpuTest('arenas of several ranges give the same as one', async () => {
  const sizes = [70, 3, 200, 64, 1, 130];
  const train = async () => {
    const params = sizes.map((size, k) => parameter(Float32Array.from({ length: size }, (_, i) => (i % 7) - k)));
    const optimizer = new optim.AdamW(params, { weightDecay: 0.1 });
    params[3]!.requiresGrad = false;
    for (let i = 1; i < 4; i++) {
      await step(() => {
        for (const p of params) if (p.requiresGrad) ops.sum(ops.mul(ops.square(p), i)).backward();
        optimizer.step({ lr: 0.1, momentum: 0.9 });
      });
    }
    return Promise.all(params.map(async (p) => [...(await p.read())]));
  };
  const whole = await train();
  const split = await onDevice({}, (gpu) => {
    Object.defineProperty(gpu, 'limits', { value: { maxStorageBufferBindingSize: 1024, maxBufferSize: 1024 } });
    return train();
  });
  assert.equal(split, whole);
  assert.equal(whole[3], [...Float32Array.from({ length: 64 }, (_, i) => (i % 7) - 3)]);
});

gpuTest('state is that of the parameters, in their order', async () => {
  const [a, b] = [parameter([0, 0]), parameter([0])];
  const optimizer = new optim.Adam([a, b]);
  await stepOn(
    optimizer,
    new Map([
      [a, [1, 2]],
      [b, [4]],
    ]),
    { lr: 0, momentum: 0.5 },
  );
  const [first, second] = optimizer.state();
  assert.equal(await first![0]!.read(), Float32Array.of(0.5, 1));
  assert.equal(await first![1]!.read(), Float32Array.of(2));
  close(await second![0]!.read(), [1e-3, 4e-3], { ulps: 4, scale: 0 }, 'second moment');
});

gpuTest('parameters keep their values when they move into the arena', async () => {
  const values = Array.from({ length: 333 }, (_, i) => i / 8);
  const p = parameter(values);
  new optim.SGD([parameter([5]), p]);
  assert.equal([...(await p.read())], values);
});

gpuTest('what an optimizer holds is given back when it is collected, weights when their tensors are', () =>
  onDevice({}, async ({ pool }) => {
    const arenaBytes = 4 * 2 ** 18;
    let p: Tensor | null = parameter(new Float32Array(2 ** 18).fill(7));
    const train = async () => {
      const adam = new optim.Adam([p!], { clip: 1, ema: 0.9 });
      await step(() => {
        ops.sum(ops.mul(p!, 0)).backward();
        adam.step({ lr: 1 });
      });
      return adam.state()[1]![0]!;
    };
    for (let i = 0; i < 5; i++) await train();
    let moments: Tensor | null = await train();
    const within = (arenas: number) => collected(() => pool.stats.liveBytes < (arenas + 0.5) * arenaBytes);
    assert.ok(await within(3), 'weights, gradients and the moments that are left');
    Tensor.full([2 ** 18], 1);
    assert.equal([(await moments.read())[0], (await p.read())[1]], [0, 7]);
    moments = null;
    assert.ok(await within(2), 'weights and gradients');
    assert.is((await p.read())[1], 7);
    p = null;
    assert.ok(await within(0), 'nothing');
  }),
);

gpuTest('rates that are no numbers are refused', async () => {
  const optimizer = new optim.SGD([parameter([1])]);
  const refusal = /^the optimizer's step has lr NaN and momentum 0; both are numbers\.$/;
  assert.match(await messageOf(() => optimizer.step({ lr: Number.NaN, momentum: 0 })), refusal);
  assert.is(optimizer.steps, 0);
});

gpuTest('a parameter has one optimizer at a time', async () => {
  const p = parameter([1]);
  const [first, second] = [new optim.SGD([p]), new optim.SGD([p])];
  await stepOn(second, new Map([[p, [1]]]), { lr: 0.5, momentum: 0 });
  assert.is(await p.item(), 0.5);
  assert.match(await messageOf(() => first.step({ lr: 0.5, momentum: 0 })), /^a later optimizer has taken over/);
});

/** Calls it until it is replayed, and counts how often its body ran. */
async function recorded<T>(prepare: () => void, body: () => T) {
  let bodies = 0;
  const again = repeated(prepare, () => {
    bodies++;
    return body();
  });
  for (let i = 0; i < 4; i++) await again();
  assert.is(bodies, 2);
  return again;
}

gpuTest('what was recorded with parameters of an earlier optimizer is recorded anew', async () => {
  // Of sizes that leave the second optimizer no buffer that the recordings use.
  const [p, other] = [parameter(new Float32Array(5000).fill(2)), parameter(new Float32Array(5000))];
  const dy = Tensor.full([5000], 1);
  const first = new optim.SGD([p]);
  const double = await recorded(
    () => {},
    () => noGrad(() => ops.mul(p, 2)),
  );
  const train = await recorded(
    () => first.prepare({ lr: 0.125, momentum: 0 }),
    () => {
      ops.mul(p, 2).backward(dy);
      first.apply();
    },
  );
  const lastOf = async (tensor: Tensor) => (await tensor.read())[4999];
  assert.is(await lastOf(await double()), 2);
  new optim.SGD([p, other]);
  p.fill(7);
  assert.is(await lastOf(await double()), 14);
  assert.match(await messageOf(train), /^a later optimizer has taken over parameters of this one/);
  assert.is(await lastOf(p), 7);
});

halfTest('so is what was recorded with copies in f16 that nobody keeps any more', async () => {
  const w = Tensor.from([1], [1, 1], { requiresGrad: true });
  new optim.SGD([w], { lossScale: new optim.LossScale() });
  const x = Tensor.from([3], [1, 1], { dtype: 'f16' });
  const product = await recorded(
    () => {},
    () => noGrad(() => ops.linear(x, w, null)),
  );
  new optim.SGD([w]);
  w.fill(2);
  assert.is(await (await product()).item(), 6);
});

gpuTest('no parameters, or one twice, are refused', async () => {
  const p = parameter([1]);
  assert.match(await messageOf(() => new optim.SGD([])), /no parameters to train: a module names its layers in/);
  assert.match(await messageOf(() => new optim.SGD([p, p])), /a parameter is in the optimizer twice/);
});

gpuTest('an optimizer is not made inside a step', async () => {
  const p = Tensor.from(Float32Array.of(1, 2), [2], { requiresGrad: true });
  assert.match(
    await messageOf(() => step(() => void new optim.SGD([p], {}))),
    /^an optimizer is made outside of a step: its state would be freed/,
  );
});

gpuTest('a step makes several updates, each with its own numbers', async () => {
  const moved = async (inOne: boolean) => {
    const p = parameter([1, 2, 3]);
    const optimizer = new optim.Adam([{ params: [p], lrScale: 0.5 }]);
    const update = (lr: number) => {
      ops.sum(ops.square(p)).backward();
      optimizer.step({ lr });
    };
    const rates = [0.1, 0.01, 0.2];
    if (inOne) await step(() => rates.forEach(update));
    else for (const lr of rates) await step(() => update(lr));
    return [...(await p.read())];
  };
  assert.equal(await moved(true), await moved(false));
});

gpuTest('a gradient that is set by hand is the one that counts', async () => {
  const p = parameter([1, 2]);
  ops.sum(ops.square(p)).backward();
  // What was there before the optimizer, is.
  const optimizer = new optim.SGD([p]);
  const update = () => step(() => optimizer.step({ lr: 1, momentum: 0 }));
  await update();
  assert.equal([...(await p.read())], [-1, -2]);
  await step(() => ops.sum(ops.square(p)).backward());
  p.grad = null;
  await step(() => ops.sum(p).backward());
  assert.equal([...(await p.grad!.read())], [1, 1]);
  await step(() => {
    p.grad = ops.mul(p.grad!, 3);
    ops.sum(p).backward();
  });
  assert.equal([...(await p.grad!.read())], [4, 4]);
  await update();
  assert.equal([...(await p.read())], [-5, -6]);
  assert.is(p.grad, null);
  assert.throws(() => {
    p.grad = Tensor.zeros([3]);
  }, /^grad: the tensor is f32 \[2\] but the gradient f32 \[3\]\.$/);
});

gpuTest('and so it is in a repeated step', async () => {
  const p = parameter([8]);
  const optimizer = new optim.SGD([p]);
  let bodies = 0;
  const halved = repeated(
    () => optimizer.prepare({ lr: 1, momentum: 0 }),
    () => {
      bodies++;
      p.grad = null;
      ops.sum(p).backward();
      p.grad = ops.mul(p.grad!, 0.5);
      optimizer.apply();
    },
  );
  for (let i = 0; i < 5; i++) {
    await halved();
    assert.is(p.grad, null);
  }
  assert.is(await p.item(), 5.5);
  assert.is(bodies, 2);
});

gpuTest(
  'a parameter of an optimizer that is several inputs of one operation gets the sum of its gradients',
  async () => {
    const twice = (p: Tensor) =>
      record(p.view(p.shape), [p, p], () => [2, 3].map((value) => gradientFor(p).fill(value)), [], []);
    const [mean, variance] = [Tensor.zeros([2]), Tensor.full([2], 1)];
    const normed = (p: Tensor) => ops.batchNorm(p, p, p, mean, variance, { training: false, eps: 0 });
    const cases: [(p: Tensor) => Tensor, number[], number[]][] = [
      [(p) => ops.linear(p, p, null), [2, 2], [8, 12, 8, 12]],
      [(p) => ops.conv2d(p, p, null), [2, 1, 1, 2], [8, 12, 8, 12]],
      [normed, [2], [3, 5]],
      [twice, [2], [5, 5]],
    ];
    for (const [fn, shape, gradient] of cases) {
      const p = Tensor.from([1, 2, 3, 4].slice(0, gradient.length), shape, { requiresGrad: true });
      const optimizer = new optim.SGD([p]);
      for (const factor of [1, 2]) {
        ops.sum(fn(p)).backward();
        const expected = gradient.map((value) => factor * value);
        assert.equal([...(await p.grad!.read())], expected, `${fn}`);
      }
      optimizer.zeroGrad();
    }
  },
);

test.run();
