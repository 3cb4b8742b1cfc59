import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { kernel } from '../src/core/kernel.ts';
import { keep, step } from '../src/core/step.ts';
import { mayOverwrite, noGrad, record, release } from '../src/core/tape.ts';
import { Tensor } from '../src/core/tensor.ts';
import * as ops from '../src/ops/index.ts';
import * as optim from '../src/optim/index.ts';
import { gpuTest, limitBindings, messageOf, onDevice } from './gpu.ts';

const parameter = (...values: number[]): Tensor => Tensor.from(values, [values.length], { requiresGrad: true });

const valuesOf = async (tensor: Tensor | null): Promise<number[]> => [...(await tensor!.read())];

gpuTest('gradients accumulate over backward calls until they are cleared', async () => {
  const x = parameter(1, 2);
  ops.sum(ops.square(x)).backward();
  assert.equal(await valuesOf(x.grad), [2, 4]);
  ops.sum(ops.mul(x, 3)).backward();
  assert.equal(await valuesOf(x.grad), [5, 7]);
  x.grad = null;
  ops.sum(x).backward();
  assert.equal(await valuesOf(x.grad), [1, 1]);
});

gpuTest('a tensor that is used several times gets the sum of its gradients', async () => {
  const x = parameter(2, -3);
  const y = ops.square(x);
  // y + y·x + y: dy = 2 + x, plus y directly into x.
  ops.sum(ops.add(ops.add(y, ops.mul(y, x)), y)).backward();
  assert.equal(await valuesOf(x.grad), [2 * 2 * (2 + 2) + 4, 2 * -3 * (2 - 3) + 9]);
});

gpuTest('the same gradient that reaches two parameters is not shared between them', async () => {
  const [a, b] = [parameter(1), parameter(1)];
  ops.add(a, b).backward();
  ops.mul(a, 5).backward();
  assert.equal(await valuesOf(a.grad), [6]);
  assert.equal(await valuesOf(b.grad), [1]);
});

gpuTest('one tensor may be the gradient of several inputs, and is given back', () =>
  onDevice({}, async ({ pool }) => {
    const makers: [string, (dy: Tensor) => Tensor, number][] = [
      ['a fresh one', (dy) => ops.add(dy, dy), 2],
      ['dy', (dy) => dy, 1],
    ];
    const one = Tensor.from([1, 1]);
    for (const [what, make, factor] of makers) {
      for (const inArena of [false, true]) {
        const [a, b] = [parameter(1, 2), parameter(3, 4)];
        const optimizer = inArena ? new optim.SGD([a, b]) : null;
        const live: number[] = [];
        for (let i = 1; i <= 3; i++) {
          const inputs = [a, b, ops.neg(a), b];
          const y = record(
            noGrad(() => ops.add(a, b)),
            inputs,
            (dy) => new Array(4).fill(make(dy)),
          );
          y.backward(one);
          for (const tensor of [y, inputs[2]!]) tensor.free('the test');
          live.push(pool.stats.liveBytes);
          // 1 − 1 into a, 1 + 1 into b.
          const sum = 2 * i * factor;
          assert.equal([...(await valuesOf(a.grad)), ...(await valuesOf(b.grad))], [0, 0, sum, sum], what);
        }
        // Without an arena, former sums are for the collector.
        if (optimizer) assert.is(live[2], live[1], what);
      }
    }
  }),
);

gpuTest('a long chain, of reshapes that share memory too', async () => {
  const x = parameter(1, 2);
  let y: Tensor = x;
  for (let i = 0; i < 300; i++) y = ops.reshape(ops.mul(y, i % 2 ? 0.5 : 2), [i % 2 ? 1 : 2, -1]);
  ops.sum(y).backward();
  assert.equal(await valuesOf(x.grad), [1, 1]);
});

gpuTest('backward starts from the gradient that it is given, and leaves that alone', async () => {
  const x = parameter(1, 2);
  const dy = Tensor.from([10, 100]);
  ops.square(x).backward(dy);
  assert.equal(await valuesOf(x.grad), [20, 400]);
  assert.equal(await valuesOf(dy), [10, 100]);
  const leaf = parameter(1);
  leaf.backward(Tensor.from([7]));
  assert.equal(await valuesOf(leaf.grad), [7]);
});

