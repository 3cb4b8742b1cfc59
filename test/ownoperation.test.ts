// What operations of one's own may return from their backward functions.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { keep, step } from '../src/core/step.ts';
import { type BackwardFn, gradientFor, record } from '../src/core/tape.ts';
import { Tensor } from '../src/core/tensor.ts';
import * as ops from '../src/ops/index.ts';
import { SGD } from '../src/optim/sgd.ts';
import { collected } from './collected.ts';
import { gpuTest, messageOf, onDevice } from './gpu.ts';

const parameter = (values: number[]) => Tensor.from(values, [values.length], { requiresGrad: true });

/** y = the sum of `x`, with gradients of the test's choice for its inputs. */
const sumOf = (inputs: readonly Tensor[], backward: BackwardFn, saved: readonly Tensor[] = []): Tensor =>
  record(ops.sum(inputs[0]!.detach()), inputs, backward, saved);

gpuTest('an input returned as a gradient is still there', async () => {
  for (const arena of [false, true]) {
    const x = parameter([1, 2, 3, 4]);
    const optimizer = arena ? new SGD([x]) : null;
    // ∂(½·Σx²)/∂x = x.
    for (let i = 0; i < 2; i++) await step(() => sumOf([x], () => [x]).backward());
    assert.equal([...(await x.grad!.read())], [2, 4, 6, 8]);
    assert.equal([...(await x.read())], [1, 2, 3, 4]);
    optimizer?.zeroGrad();
  }
});

gpuTest(
  'so is a tensor that was there before, kept or not, and what went through it is not written over it',
  async () => {
    const x = parameter([1, -2]);
    const own = Tensor.from([3, 5]);
    for (let i = 1; i <= 2; i++) {
      await step(() => {
        const kept = keep(Tensor.from([7, 9]));
        // The gradient goes on through operations that may write theirs over it.
        sumOf([ops.relu(ops.mul(x, 2))], () => [own]).backward();
        sumOf([ops.neg(x)], () => [kept]).backward();
        return kept;
      });
      assert.equal([...(await own.read())], [3, 5]);
      assert.equal([...(await x.grad!.read())], [i * (6 - 7), i * -9]);
    }
  },
);

gpuTest('and what was saved, by two operations that share it, the output and dy itself', async () => {
  const [x, z] = [parameter([1, 2]), parameter([3, 4])];
  await step(() => {
    const saved = ops.mul(x.detach(), 10);
    sumOf([ops.neg(x), ops.neg(z)], () => [saved, saved], [saved]).backward();
    const y: Tensor = record(ops.mul(x.detach(), 2), [x], (dy) => [ops.add(y, dy)]);
    ops.sum(record(y.detach(), [y], (dy) => [dy])).backward();
    const same: Tensor = record(ops.mul(z.detach(), 2), [z], () => [same]);
    ops.sum(same).backward();
  });
  assert.equal([...(await x.grad!.read())], [-10 + 2 + 1, -20 + 4 + 1]);
  assert.equal([...(await z.grad!.read())], [-10 + 6, -20 + 8]);
});

gpuTest('a loss that is kept holds nothing of the graph that it came from', async () => {
  const x = parameter([1, 2]);
  let gone = false;
  const registry = new FinalizationRegistry(() => {
    gone = true;
  });
  const loss = await step(() => {
    const between = ops.mul(x, 2);
    registry.register(between, null);
    const loss = ops.sum(ops.square(ops.neg(between)));
    loss.backward();
    return loss;
  });
  assert.ok(await collected(() => gone));
  assert.is(await loss.item(), 20);
  assert.match(await messageOf(() => loss.backward()), /freed this graph/);
});

gpuTest('what wanted no gradient in the forward pass gets none, as nothing was saved for it', async () => {
  const [x, w] = [parameter([1, 2]), parameter([3, 4])];
  w.requiresGrad = false;
  await step(() => {
    const loss = ops.sum(ops.mul(x, w));
    w.requiresGrad = true;
    loss.backward();
  });
  assert.is(w.grad, null);
  assert.equal([...(await x.grad!.read())], [3, 4]);
});

gpuTest('a backward function that returns nothing is told so', async () => {
  const nothing = (() => {}) as unknown as BackwardFn;
  assert.match(
    await messageOf(() => step(() => sumOf([parameter([1])], nothing).backward())),
    /^backward: the function of an operation .* returned no array; give a gradient, or null, for each input\.$/,
  );
});

gpuTest('one gradient for two parameters of an arena goes to both, by copies that WebGPU allows', () =>
  onDevice({}, async (gpu) => {
    const [a, b] = [parameter([1, 2, 3]), parameter([4, 5, 6])];
    const optimizer = new SGD([a, b]);
    for (let i = 1; i <= 2; i++) {
      await step(() =>
        sumOf([a, b], () => {
          const gradient = gradientFor(a).fill(3);
          return [gradient, gradient];
        }).backward(),
      );
      for (const { grad } of [a, b]) assert.equal([...(await grad!.read())], [3 * i, 3 * i, 3 * i]);
    }
    optimizer.zeroGrad();
    a.grad = Tensor.from([1, 2, 3]);
    b.grad = a.grad;
    assert.equal([...(await b.grad!.read())], [1, 2, 3]);
    gpu.check();
  }),
);

test.run();
