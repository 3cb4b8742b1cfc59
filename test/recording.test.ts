// What a repeated step takes for granted, and notices where it is so no more.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { repeated } from '../src/core/repeat.ts';
import { keep, step } from '../src/core/step.ts';
import { setSeed } from '../src/core/stepbuffer.ts';
import { Tensor } from '../src/core/tensor.ts';
import { currentGpu } from '../src/gpu/gpu.ts';
import * as ops from '../src/ops/index.ts';
import * as optim from '../src/optim/index.ts';
import { gpuTest, messageOf, onDevice } from './gpu.ts';

const ownTest = (name: string, run: () => Promise<void>): void =>
  gpuTest(name, () => onDevice({ flags: 'checked' }, run));

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

test.run();