gpuTest('noGrad records nothing, also inside, and ends with an error', async () => {
  const x = parameter(1, 2);
  const y = noGrad(() => noGrad(() => ops.sum(ops.square(x))));
  assert.is(y.node, null);
  const afterInner = noGrad(() => {
    noGrad(() => ops.neg(x));
    return ops.neg(x);
  });
  assert.is(afterInner.node, null);
  assert.match(
    await messageOf(() => y.backward()),
    /^backward: nothing was recorded for this tensor \[1\]: no input has requiresGrad, or it was computed in noGrad/,
  );
  assert.throws(() =>
    noGrad(() => {
      throw new Error('inside');
    }),
  );
  assert.ok(ops.neg(x).node);
  // What an async function does after its first wait would be recorded.
  assert.throws(() => noGrad(async () => ops.neg(x)), /^noGrad: the function must not be async; call noGrad inside/);
  assert.ok(ops.neg(x).node);
});

gpuTest('detach cuts the tape', async () => {
  const x = parameter(3);
  ops.mul(ops.square(x).detach(), x).backward();
  assert.equal(await valuesOf(x.grad), [9]);
});

gpuTest('a tensor without requiresGrad gets no gradient, and its share is not computed', async () => {
  const [x, w] = [parameter(1, 2), Tensor.from([3, 4])];
  const asked: boolean[][] = [];
  const y = record(ops.mul(x.detach(), w), [x, w], (dy, needs) => {
    asked.push([...needs]);
    return [ops.mul(dy, w), null];
  });
  ops.sum(y).backward();
  assert.equal(asked, [[true, false]]);
  assert.is(w.grad, null);
  assert.equal(await valuesOf(x.grad), [3, 4]);
});

gpuTest('a computed tensor with requiresGrad gets its gradient, the sum over its uses, and passes it on', async () => {
  const x = parameter(1, 2);
  const y = ops.square(x);
  y.requiresGrad = true;
  const loss = ops.sum(ops.add(ops.mul(y, 3), ops.square(y)));
  loss.requiresGrad = true;
  loss.backward();
  assert.equal(await valuesOf(y.grad), [3 + 2 * 1, 3 + 2 * 4]);
  assert.equal(await valuesOf(x.grad), [5 * 2, 11 * 4]);
  assert.equal(await valuesOf(loss.grad), [1]);
  assert.equal(await valuesOf(y), [1, 4]);
  const masked = ops.relu(x);
  masked.requiresGrad = true;
  // The norm's gradient may go over the one that it is given, but not over one that is kept.
  const [one, variance] = [Tensor.full([2], 1), Tensor.full([2], 1)];
  const z = ops.batchNorm(ops.reshape(masked, [1, 2]), one, one, Tensor.full([2], 0), variance, { training: false });
  z.requiresGrad = true;
  ops.sum(z).backward();
  assert.equal(await valuesOf(z.grad), [1, 1]);
  assert.ok((await valuesOf(masked.grad)).every((value) => value < 1 && value > 0.9999));
});

gpuTest('when a backward function throws, none is running any more', async () => {
  let given: Tensor | undefined;
  const y = record(ops.neg(parameter(1)), [parameter(1)], (dy) => {
    given = dy;
    throw new Error('mine');
  });
  assert.is(await messageOf(() => y.backward()), 'mine');
  assert.not(mayOverwrite(given!));
  assert.ok(ops.neg(parameter(1)).node);
});

gpuTest('a second backward says that the graph is gone', async () => {
  const x = parameter(1, 2);
  const loss = ops.sum(ops.square(x));
  loss.backward();
  const message = await messageOf(() => loss.backward());
  assert.match(message, /^backward: an earlier backward\(\) has freed this graph\. Run the forward pass again/);
  assert.is((await loss.item()) > 0, true);
});

