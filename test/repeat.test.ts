import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { repeated } from '../src/core/repeat.ts';
import { keep, step } from '../src/core/step.ts';
import { reserveStepWords, setSeed, stepCounter } from '../src/core/stepbuffer.ts';
import { noGrad } from '../src/core/tape.ts';
import { Tensor } from '../src/core/tensor.ts';
import { AUGMENTATIONS } from '../src/data/augment.ts';
import { Batches } from '../src/data/batches.ts';
import { drawToyfaces } from '../src/data/toyfaces.ts';
import { currentGpu } from '../src/gpu/gpu.ts';
import { createModel } from '../src/models/index.ts';
import { readState } from '../src/nn/index.ts';
import * as ops from '../src/ops/index.ts';
import * as optim from '../src/optim/index.ts';
import { collected } from './collected.ts';
import { gpuTest, messageOf, onDevice } from './gpu.ts';

/** On a device of its own: what earlier tests left behind is collected at any time, and another buffer is free then. */
const ownTest = (name: string, run: () => Promise<void>): void => gpuTest(name, () => onDevice({}, run));

const BATCH = 8;
const schedule = optim.oneCycle(1e-2);

/** A network with batch norm and dropout, on augmented batches: all that draws, counts and remembers between steps. */
function training() {
  setSeed(3);
  const { train: set } = drawToyfaces(64);
  const batches = new Batches(set, { batch: BATCH, size: 32, channels: 3, augmentation: AUGMENTATIONS.fastai });
  const net = createModel('vgg11_bn', {
    ...{ classes: 7, channels: 3, size: 32, width: 1 / 16, head: 'fastai', pool: 1, seed: 1 },
  });
  const optimizer = new optim.AdamW(net.parameters().values());
  let bodies = 0;
  let steps = 0;
  const prepare = () => {
    net.train();
    batches.choose(Uint32Array.from({ length: BATCH }, (_, n) => (5 * steps + n) % 64));
    optimizer.prepare(schedule(steps++, 20));
  };
  const body = () => {
    bodies++;
    const { x, labels } = batches.gather();
    const loss = ops.crossEntropy(net.forward(x), labels);
    loss.backward();
    optimizer.apply();
    return loss;
  };
  const eager = () =>
    step(() => {
      prepare();
      return body();
    });
  const validate = () =>
    step(() => {
      net.eval();
      noGrad(() => ops.softmax(net.forward(batches.take([1, 2, 3]).x)));
    });
  const state = async () => {
    const all: Float32Array[] = [...(await readState(net)).values()].map(({ data }) => data);
    for (const tensor of optimizer.state().flat()) all.push(await tensor.read());
    return all;
  };
  return { net, optimizer, eager, again: repeated(prepare, body), validate, state, bodies: () => bodies };
}

type Training = ReturnType<typeof training>;

/** What happens after some of the steps, each thing in a way of its own dangerous to a recording. */
const events: Readonly<Record<number, (training: Training, keeping: Tensor[]) => unknown>> = {
  4: ({ validate }) => validate(),
  6: () => currentGpu().trim(),
  9: (_, keeping) => {
    // Takes free buffers of every size, some of those that the recording uses among them.
    for (let size = 16; size < 2 ** 19; size *= 2) keeping.push(Tensor.full([size], 7));
  },
  12: ({ net }) => {
    for (const [name, p] of net.parameters()) if (name.startsWith('features.0.')) p.requiresGrad = false;
  },
  14: ({ validate }) => validate(),
  16: ({ net }) => {
    for (const p of net.parameters().values()) p.requiresGrad = true;
  },
  17: (_, keeping) => {
    for (const tensor of keeping.splice(0)) tensor.free('the test');
  },
};

async function run(way: 'eager' | 'again') {
  const run = training();
  const losses: number[] = [];
  const bodies: number[] = [];
  const keeping: Tensor[] = [];
  for (let i = 1; i <= 20; i++) {
    const loss = await run[way]();
    losses.push(await loss.item());
    bodies.push(run.bodies());
    await events[i]?.(run, keeping);
  }
  return { losses, bodies, state: await run.state(), steps: run.optimizer.steps, counter: stepCounter() };
}

