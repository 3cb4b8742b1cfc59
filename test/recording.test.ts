// What a repeated step takes for granted, and notices where it is so no more.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Random } from '../src/core/random.ts';
import { repeated } from '../src/core/repeat.ts';
import { keep, step } from '../src/core/step.ts';
import { setSeed } from '../src/core/stepbuffer.ts';
import { Tensor } from '../src/core/tensor.ts';
import { currentGpu } from '../src/gpu/gpu.ts';
import * as nn from '../src/nn/index.ts';
import * as ops from '../src/ops/index.ts';
import * as optim from '../src/optim/index.ts';
import { gpuTest, halfTest, messageOf, onDevice } from './gpu.ts';

const ownTest = (name: string, run: () => Promise<void>): void => gpuTest(name, () => onDevice({}, run));

ownTest('another tensor among what `prepare` is given is the one that is computed from', async () => {
  const [a, b] = [Tensor.full([4], 1), Tensor.full([4], 5)];
  let x = a;
  let calls = 0;
  const double = repeated(
    ({ given }: { given: Tensor }) => {
      x = given;
    },
    () => {
      calls++;
      return ops.mul(x, 2);
    },
  );
  for (const given of [a, a, a, b, b, b, a, a, a]) {
    const want = given === a ? 2 : 10;
    assert.equal([...(await (await double({ given })).read())], [want, want, want, want]);
  }
  assert.is(calls, 6, 'the body runs twice for what is new, and is replayed from then on');
});

ownTest('memory that somebody else has by now is not read', async () => {
  let x = Tensor.full([4], 1);
  const double = repeated(
    () => {},
    () => ops.add(x, x),
  );
  for (let i = 0; i < 3; i++) assert.is((await (await double()).read())[0], 2);
  x.free('the test');
  const other = Tensor.full([4], 9);
  x = Tensor.full([4], 5);
  assert.is((await (await double()).read())[0], 10);
  assert.is((await other.read())[0], 9);
});

ownTest(
  'a weight is read where a later optimizer keeps it, while the earlier one keeps others where it was',
  async () => {
    const [p, q] = [1, 2].map((value) => Tensor.from([value], undefined, { requiresGrad: true })) as [Tensor, Tensor];
    const earlier = new optim.SGD([p, q]);
    const forward = repeated(
      () => {},
      () => ops.add(p, q),
    );
    for (let i = 0; i < 3; i++) assert.is(await (await forward()).item(), 3);
    const later = new optim.SGD([p]);
    await step(() => {
      ops.sum(p).backward();
      later.step({ lr: 1, momentum: 0 });
    });
    assert.is(await (await forward()).item(), 2);
    assert.is(earlier.steps, 0);
  },
);

ownTest('what an earlier step made and kept is not freed with the results of a later one', async () => {
  const kept = await step(() => keep(Tensor.full([2], 3)));
  const again = repeated(
    () => {},
    () => ({ kept, twice: ops.add(kept, kept) }),
  );
  for (let i = 0; i < 4; i++) assert.equal([...(await (await again()).twice.read())], [6, 6]);
  assert.equal([...(await kept.read())], [3, 3]);
});

ownTest('copies to one place and to another are not the same', async () => {
  const x = Tensor.full([4], 3);
  const places = [Tensor.zeros([4]), Tensor.zeros([4])];
  let calls = 0;
  const copy = repeated(
    () => {},
    () => {
      const { storage } = places[calls++ % 2]!;
      currentGpu().stream.copy(x.storage, storage);
    },
  );
  for (let i = 0; i < 3; i++) await copy();
  assert.is(calls, 3);
  for (const place of places) assert.equal([...(await place.read())], [3, 3, 3, 3]);
});

ownTest('the first call may make what is made once', async () => {
  let two: Tensor | undefined;
  const x = Tensor.full([2], 3);
  const double = repeated(
    () => {},
    () => {
      two ??= keep(Tensor.from([2]));
      return ops.mul(x, two);
    },
  );
  for (let i = 0; i < 4; i++) assert.equal([...(await (await double()).read())], [6, 6]);
});

ownTest('a tensor that was there before is returned as it is, alone and among others', async () => {
  const weight = Tensor.from([1, 2], [2], { requiresGrad: true });
  for (const body of [() => weight, () => [weight, 3], () => ({ weight, twice: ops.mul(weight, 2) })]) {
    const again = repeated(
      () => {},
      () => {
        weight.fill(2);
        return body();
      },
    );
    for (let i = 0; i < 4; i++) {
      const result = await again();
      assert.is(result instanceof Tensor ? result : Object.values(result)[0], weight);
    }
  }
});

