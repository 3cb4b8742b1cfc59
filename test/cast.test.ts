import { f16round } from '@petamoriken/float16';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { convert } from '../src/core/convert.ts';
import { kernel } from '../src/core/kernel.ts';
import { repeated } from '../src/core/repeat.ts';
import { rehearse, step } from '../src/core/step.ts';
import { noGrad } from '../src/core/tape.ts';
import { Tensor } from '../src/core/tensor.ts';
import * as ops from '../src/ops/index.ts';
import * as optim from '../src/optim/index.ts';
import { castCases } from './cases/cast.ts';
import { BEYOND_ONE_ROW, equalAtSamples, pattern, patternAt } from './exact.ts';
import { gpuTest, gradcheckAll, halfTest, limitBindings, onDevice } from './gpu.ts';

gradcheckAll(castCases);

halfTest('rounds to a neighbour, ties to even, and keeps what f16 has', async () => {
  const values = [0, -0, 1, 1 + 2 ** -11, 1 + 3 * 2 ** -11, 0.1, 65504, 2 ** -14, 2 ** -24, 3 * 2 ** -25, 1e-9];
  const half = ops.cast(Tensor.from(values), 'f16');
  assert.is(half.dtype, 'f16');
  assert.equal([...(await half.read())], values.map(f16round));
  assert.equal([...(await ops.cast(half, 'f32').read())], values.map(f16round));
});

halfTest('what f16 cannot hold becomes infinite, and NaN stays NaN', async () => {
  const half = ops.cast(Tensor.from([1e5, -1e5, Number.POSITIVE_INFINITY, Number.NaN]), 'f16');
  const [inf, NAN] = [Number.POSITIVE_INFINITY, Number.NaN];
  assert.equal([...(await half.read())], [inf, -inf, inf, NAN]);
});

halfTest('is the tensor itself where that is of the type', () => {
  const x = Tensor.from([1, 2]);
  assert.is(ops.cast(x, 'f32'), x);
});

halfTest('reaches past 65,535 workgroups', async () => {
  const half = ops.cast(Tensor.from(pattern(4 * BEYOND_ONE_ROW)), 'f16');
  equalAtSamples(await ops.cast(half, 'f32').read(), patternAt);
});

halfTest('goes in parts over what the adapter cannot bind at once', () =>
  onDevice({}, async (gpu) => {
    limitBindings(gpu, 2048);
    for (const size of [1027, 1536]) {
      const values = Float32Array.from({ length: size }, (_, i) => i);
      const half = Tensor.zeros([size], 'f16');
      convert(Tensor.from(values), half);
      assert.equal(
        await half.read(),
        values.map((value) => f16round(value)),
      );
    }
  }),
);

gpuTest('whole numbers become f32, also in operations that compute with fractions', async () => {
  const signed = Tensor.from(Int32Array.of(-1, 2, -3, 4), [1, 2, 2, 1]);
  const unsigned = Tensor.from(Uint32Array.of(1, 2, 4), [3, 1]);
  const one = Tensor.full([1, 1, 1, 1], 0.5);
  const values = async (y: Tensor) => `${y.dtype} ${(await y.read()).join()}`;
  assert.is(await values(ops.cast(signed, 'f32')), 'f32 -1,2,-3,4');
  assert.is(await values(ops.neg(unsigned)), 'f32 -1,-2,-4');
  assert.is(await values(ops.sqrt(unsigned)), `f32 1,${Math.fround(Math.SQRT2)},2`);
  assert.is(await values(ops.sum(signed)), 'f32 2');
  assert.is(await values(ops.mean(signed)), 'f32 0.5');
  assert.is(await values(ops.max(signed)), 'f32 4');
  assert.is(await values(ops.avgPool2d(signed, { kernel: 2 })), 'f32 0.5');
  assert.is(await values(ops.maxPool2d(signed, { kernel: 2 })), 'f32 4');
  assert.is(await values(ops.conv2d(signed, one, null)), 'f32 -0.5,1,-1.5,2');
  assert.is(await values(ops.linear(unsigned, Tensor.full([1, 1], 0.5), null)), 'f32 0.5,1,2');
  assert.equal([...(await ops.pad(unsigned, [1, 0], [0, 0], 7).readInts())], [7, 1, 2, 4]);
});

halfTest('whole numbers become f16', async () => {
  assert.equal([...(await ops.cast(Tensor.from(Uint32Array.of(1, 2049)), 'f16').read())], [1, 2048]);
});

halfTest('what writes past a parameter reaches the copy that an optimizer keeps of it', async () => {
  const w = Tensor.from([1, 2, 3, 4], [1, 4], { requiresGrad: true });
  const optimizer = new optim.SGD([w], { lossScale: new optim.LossScale() });
  const x = Tensor.from([1, 1, 1, 1], [1, 4], { dtype: 'f16' });
  const product = async () => (await ops.linear(x, w, null).read())[0];
  assert.is(await product(), 10);
  w.detach().fill(2);
  assert.is(await product(), 8);
  // A step that is only rehearsed copies nothing.
  w.detach().fill(3);
  rehearse(() => {
    ops.linear(x, w, null);
    optimizer.step({ lr: 1, momentum: 0 });
  });
  optimizer.steps = 0;
  assert.is(await product(), 12);
  const run = repeated(
    () => {},
    () => ops.linear(x, w, null),
  );
  const repeatedly = async () => (await (await run()).read())[0];
  for (let i = 0; i < 4; i++) assert.is(await repeatedly(), 12);
  w.detach().fill(5);
  for (let i = 0; i < 4; i++) assert.is(await repeatedly(), 20);
  // Used twice in a step that finds it stale each time.
  const twice = repeated(
    () => void w.detach().fill(0.5),
    () => {
      const loss = ops.sum(ops.cast(ops.add(ops.linear(x, w, null), ops.linear(x, w, null)), 'f32'));
      loss.backward();
      return loss;
    },
  );
  for (let i = 0; i < 4; i++) assert.is(await (await twice()).item(), 4);
  assert.is(optimizer.steps, 0);
});

halfTest('so does what a kernel writes in a repeated step, whatever reads the parameter in between', async () => {
  const clip = kernel('average', 'exchange');
  const losses = async (run: (prepare: () => void, body: () => Tensor) => () => Promise<Tensor>) => {
    const w = Tensor.from([1, 2, 3, 4], [1, 4], { requiresGrad: true });
    const optimizer = new optim.SGD([w], { lossScale: new optim.LossScale({ initial: 8 }) });
    const x = Tensor.from([1, 1, 1, 1], [1, 4], { dtype: 'f16' });
    const spare = Tensor.from([0.5, 0.25, 0.125, 1]);
    const body = () => {
      const loss = ops.sum(ops.cast(ops.linear(x, w, null), 'f32'));
      loss.backward(optimizer.lossScale!.gradient());
      optimizer.apply();
      // The parameter and other values change places, past the optimizer.
      clip({ GROUP: 8, EACH: 1 }, { exchanged: w, average: spare }, { n: 1, rest: 0 }, 1);
      return loss;
    };
    const next = run(() => optimizer.prepare({ lr: 0.125, momentum: 0 }), body);
    const found: number[] = [];
    for (let i = 0; i < 6; i++) {
      found.push(await (await next()).item());
      const y = await step(() => noGrad(() => ops.linear(x, w, null)));
      found.push((await y.read())[0]!);
      // Its memory is the step's to use again.
      y.free('the test');
    }
    return found;
  };
  const plain = await losses(
    (prepare, body) => () =>
      step(() => {
        prepare();
        return body();
      }),
  );
  assert.equal(await losses(repeated), plain);
});

test.run();