gpuTest('a repeated step gives the bits of an eager one, whatever happens in between', async () => {
  const eager = await onDevice({}, () => run('eager'));
  const again = await onDevice({}, () => run('again'));
  assert.equal(again.losses, eager.losses);
  assert.equal([again.steps, again.counter], [eager.steps, eager.counter]);
  for (const [i, values] of eager.state.entries()) assert.equal(again.state[i], values, `state ${i}`);
  // Validation disturbs nothing; a trim, lost buffers, freezing and thawing each cost two steps.
  const runs = [1, 2, 7, 8, 10, 11, 13, 14, 17, 18];
  // Buffers that came back while a new recording was made are taken by its second half: it is a step longer.
  runs.push(19);
  assert.equal(
    again.bodies.flatMap((count, i) => (count === (again.bodies[i - 1] ?? 0) ? [] : [i + 1])),
    runs,
  );
});

/** x·2 of what `prepare` writes. */
function doubling() {
  const x = Tensor.zeros([4]);
  let bodies = 0;
  const double = repeated(
    (value: number) => x.write(Float32Array.of(value, value, value, value)),
    () => {
      bodies++;
      return { y: ops.mul(x, 2), list: 'kept as it is', more: [{ half: ops.div(x, 2) }] };
    },
  );
  return { double, bodies: () => bodies };
}

ownTest('what a repeated step returns is right each time, and freed by the next call', async () => {
  const { double, bodies } = doubling();
  const results: Tensor[] = [];
  for (let i = 0; i < 6; i++) {
    const { y, list, more } = await double(i);
    assert.equal([...(await y.read())], [2 * i, 2 * i, 2 * i, 2 * i]);
    assert.equal([...(await more[0]!.half.read())], Array(4).fill(i / 2));
    assert.is(list, 'kept as it is');
    results.push(y);
  }
  assert.is(bodies(), 2);
  assert.equal(
    results.map(({ alive }) => alive),
    [false, false, false, false, false, true],
  );
  assert.match(
    await messageOf(() => results[2]!.read()),
    /was freed by the next call of its repeated step\. Use it before\.$/,
  );
});

ownTest('results of several forms come back in their form', async () => {
  const x = Tensor.full([2], 3);
  const one = repeated(
    () => {},
    () => ops.mul(x, 2),
  );
  const list = repeated(
    () => {},
    () => [ops.mul(x, 3), ops.mul(x, 4)],
  );
  for (let i = 0; i < 4; i++) {
    assert.equal([...(await (await one()).read())], [6, 6]);
    const [a, b] = await list();
    assert.equal(
      [[...(await a!.read())], [...(await b!.read())]],
      [
        [9, 9],
        [12, 12],
      ],
    );
  }
});

ownTest('a replay leaves memory alone that somebody else has by now', async () => {
  const { double, bodies } = doubling();
  const temporary = repeated(
    () => {},
    () => ops.sum(ops.mul(Tensor.full([3000], 2), 3)),
  );
  for (let i = 0; i < 3; i++) assert.is(await (await temporary()).item(), 18_000);
  const mine = [1, 2, 3].map((value) => Tensor.full([3000], value));
  for (let i = 0; i < 3; i++) assert.is(await (await temporary()).item(), 18_000);
  for (const [i, tensor] of mine.entries()) assert.ok((await tensor.read()).every((value) => value === i + 1));
  await double(1);
  assert.is(bodies(), 1);
});

ownTest('a body that goes another way each time is never replayed', async () => {
  let calls = 0;
  const x = Tensor.full([1], 1);
  const other = repeated(
    () => {},
    () => ops.mul(x, ++calls),
  );
  for (let i = 1; i <= 5; i++) assert.is(await (await other()).item(), i);
  assert.is(calls, 5);
});

ownTest('a body that keeps a tensor works, but is not replayed', async () => {
  let calls = 0;
  const made: Tensor[] = [];
  const keeps = repeated(
    () => {},
    () => {
      made.push(keep(Tensor.full([2], ++calls)));
    },
  );
  for (let i = 0; i < 5; i++) await keeps();
  for (const [i, tensor] of made.entries()) assert.equal([...(await tensor.read())], [i + 1, i + 1]);
  assert.is(calls, 5);
});

