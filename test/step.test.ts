import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { kernel } from '../src/core/kernel.ts';
import { repeated } from '../src/core/repeat.ts';
import { keep, step } from '../src/core/step.ts';
import { reserveStepWords, setSeed, stepCounter, stepSeed, stepStorage } from '../src/core/stepbuffer.ts';
import { Tensor } from '../src/core/tensor.ts';
import { Batches } from '../src/data/batches.ts';
import { drawToyfaces } from '../src/data/toyfaces.ts';
import * as ops from '../src/ops/index.ts';
import * as optim from '../src/optim/index.ts';
import { PredictionBuffer } from '../src/train/predictions.ts';
import { collected } from './collected.ts';
import { gpu, gpuTest, messageOf, onDevice } from './gpu.ts';

gpuTest('what a step returns lives on, what it made besides does not', async () => {
  const made: Tensor[] = [];
  const make = (value: number): Tensor => {
    const tensor = Tensor.full([2], value);
    made.push(tensor);
    return tensor;
  };
  const one = await step(() => ops.add(make(1), make(2)));
  const list = await step(() => [make(3), make(4)]);
  const named = await step(() => ({ loss: make(5), count: 7, nothing: null, heads: [new Set([make(8)])] }));
  const number = await step(() => 42 + 0 * make(6).size);
  assert.equal([...(await one.read())], [3, 3]);
  assert.equal([await list[0]!.read(), await list[1]!.read()], [Float32Array.of(3, 3), Float32Array.of(4, 4)]);
  assert.equal(await named.loss.read(), Float32Array.of(5, 5));
  assert.equal(await [...named.heads[0]!][0]!.read(), Float32Array.of(8, 8));
  assert.is(number, 42);
  const alive = made.map(({ alive }) => alive);
  assert.equal(alive, [false, false, true, true, true, true, false]);
  assert.match(await messageOf(() => made[0]!.read()), /was freed by the end of its step\(\)/);
});

gpuTest('what a repeated step returns has one of each part, and rings', async () => {
  const x = Tensor.full([2], 3);
  const ring = repeated(
    () => {},
    () => {
      const shared = { y: ops.mul(x, 5) };
      const result = { first: shared, second: shared, all: [] as unknown[] };
      result.all.push(result);
      return result;
    },
  );
  for (let i = 0; i < 4; i++) {
    const { first, second, all } = await ring();
    assert.equal([...(await first.y.read())], [15, 15]);
    assert.ok(first === second && (all[0] as { all: unknown }).all === all);
  }
});

gpuTest('keep lets a tensor outlive its step', async () => {
  let kept: Tensor | undefined;
  await step(() => {
    kept = keep(Tensor.full([1], 8));
  });
  assert.is(await kept!.item(), 8);
});

gpuTest('what is freed already cannot be kept', async () => {
  let freed: Tensor | undefined;
  await step(() => {
    freed = Tensor.full([1], 8);
  });
  assert.throws(() => keep(freed!), /was freed by the end of its step\(\)/);
});

gpuTest('a step gives its memory back, and the next one gets the same', async () => {
  const before = gpu.pool.stats.liveBytes;
  const ids: number[][] = [];
  for (let i = 0; i < 2; i++) {
    await step(() => {
      const tensors = [3000, 70, 3000].map((size) => Tensor.zeros([size]));
      ids.push(tensors.map((tensor) => tensor.storage.pool.id));
    });
  }
  assert.equal(ids[0], ids[1]);
  assert.is(gpu.pool.stats.liveBytes, before);
});

gpuTest('steps do not nest', async () => {
  let inner: Promise<unknown> | undefined;
  await step(() => {
    inner = step(() => 1);
    inner.catch(() => {});
  });
  assert.match(await messageOf(() => inner), /^step: steps do not nest/);
});

gpuTest('steps that nobody awaits run in order, each with its own numbers', async () => {
  const slot = reserveStepWords(1);
  const out = Tensor.zeros([1]);
  // A shader of its own: while it compiles, the first step waits to be submitted.
  const code = `
@group(0) @binding(0) var<storage, read> step: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
const AT: u32 = 0;
@compute @workgroup_size(1) fn append() { out[0] = 10.0 * out[0] + step[AT]; }`;
  const append = kernel('digits', 'append', code);
  const running = [1, 2, 3].map((digit) =>
    step(() => {
      slot.setFloats([digit]);
      append({ AT: slot.at }, { step: stepStorage(), out }, {}, 1);
    }),
  );
  await Promise.all(running);
  assert.is(await out.item(), 123);
});

gpuTest('what changes after a step was called, or has failed, is not its own', async () => {
  const p = Tensor.from([0], [1], { requiresGrad: true });
  const optimizer = new optim.SGD([p]);
  const update = (lr: number) => {
    ops.sum(p).backward();
    optimizer.step({ lr, momentum: 0 });
  };
  const failing = () => {
    update(1);
    throw new Error('mine');
  };
  assert.is(await messageOf(() => step(failing)), 'mine');
  optimizer.prepare({ lr: 1000, momentum: 0 });
  assert.is(await p.item(), -1);
  // A shader of its own: while it compiles, the step waits to be submitted.
  const code = `
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@compute @workgroup_size(1) fn halve() { x[0] *= 0.5; }`;
  const halve = kernel('halve', 'halve', code);
  const running = step(() => {
    update(2);
    halve({}, { x: p }, {}, 1);
  });
  optimizer.prepare({ lr: 1000, momentum: 0 });
  reserveStepWords(20_000);
  await running;
  assert.is(await p.item(), -1.5);
});