gpuTest('two losses over one freed graph say so, too', async () => {
  const h = ops.square(parameter(1, 2));
  const [first, second] = [ops.sum(h), ops.mean(h)];
  first.backward();
  assert.match(await messageOf(() => second.backward()), /freed this graph|freed by backward\(\)/);
});

gpuTest('what lies inside the graph is freed; loss and logits are not; nor is what was kept', async () => {
  const x = parameter(1, -2);
  const inside = ops.square(x);
  const kept = keep(ops.mul(inside, 2));
  const logits = ops.add(kept, 1);
  const loss = ops.sum(logits);
  loss.backward();
  assert.match(
    await messageOf(() => inside.read()),
    /a tensor \[2\] was freed by backward\(\)\. Use it before, or keep .*; losses that share it are to be added before one backward\(\)\.$/,
  );
  assert.equal(await valuesOf(kept), [2, 8]);
  assert.equal(await valuesOf(logits), [3, 9]);
  assert.equal(await valuesOf(loss), [12]);
});

gpuTest('gradients outlive the step in which they were computed', async () => {
  const x = parameter(1, 2);
  for (let i = 0; i < 2; i++) await step(() => ops.sum(ops.square(x)).backward());
  assert.equal(await valuesOf(x.grad), [4, 8]);
});

gpuTest('gradients and tensors of other shapes are refused', async () => {
  const x = parameter(1, 2);
  const y = ops.square(x);
  assert.match(await messageOf(() => y.backward()), /\[2\] has 2 elements; reduce it to one/);
  assert.match(await messageOf(() => y.backward(Tensor.zeros([3]))), /the gradient is \[3\] but the tensor \[2\]/);
  const wrong = record(ops.sum(x.detach()), [x], () => [Tensor.zeros([3])]);
  assert.match(await messageOf(() => wrong.backward()), /input 0 is \[2\] but its gradient came as \[3\]/);
  const short = record(Tensor.zeros([1]), [x, x], () => [null]);
  assert.match(
    await messageOf(() => short.backward()),
    /^backward: an operation of 2 inputs \(.*\) gave 1 gradients; give one each/,
  );
});

gpuTest('saved tensors live until backward, or not at all when nothing is recorded', async () => {
  const x = parameter(1);
  const saved = Tensor.from([5]);
  const y = record(ops.neg(x.detach()), [x], (dy) => [ops.mul(dy, saved)], [saved]);
  assert.ok(saved.alive);
  y.backward();
  assert.not(saved.alive);
  assert.equal(await valuesOf(x.grad), [5]);
  const unused = Tensor.from([5]);
  noGrad(() => record(ops.neg(x), [x], () => [null], [unused]));
  assert.not(unused.alive);
});

gpuTest('what is let go of is freed at once, or when no backward function reads it any more', async () => {
  const x = parameter(-1, 2);
  const y = ops.relu(x);
  const z = ops.square(y); // reads y
  const sum = ops.sum(z);
  release(y, 'a test');
  assert.ok(y.alive);
  sum.backward();
  assert.not(y.alive);
  assert.equal(await valuesOf(x.grad), [0, 4]);

  const unread = ops.dropout(ops.relu(parameter(1, 2)), 0.5, { training: true });
  const after = ops.dropout(unread, 0.5, { training: true });
  release(unread, 'a test');
  assert.match(await messageOf(() => unread.storage), /was freed by a test/);
  ops.sum(after).backward();
});