ownTest('a tensor that `prepare` makes is another one each time: the body runs', async () => {
  let x: Tensor | undefined;
  let calls = 0;
  const steps = repeated(
    (value: number) => {
      x = Tensor.from([value]);
    },
    () => {
      calls++;
      return ops.mul(x!, 2);
    },
  );
  for (let i = 0; i < 5; i++) {
    // Another buffer is free now than the time before.
    const taken = i === 3 ? Tensor.full([1], 9) : null;
    assert.is(await (await steps(i)).item(), 2 * i);
    if (taken) assert.is(await taken.item(), 9);
  }
  assert.is(calls, 5);
});

ownTest('gradients that wait to be added to are noticed', async () => {
  const p = Tensor.from([1, 2], undefined, { requiresGrad: true });
  const optimizer = new optim.SGD([p]);
  const forward = repeated(
    () => {},
    () => {
      ops.sum(ops.mul(p, 3)).backward();
    },
  );
  const gradient = async () => [...(await p.grad!.read())];
  for (let update = 0; update < 4; update++) {
    await forward();
    assert.equal(await gradient(), [3, 3], `update ${update}`);
    await forward();
    assert.equal(await gradient(), [6, 6], `update ${update}`);
    optimizer.zeroGrad();
    assert.is(p.grad, null);
  }
});

ownTest('steps that leave other parameters without a gradient share an optimizer', async () => {
  const [p, q] = [1, 2].map((value) => Tensor.from([value], undefined, { requiresGrad: true })) as [Tensor, Tensor];
  const optimizer = new optim.SGD([p, q]);
  const counts = [0, 0];
  const [ofP, ofQ] = [p, q].map((own, i) =>
    repeated(
      () => optimizer.prepare({ lr: 1, momentum: 0 }),
      () => {
        counts[i]!++;
        ops.sum(own).backward();
        optimizer.apply();
      },
    ),
  ) as [() => Promise<void>, () => Promise<void>];
  for (const steps of [ofP, ofP, ofP, ofQ, ofP, ofQ, ofQ, ofQ]) await steps();
  assert.equal([...(await p.read()), ...(await q.read())], [1 - 4, 2 - 4]);
  assert.equal(counts, [3, 2]);
});

ownTest('the mode of a network is noticed, and set again where the body sets it', async () => {
  const { net, validate } = training();
  const x = Tensor.full([BATCH, 32, 32, 3], 0.5);
  let calls = 0;
  const forward = repeated(
    () => {},
    () => {
      calls++;
      return noGrad(() => net.forward(x));
    },
  );
  net.eval();
  const logits = [];
  for (let i = 0; i < 3; i++) logits.push(await (await forward()).read());
  assert.equal(logits[2], logits[0]);
  assert.is(calls, 2);
  net.train();
  assert.not.equal(await (await forward()).read(), logits[0]);
  assert.is(calls, 3);

  const trains = repeated(
    () => {},
    () => {
      calls++;
      noGrad(() => net.train().forward(x));
    },
  );
  for (let i = 0; i < 2; i++) await trains();
  await validate();
  assert.not(net.training);
  const before = calls;
  await trains();
  assert.is(calls, before);
  assert.ok(net.training);
});