gpuTest('a step that fails does not hold up the next one', async () => {
  const failing = step(() => {
    throw new Error('mine');
  });
  const following = step(() => Tensor.full([1], 5));
  assert.is(await messageOf(() => failing), 'mine');
  assert.is(await (await following).item(), 5);
});

gpuTest('the function of a step is not async', async () => {
  const refused = 'step: the function must not be async; read values after the step.';
  assert.is(await messageOf(() => step(async () => {})), refused);
  // What such a function throws later would end the process if nobody looked at its promise.
  const later = async () => {
    await null;
    throw new Error('mine');
  };
  assert.is(await messageOf(() => step(later)), refused);
  assert.is(await messageOf(() => step(() => step(() => 1))), refused);
  await new Promise((resolve) => setTimeout(resolve, 0));
});

gpuTest('an error in a step comes out, its tensors are freed, and the next step works', async () => {
  let inside: Tensor | undefined;
  const message = await messageOf(() =>
    step(() => {
      inside = Tensor.zeros([3]);
      throw new Error('mine');
    }),
  );
  assert.is(message, 'mine');
  assert.not(inside!.alive);
  const sum = await step(() => ops.sum(Tensor.full([10], 2)));
  assert.is(await sum.item(), 20);
});

gpuTest('what a step recorded before it threw is done, so that the host and the GPU agree', async () => {
  const p = Tensor.from([1, 2], [2], { requiresGrad: true });
  const optimizer = new optim.SGD([p]);
  const failing = (factor: number) =>
    messageOf(() =>
      step(() => {
        ops.sum(ops.mul(p, factor)).backward();
        throw new Error('mine');
      }),
    );
  assert.is(await failing(3), 'mine');
  assert.equal([...(await p.grad!.read())], [3, 3]);
  assert.is(await failing(4), 'mine');
  await step(() => ops.sum(p).backward());
  assert.equal([...(await p.grad!.read())], [8, 8]);
  await step(() => optimizer.step({ lr: 1, momentum: 0 }));
  assert.equal([...(await p.read())], [-7, -6]);
});

gpuTest('each step counts', async () => {
  const before = stepCounter();
  await step(() => 0);
  await step(() => 0);
  assert.is(stepCounter(), before + 2);
});

gpuTest('step words are reserved apart from each other, and given back when their slots are collected', () =>
  onDevice({}, async () => {
    let slots = [2, 3, 5, 7].map(reserveStepWords);
    assert.equal(
      slots.map(({ at }) => at),
      [2, 4, 7, 12],
    );
    slots = [slots[0]!, slots[3]!];
    const places: number[] = [];
    const given = () => {
      const { at } = reserveStepWords(4);
      places.push(at);
      return at === 4;
    };
    assert.ok(await collected(given), `both gaps are one, not ${places}`);
    assert.equal(
      slots.map(({ at }) => at),
      [2, 12],
    );
  }),
);

gpuTest('the step buffer grows as batches need it: numbers stay, and a step that was recorded is recorded anew', () =>
  onDevice({}, async () => {
    const count = 20_000;
    const set = {
      ...{
        pixels: Uint8Array.from({ length: count }, (_, i) => i),
        labels: Uint8Array.from({ length: count }, (_, i) => i % 7),
      },
      ...({ count, side: 1, channels: 1 } as const),
    };
    setSeed(9);
    const p = Tensor.from([0], [1], { requiresGrad: true });
    const sgd = new optim.SGD([p]);
    let bodies = 0;
    const train = repeated(
      () => sgd.prepare({ lr: 1, momentum: 0 }),
      () => {
        bodies++;
        ops.sum(p).backward();
        sgd.apply();
      },
    );
    for (let i = 0; i < 4; i++) await train();
    const before = [bodies, stepSeed(), stepCounter()];
    const batches = new Batches(set, { batch: count, mixup: 1, normalisation: { mean: [0], std: [1] } });
    const order = Uint32Array.from({ length: count }, (_, i) => count - 1 - i);
    const labels = await step(() => batches.take(order).labels);
    assert.equal(
      [...(await labels.readInts())],
      Array.from(order, (i) => i % 7),
    );
    for (let i = 0; i < 3; i++) await train();
    assert.is(await p.item(), -7);
    assert.equal(before, [2, 9, 4]);
    assert.equal([bodies, stepSeed(), stepCounter()], [4, 9, 8]);
    assert.match(
      await messageOf(() => step(() => reserveStepWords(1_000_000))),
      /^a step cannot reserve so much\. Make batches and optimizers before it\./,
    );
  }),
);

gpuTest('batches and optimizers that are collected leave the step buffer as it was', () =>
  onDevice({}, async () => {
    const { train: set } = drawToyfaces(7);
    const p = Tensor.from([1], [1], { requiresGrad: true });
    const use = () => {
      new optim.AdamW([p], { clip: 1 });
      new Batches(set, { batch: 7, mixup: 1 });
      new PredictionBuffer(7, 1);
    };
    for (let i = 0; i < 3; i++) use();
    assert.ok(await collected(() => reserveStepWords(1).at === 2));
  }),
);

gpuTest('a repeated step may return the gradient of a leaf, which stays its own', async () => {
  for (const forgets of [true, false]) {
    const x = Tensor.from([1, 2], [2], { requiresGrad: true });
    const run = repeated(
      () => {
        if (forgets) x.grad = null;
      },
      () => {
        ops.sum(ops.square(x)).backward();
        return x.grad!;
      },
    );
    for (let i = 1; i <= 5; i++) {
      const times = forgets ? 1 : i;
      assert.equal([...(await (await run()).read())], [2 * times, 4 * times]);
      assert.equal([...(await x.grad!.read())], [2 * times, 4 * times]);
    }
  }
});

test.run();