ownTest('a graph that reads weights from before a replayed update is refused', async () => {
  const p = Tensor.from([1, 2], [2], { requiresGrad: true });
  const sgd = new optim.SGD([p]);
  let bodies = 0;
  const train = repeated(
    () => sgd.prepare({ lr: 0.1, momentum: 0 }),
    () => {
      bodies++;
      ops.sum(ops.square(p)).backward();
      sgd.apply();
    },
  );
  // Memory for the graph, which would take that of the recording.
  const room = Array.from({ length: 4 }, () => Tensor.zeros([2]));
  for (let i = 0; i < 3; i++) await train();
  for (const tensor of room) tensor.free('the test');
  const loss = ops.sum(ops.square(p));
  await train();
  assert.is(bodies, 2);
  assert.match(await messageOf(() => loss.backward()), /was changed since the forward pass/);
});

ownTest('the seed is not set in the body: a replay would not set it', async () => {
  const x = Tensor.full([4], 1);
  const again = repeated(
    () => {},
    () => {
      setSeed(5);
      return ops.dropout(x, 0.5, { training: true });
    },
  );
  assert.match(await messageOf(again), /the body sets numbers.*`prepare`/);
});

/** What `call` gives one after another, by `step` and by `repeated`: it is to be the same. */
async function bothWays<T>(run: (way: typeof repeated) => Promise<T>): Promise<T> {
  const eager = await run((prepare, body) => (...given) => {
    return step(() => {
      prepare(...given);
      return body();
    });
  });
  assert.equal(await run(repeated), eager);
  return eager;
}

const parameter = (...values: number[]) => Tensor.from(values, undefined, { requiresGrad: true });

ownTest('random operations after a replay draw what they would after its body', async () => {
  const x = Tensor.full([64], 1);
  const dropped = () => ops.dropout(x, 0.5, { training: true });
  await bothWays(async (way) => {
    setSeed(1);
    const all: Float32Array[] = [];
    let calls = 0;
    // The fifth call draws before its body does.
    const again = way(() => (calls++ === 4 ? dropped() : null), dropped);
    for (let call = 0; call < 6; call++) all.push(await (await again()).read(), await dropped().read());
    return all;
  });
});

ownTest('what a body leaves on the host, a replay leaves', async () => {
  const trained = await bothWays(async (way) => {
    const [p, q] = [parameter(1), parameter(2)];
    const adam = new optim.Adam([p, q]);
    const train = way(
      () => {
        p.requiresGrad = true;
        adam.prepare({ lr: 0.1 });
      },
      () => {
        ops.sum(ops.mul(p, q)).backward();
        adam.apply();
        adam.clearState();
        p.requiresGrad = false;
      },
    );
    const all: (number | boolean)[] = [];
    for (let call = 0; call < 5; call++) {
      await train();
      all.push(p.requiresGrad, adam.steps, ...(await p.read()), ...(await q.read()));
    }
    return all;
  });
  assert.equal(trained.slice(-4, -2), [false, 0]);
});

ownTest('a gradient that the body reads is the one that there is', async () => {
  const gradients = await bothWays(async (way) => {
    const p = parameter(1);
    new optim.SGD([p]);
    const double = way(
      () => {},
      () => ops.mul(p.grad ?? p, 2),
    );
    const all: number[] = [];
    for (let call = 0; call < 9; call++) {
      if (call === 3) ops.mul(p, 5).backward();
      if (call === 6) p.grad = null;
      all.push(await (await double()).item());
    }
    return all;
  });
  assert.equal(gradients, [2, 2, 2, 10, 10, 10, 2, 2, 2]);
});

ownTest('a gradient is asked for where `backward` starts from a leaf, too', async () => {
  const refused = await bothWays(async (way) => {
    const p = parameter(1);
    new optim.SGD([p]);
    const start = way(
      () => {},
      () => p.backward(),
    );
    for (let call = 0; call < 3; call++) await start();
    p.requiresGrad = false;
    return [await messageOf(start), await p.grad!.item()];
  });
  assert.match(String(refused[0]), /nothing was recorded/);
});