ownTest('what a body must not do is refused', async () => {
  const x = Tensor.full([1], 1);
  const slot = reserveStepWords(1);
  let calls = 0;
  const refusal = async (body: () => unknown, prepare: () => void = () => {}) => {
    const steps = repeated(prepare, body);
    return messageOf(async () => {
      for (let i = 0; i < 2; i++) await steps();
    });
  };
  assert.match(await refusal(async () => {}), /^repeated: the body must not be async; read values after the step\.$/);
  assert.match(
    await refusal(
      () => 1,
      async () => {},
    ),
    /^repeated: prepare must not be async/,
  );
  const refused: unknown[] = [];
  const onRefused = (error: unknown) => refused.push(error);
  process.on('unhandledRejection', onRefused);
  for (const reads of [() => void x.read(), () => void x.readInts(), () => void x.item()])
    assert.match(await refusal(reads), /^a tensor cannot be read while its work is only recorded/);
  await new Promise((resolve) => setTimeout(resolve, 5));
  process.off('unhandledRejection', onRefused);
  assert.equal(refused, []);
  assert.match(await refusal(async () => x.read()), /^(a tensor cannot be read|repeated: the body must not be async)/);
  assert.match(
    await refusal(() => Tensor.from([++calls])),
    /^repeated: the body uploads data .* write to it in `prepare`/,
  );
  assert.match(
    await refusal(() => slot.setFloats([1])),
    /^repeated: the body sets numbers that change from step to step/,
  );
  const sum = await step(() => ops.sum(Tensor.full([10], 2)));
  assert.is(await sum.item(), 20);
});

ownTest('what only a recorded step holds is not collected while it can be called', async () => {
  const make = () => {
    const p = Tensor.from([1], [1], { requiresGrad: true });
    const sgd = new optim.SGD([p]);
    return repeated(
      (lr: number) => sgd.prepare({ lr, momentum: 0.5 }),
      () => {
        ops.sum(p).backward();
        sgd.apply();
        return p.detach();
      },
    );
  };
  const train = make();
  for (let i = 0; i < 3; i++) await train(1);
  await collected(() => false);
  const slots = Array.from({ length: 20 }, (_, length) => reserveStepWords(length + 1));
  for (const slot of slots) slot.setFloats([1e6]);
  Tensor.full([64], 1e6);
  // Velocities of 1, 1.5, 1.75 and 1.875.
  assert.is(await (await train(1)).item(), 1 - 6.125);
});

ownTest('an error in the body comes out, and the next call works', async () => {
  const x = Tensor.full([1], 1);
  let fails = false;
  const steps = repeated(
    (fail: boolean) => {
      fails = fail;
    },
    () => {
      if (fails) throw new Error('mine');
      return ops.mul(x, 2);
    },
  );
  assert.is(await messageOf(() => steps(true)), 'mine');
  for (let i = 0; i < 4; i++) assert.is(await (await steps(false)).item(), 2);
});

ownTest('a recording is of one device', async () => {
  let x: Tensor | undefined;
  let calls = 0;
  const steps = repeated(
    () => {},
    () => {
      calls++;
      return ops.mul(x!, 2);
    },
  );
  const run = async (value: number) => {
    x = Tensor.full([1], value);
    for (let i = 0; i < 3; i++) assert.is(await (await steps()).item(), 2 * value);
  };
  await run(1);
  assert.is(calls, 2);
  await onDevice({}, () => run(5));
  assert.is(calls, 4);
});

ownTest('what the body keeps from backward and returns is freed by the next call, and replayed', async () => {
  const p = Tensor.from([1, 2], [2], { requiresGrad: true });
  const sgd = new optim.SGD([p]);
  let bodies = 0;
  const train = repeated(
    () => sgd.prepare({ lr: 1, momentum: 0 }),
    () => {
      bodies++;
      const doubled = keep(ops.mul(p, 2));
      ops.sum(doubled).backward();
      sgd.apply();
      return doubled;
    },
  );
  let before: Tensor | null = null;
  for (let call = 0; call < 5; call++) {
    const doubled = await train();
    assert.equal([...(await doubled.read())], [2 - 4 * call, 4 - 4 * call]);
    assert.not(before?.alive);
    before = doubled;
  }
  assert.is(bodies, 2);
});

ownTest('a tensor that the body returns, but did not make, is left alone', async () => {
  const x = Tensor.from([1, 2]);
  const again = repeated(
    () => {},
    () => ({ same: ops.dropout(x, 0.5, { training: false }), more: ops.add(x, 1) }),
  );
  for (let call = 0; call < 5; call++) {
    const { same, more } = await again();
    assert.is(same, x);
    assert.equal([...(await same.read()), ...(await more.read())], [1, 2, 2, 3]);
  }
  assert.ok(x.alive);
});

test.run();