gpuTest('operations keep only what their backward functions read', async () => {
  const row = () => parameter(1, 2, 3, 4);
  const other = Tensor.from([2, 4, 8, 16]);
  // What becomes of two inputs, and which of them is read for their gradients.
  const cases: [string, (a: Tensor, b: Tensor) => Tensor, boolean, boolean][] = [
    ['add', ops.add, false, false],
    ['sub', ops.sub, false, false],
    ['mul', ops.mul, true, true],
    ['mul by a constant', (a) => ops.mul(a, other), false, false],
    ['div', ops.div, true, true],
    ['div by a constant', (a) => ops.div(a, other), false, false],
    ['maximum', ops.maximum, true, true],
    ['sum', (a) => ops.sum(a, 0), false, false],
    ['mean', (a) => ops.mean(a), false, false],
    ['reshape', (a) => ops.reshape(a, [2, 2]), false, false],
    ['expand', (a) => ops.expand(a, [3, 4]), false, false],
    ['permute', (a) => ops.permute(ops.reshape(a, [2, 2]), [1, 0]), false, false],
    ['slice', (a) => ops.slice(a, [1], [2]), false, false],
    ['pad', (a) => ops.pad(a, [1], [2]), false, false],
    ['concat', (a, b) => ops.concat([a, b], 0), false, false],
    ['upsample', (a) => ops.upsampleNearest2d(ops.reshape(a, [1, 2, 2, 1]), 2), false, false],
    ['softmax', ops.softmax, false, false],
  ];
  for (const [name, op, first, second] of cases) {
    const gradients = async (letThemGo: boolean): Promise<number[][]> => {
      const leaves = [row(), row()];
      const [a, b] = leaves.map((leaf) => ops.square(leaf)) as [Tensor, Tensor];
      const y = op(a, b);
      if (letThemGo) {
        // Of the memory, which views may share: a tensor of the same size must not get it.
        for (const input of [a, b]) release(input, 'a test');
        assert.equal([a.alive, b.alive], [first, second], name);
        for (let i = 0; i < 4; i++) keep(Tensor.full([4], -1));
      }
      ops.sum(ops.square(y)).backward();
      return Promise.all(leaves.map(({ grad }) => (grad ? valuesOf(grad) : [])));
    };
    assert.equal(await gradients(true), await gradients(false), name);
  }
});

const bump = kernel(
  'bump',
  'bump',
  '@group(0) @binding(0) var<storage, read_write> x: array<f32>;\n@compute @workgroup_size(1) fn bump() { x[0] += 1.0; }',
);