ownTest('a tensor deep in what `prepare` is given is noticed', async () => {
  const doubled = await bothWays(async (way) => {
    const [a, b] = [Tensor.full([1], 1), Tensor.full([1], 5)];
    let pairs: Tensor[][] = [];
    const double = way(
      (given: { pairs: Tensor[][] }) => {
        pairs = given.pairs;
      },
      () => ops.mul(pairs[0]![1]!, 2),
    );
    const all: number[] = [];
    for (const x of [a, a, a, b, b, b, a]) all.push(await (await double({ pairs: [[a, x]] })).item());
    return all;
  });
  assert.equal(doubled, [2, 2, 2, 10, 10, 10, 2]);
});

ownTest('another network among what `prepare` is given is the one that is computed with', async () => {
  await bothWays(async (way) => {
    const x = Tensor.full([1, 2], 1);
    const nets = [1, 2].map((seed) => new nn.Linear({ inFeatures: 2, outFeatures: 2 }, new Random(seed)));
    let net = nets[0]!;
    const forward = way(
      (given: nn.Linear) => {
        net = given;
      },
      () => net.forward(x),
    );
    const all: Float32Array[] = [];
    for (const i of [0, 0, 0, 1, 1, 1, 0]) all.push(await (await forward(nets[i]!)).read());
    return all;
  });
});

ownTest('a result is what the body returned, whatever the caller does with it, and of its class', async () => {
  class Losses {
    readonly loss: Tensor;
    constructor(loss: Tensor) {
      this.loss = loss;
    }
    read() {
      return this.loss.item();
    }
  }
  const x = Tensor.zeros([1]);
  const write = (value: number) => x.write(Float32Array.of(value));
  await bothWays(async (way) => {
    const plain = way(write, (): Record<string, Tensor | number> => ({ loss: ops.mul(x, 2) }));
    const ofClass = way(write, () => new Losses(ops.mul(x, 3)));
    const all: number[] = [];
    for (let call = 0; call < 4; call++) {
      const result = await plain(call);
      result.loss = await (result.loss as Tensor).item();
      all.push(result.loss, await (await ofClass(call)).read());
    }
    return all;
  });
});

ownTest('a tensor that `prepare` made and the body returns is the one of this call', async () => {
  await bothWays(async (way) => {
    let made: Tensor | undefined;
    const x = Tensor.full([4], 1);
    const again = way(
      (value: number) => {
        made = Tensor.full([4000], value);
      },
      () => ({ made: made!, twice: ops.mul(x, 2) }),
    );
    const all: number[] = [];
    for (let call = 0; call < 5; call++) all.push((await (await again(call)).made.read())[0]!);
    return all;
  });
});

ownTest('`backward` through a result is refused in every call, not in replays alone', async () => {
  const p = parameter(1, 2);
  const sums = repeated(
    () => {},
    () => ops.sum(p),
  );
  for (let call = 0; call < 4; call++) {
    const sum = await sums();
    assert.match(await messageOf(() => sum.backward()), /has freed this graph.* in a repeated step the body calls it/);
    assert.match(await messageOf(() => ops.mul(sum, 2).backward()), /has freed this graph/);
  }
});

ownTest('what a body recorded is run where it read a tensor and was refused', async () => {
  const [p, q] = [parameter(1), parameter(2)];
  const groups = [{ params: [p] }, { params: [q], lrScale: 10 }];
  const sgd = new optim.SGD(groups);
  let reads = true;
  const train = repeated(
    () => sgd.prepare({ lr: 0.125, momentum: 0 }),
    () => {
      const loss = ops.sum(ops.add(p, q));
      loss.backward();
      sgd.apply();
      if (reads) void loss.item();
    },
  );
  const weights = async () => [await p.item(), await q.item()];
  assert.match(await messageOf(train), /cannot be read while its work is only recorded/);
  assert.equal(await weights(), [1 - 0.125, 2 - 1.25]);
  reads = false;
  await train();
  assert.equal(await weights(), [1 - 0.25, 2 - 2.5]);
});

halfTest('gradients that are not scaled are refused by a replay, too', async () => {
  const refused = await bothWays(async (way) => {
    const p = parameter(1, 2);
    const lossScale = new optim.LossScale({ initial: 4 });
    const sgd = new optim.SGD([p], { lossScale });
    const update = way(
      () => sgd.prepare({ lr: 0.1 }),
      () => sgd.apply(),
    );
    for (let call = 0; call < 4; call++) {
      await step(() => ops.sum(p).backward(lossScale.gradient()));
      await update();
    }
    await step(() => ops.sum(p).backward());
    return [await messageOf(update), await p.read()];
  });
  assert.match(String(refused[0]), /the gradients are not scaled/);
});

test.run();
