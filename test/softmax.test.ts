import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Tensor } from '../src/core/tensor.ts';
import * as ops from '../src/ops/index.ts';
import { gradcheck } from './cases/case.ts';
import { softmaxAndLossCases } from './cases/softmax.ts';
import { u } from './check.ts';
import { gpuTest, gradcheckAll, messageOf, onDevice } from './gpu.ts';

gradcheckAll(softmaxAndLossCases);

gpuTest(
  'the tree of a hardware adapter gives the same weighted mean',
  () =>
    onDevice({}, (other) => {
      Object.defineProperty(other, 'adapter', { value: { ...other.adapter, software: false } });
      const name = 'crossEntropy [67,3] mean, class weights, smoothing';
      const { make, what } = softmaxAndLossCases.find((one) => one.what === name)!;
      return gradcheck({ ...make(), what });
    }),
  180_000,
);

const LABELS = () => Tensor.from(Uint32Array.of(1, 0));

gpuTest('logits of ±10,000 overflow nowhere', async () => {
  const rows = [1e4, -1e4, 0, -1e4, -1e4, -1e4];
  const x = Tensor.from(rows, [2, 3], { requiresGrad: true });
  const third = Math.fround(1 / 3);
  const softmax = await ops.softmax(x).read();
  assert.equal([...softmax.slice(0, 3)], [1, 0, 0]);
  assert.ok([...softmax.slice(3)].every((p) => Math.abs(p - third) < 1e-6));
  const log = await ops.logSoftmax(x).read();
  assert.equal([...log.slice(0, 3)], [0, -20_000, -10_000]);
  const loss = ops.crossEntropy(x, LABELS(), { reduction: 'none' });
  const [first, second] = await loss.read();
  assert.is(first, 20_000);
  assert.ok(Math.abs(second! - Math.log(3)) < 1e-6);
  ops.sum(loss).backward();
  assert.ok((await x.grad!.read()).every(Number.isFinite));
  for (const at of [0, 1, 2]) {
    const large = Tensor.from([-1e4, -1e4, -1e4].with(at, 1e4));
    assert.equal([...(await ops.softmax(large).read())], [0, 0, 0].with(at, 1), `the largest at ${at}`);
  }
});

gpuTest('thousands of classes lose no digits', async () => {
  const classes = 5003;
  const y = await ops.softmax(Tensor.from(Float32Array.from({ length: classes }, (_, i) => Math.sin(i)))).read();
  const off = Math.abs(y.reduce((all, p) => all + p, 0) - 1);
  assert.ok(off < 8 * u, `probabilities add up to 1 but for ${off / u} u`);
  // All probabilities alike and a target that is spread evenly: p·Σa − a is 0 but for rounding of a.
  for (const weight of [null, Tensor.full([classes], 0.7)]) {
    const x = Tensor.from(new Float32Array(classes), [1, classes], { requiresGrad: true });
    const options = { labelSmoothing: 1, reduction: 'sum' as const, ...(weight && { weight }) };
    const loss = ops.crossEntropy(x, Tensor.from(Uint32Array.of(7)), options);
    const right = Math.log(classes) * (weight ? Math.fround(0.7) : 1);
    const apart = Math.abs((await loss.item()) / right - 1);
    assert.ok(apart < 32 * u, `the loss is ${apart / u} u off`);
    loss.backward();
    const most = (await x.grad!.read()).reduce((top, v) => Math.max(top, Math.abs(v)), 0) * classes;
    assert.ok(most < 16 * u, `a gradient is ${most / u} u off`);
  }
});

gpuTest('a NaN or an infinity among the logits shows in the loss', async () => {
  for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
    for (const at of [0, 1, 2]) {
      const x = Tensor.from([1, 2, 3].with(at, bad), [1, 3]);
      const loss = await ops.crossEntropy(x, Tensor.from(Uint32Array.of(1))).item();
      assert.ok(!Number.isFinite(loss), `${bad} at ${at} gives a loss of ${loss}`);
    }
  }
});

gpuTest('a label beyond the classes marks a row that does not count, with weights and without', async () => {
  const x = Tensor.from([1, 2, 3, 0, 0, 0], [2, 3], { requiresGrad: true });
  const loss = ops.crossEntropy(x, Tensor.from(Uint32Array.of(3, 0)), { reduction: 'none' });
  const [skipped, counted] = await loss.read();
  assert.is(skipped, 0);
  assert.ok(Math.abs(counted! - Math.log(3)) < 1e-6);
  for (const options of [{}, { weight: Tensor.full([3], 0.7) }]) {
    const x = Tensor.from([1, 2, 3, 0, 0, 0], [2, 3], { requiresGrad: true });
    const mean = ops.crossEntropy(x, Tensor.from(Uint32Array.of(3, 0)), options);
    assert.ok(Math.abs((await mean.item()) - Math.log(3)) < 1e-6);
    mean.backward();
    const gradient = [...(await x.grad!.read())];
    assert.equal(gradient.slice(0, 3), [0, 0, 0]);
    assert.ok(Math.abs(gradient[3]! + 2 / 3) < 1e-6, `${gradient}`);
    assert.is(await ops.crossEntropy(x, Tensor.from(Uint32Array.of(3, 9)), options).item(), 0, 'of no rows');
  }
});

gpuTest('shapes that do not fit are refused', async () => {
  const x = Tensor.zeros([2, 3]);
  const labels = LABELS();
  assert.match(await messageOf(() => ops.crossEntropy(Tensor.zeros([3, 3]), labels)), /it takes \[N,C\] and u32 \[N\]/);
  assert.match(await messageOf(() => ops.crossEntropy(x, Tensor.zeros([2]))), /f32 labels \[2\]/);
  assert.match(
    await messageOf(() => ops.crossEntropy(x, labels, { weight: Tensor.zeros([2]) })),
    /3 classes but 2 weights/,
  );
});

test.run();