gpuTest('what the backward pass reads must be what the forward pass read', async () => {
  const changes: [string, (x: Tensor) => unknown][] = [
    ['fill', (x) => x.fill(100)],
    ['write', (x) => x.write(Float32Array.of(3, 4))],
    ['a view', (x) => x.view([2, 1]).fill(100)],
    ['a kernel', (x) => bump({}, { x }, {}, 1)],
    ['an optimizer', (x) => stepOf(new optim.SGD([x]), x)],
  ];
  const stepOf = (optimizer: optim.Optimizer, x: Tensor) => {
    ops.sum(x).backward();
    optimizer.step({ lr: 0.1, momentum: 0 });
  };
  for (const [what, change] of changes) {
    const x = parameter(1, 2);
    const loss = ops.sum(ops.square(x));
    change(x);
    const message = await messageOf(() => loss.backward());
    assert.match(
      message,
      /^backward: it reads a tensor \[2\] that was changed since the forward pass \(unary\.forward/,
      what,
    );
    assert.match(message, /OP=SQUARE.*Call backward\(\) before that, or run the forward pass again\.$/);
    // It is not read for the gradient of a product with something else, nor for that of a sum.
    const y = ops.add(ops.mul(x, 3), x);
    x.grad = null;
    change(x);
    ops.sum(y).backward();
    assert.ok(x.grad, what);
  }
});

gpuTest('a gradient that is read, and then overwritten by another, is noticed', async () => {
  const [x, w] = [parameter(1, 2), parameter(3, 4)];
  const optimizer = new optim.SGD([x]);
  ops.sum(ops.mul(x, 5)).backward();
  const penalty = ops.sum(ops.mul(w, x.grad!));
  optimizer.zeroGrad();
  ops.sum(x).backward();
  assert.match(await messageOf(() => penalty.backward()), /^backward: it reads a tensor \[2\] that was changed since/);
});

gpuTest('gradients larger than the adapter can bind are added in parts', () =>
  onDevice({}, async (gpu) => {
    const rows = 128;
    const w = Tensor.full([rows, 9], 1);
    w.requiresGrad = true;
    const [a, b] = [Tensor.from([1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 9]), Tensor.full([1, 9], 1)];
    const gradients = async () => {
      const sums = ops.add(ops.linear(a, w, null), ops.linear(b, w, null));
      ops.sum(sums).backward();
      ops.sum(ops.linear(b, w, null)).backward();
      return valuesOf(w.grad);
    };
    const whole = await gradients();
    assert.equal(whole.slice(0, 9), [3, 4, 5, 6, 7, 8, 9, 10, 11]);
    limitBindings(gpu, 2 ** 12);
    w.grad = null;
    assert.equal(await gradients(), whole);
    w.grad = null;
    new optim.SGD([w]);
    assert.equal(await gradients(), whole, 'in the slot of an optimizer');
    assert.ok((await valuesOf(w.fill(2))).every((value) => value === 2));
  }),
);

gpuTest('an optimizer that takes over parameters between forward and backward changes nothing', async () => {
  const x = parameter(1, 2);
  const loss = ops.sum(ops.square(x));
  new optim.SGD([x]);
  loss.backward();
  assert.equal(await valuesOf(x.grad), [2, 4]);
});

gpuTest(
  'what is changed but has nothing to do with the gradient may be: running statistics, frozen and other parameters',
  async () => {
    const [x, w] = [parameter(1, 2, 3, 4), parameter(1, 1)];
    const [mean, variance, gamma, beta] = [0, 1, 1, 0].map((value) => Tensor.full([2], value)) as [
      Tensor,
      Tensor,
      Tensor,
      Tensor,
    ];
    const norm = () => ops.batchNorm(ops.reshape(x, [2, 2]), gamma, beta, mean, variance, { training: true });
    const loss = ops.sum(ops.square(norm()));
    norm();
    w.fill(9);
    loss.backward();
    assert.equal((await valuesOf(x.grad)).length, 4);
  },
);

gpuTest('parameters and what is kept are not let go of', () => {
  const x = parameter(1, 2);
  release(x, 'a test');
  const y = keep(ops.dropout(x, 0.5, { training: true }));
  release(y, 'a test');
  assert.ok(x.alive && y.alive);
});

const channels = 4;
/** A convolution with bias, then batch norm; the bias's gradient, which is zero in truth unless the sum also goes elsewhere. */
async function biasBeforeNorm(training: boolean, elsewhere: boolean): Promise<number[]> {
  const data = Float32Array.from({ length: 2 * 5 * 5 * 3 }, (_, i) => Math.sin(3 * i));
  const weights = Float32Array.from({ length: channels * 3 }, (_, i) => Math.cos(i));
  const w = Tensor.from(weights, [channels, 1, 1, 3], { requiresGrad: true });
  const b = parameter(...new Array<number>(channels).fill(0.5));
  const y = ops.conv2d(Tensor.from(data, [2, 5, 5, 3]), w, b);
  const [one, zero] = [Tensor.full([channels], 1), Tensor.full([channels], 0)];
  const normal = ops.batchNorm(y, one, zero, Tensor.full([channels], 0), Tensor.full([channels], 1), { training });
  const loss = ops.sum(ops.square(normal));
  (elsewhere ? ops.add(loss, ops.sum(y)) : loss).backward();
  return valuesOf(b.grad);
}

gpuTest(
  'a bias before a batch norm has the gradient 0 where the batch’s mean is taken off, and only there',
  async () => {
    assert.equal(await biasBeforeNorm(true, false), [0, 0, 0, 0]);
    assert.ok((await biasBeforeNorm(false, false)).every((value) => Math.abs(value) > 0.1));
    for (const value of await biasBeforeNorm(true, true)) assert.ok(Math.abs(value - 50) < 1e-3, `${value}`);
  },
);

gpuTest('gradients of leaves share no memory with each other, nor with what backward started from', async () => {
  const leaf = () => Tensor.from([1, 2], [2], { requiresGrad: true });
  const [a, b, c] = [leaf(), leaf(), leaf()];
  const dy = Tensor.from([3, 4]);
  ops.add(ops.add(a, b), ops.reshape(c, [2])).backward(dy);
  dy.fill(0);
  a.grad!.fill(7);
  assert.equal(await Promise.all([a, b, c].map(async ({ grad }) => [...(await grad!.read())])), [
    [7, 7],
    [3, 4],
    [3, 4],
  ]);
});

test.run();
