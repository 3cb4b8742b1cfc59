import { runInNewContext } from 'node:vm';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { repeated } from '../src/core/repeat.ts';
import { Tensor } from '../src/core/tensor.ts';
import * as ops from '../src/ops/index.ts';
import * as optim from '../src/optim/index.ts';
import { gpu, gpuTest, halfTest, messageOf, onDevice } from './gpu.ts';

gpuTest('what is written is read back, in each type', async () => {
  const x = Tensor.from(Float32Array.of(1.5, -2, Number.POSITIVE_INFINITY), [3, 1]);
  assert.equal([x.dtype, x.shape, x.size], ['f32', [3, 1], 3]);
  assert.equal(await x.read(), Float32Array.of(1.5, -2, Number.POSITIVE_INFINITY));
  assert.equal(await Tensor.from(Uint32Array.of(0, 0xffffffff)).readInts(), Uint32Array.of(0, 0xffffffff));
  const signed = Tensor.from(Int32Array.of(-1));
  assert.is(signed.dtype, 'i32');
  assert.equal(await signed.readInts(), Uint32Array.of(0xffffffff));
  assert.is(Tensor.from([1, 2]).dtype, 'f32');
  assert.is(await Tensor.from([7], []).item(), 7);
});

gpuTest('whole numbers are not read as fractions', async () => {
  const [u, i] = [Tensor.from(Uint32Array.of(7)), Tensor.from(Int32Array.of(-7))];
  assert.is(await u.item(), 7);
  assert.is(await i.item(), -7);
  assert.is(await messageOf(() => u.read()), 'read: the tensor is u32; take readInts().');
  assert.match(await messageOf(() => i.read()), /i32; take readInts\(\), whose words are the bits: new Int32Array/);
});

gpuTest('f16 is written rounded and read widened, an odd number of elements too', async () => {
  const x = Tensor.from([1, -2.5, 65504, 0.1, 1e6], [5, 1], { dtype: 'f16', requiresGrad: true });
  assert.equal([x.dtype, x.shape, x.size, x.requiresGrad, x.storage.sizeBytes], ['f16', [5, 1], 5, true, 16]);
  const stored = [1, -2.5, 65504, 0.0999755859375, Number.POSITIVE_INFINITY];
  assert.equal([...(await x.read())], stored);
  x.write(Float32Array.of(1, 2, 3, 4, 5));
  assert.equal([...(await x.view([1, 5]).read())], [1, 2, 3, 4, 5]);
  assert.is(x.emptyLike().dtype, 'f16');
  assert.equal([...(await Tensor.zeros([3], 'f16').read())], [0, 0, 0]);
});

halfTest('full fills f16, and a gradient must be of its tensor’s type', async () => {
  assert.equal([...(await Tensor.full([3], 0.1, 'f16').read())], new Array(3).fill(0.0999755859375));
  const x = Tensor.from([1], [1], { dtype: 'f16', requiresGrad: true });
  assert.match(await messageOf(() => x.backward(Tensor.from([1]))), /the gradient is f32 but the tensor f16/);
  x.backward();
  assert.is(await x.grad!.item(), 1);
});

gpuTest('from copies: what happens to the array later does not matter', async () => {
  const data = Float32Array.of(1, 2);
  const x = Tensor.from(data);
  data[0] = 9;
  assert.equal([...(await x.read())], [1, 2]);
});

gpuTest('from takes the part of a buffer that an array views', async () => {
  const view = new Float32Array(Float32Array.of(1, 2, 3, 4).buffer, 4, 2);
  assert.equal([...(await Tensor.from(view).read())], [2, 3]);
});

gpuTest('zeros and full are that, in memory that held something else', async () => {
  Tensor.from(new Float32Array(1000).fill(5)).free('the test');
  assert.ok((await Tensor.zeros([10, 100]).read()).every((value) => value === 0));
  assert.ok((await Tensor.full([10, 100], -0.5).read()).every((value) => value === -0.5));
});

gpuTest('write replaces the content, in the order of the calls', async () => {
  const x = Tensor.from([1, 2]);
  const before = x.read();
  x.write(Float32Array.of(3, 4));
  assert.equal([...(await before)], [1, 2]);
  assert.equal([...(await x.read())], [3, 4]);
});

gpuTest('write takes what another tensor holds at its turn, and no more to do with it', async () => {
  const from = Tensor.from(Float32Array.of(1, 2, 3), [3]);
  const to = Tensor.full([3], 9);
  to.write(from);
  from.write(Float32Array.of(4, 5, 6));
  assert.equal([...(await to.read())], [1, 2, 3]);
  const whole = Tensor.from(Uint32Array.of(7, 8));
  const copy = Tensor.from(new Uint32Array(2));
  copy.write(whole);
  copy.write(copy);
  assert.equal([...(await copy.readInts())], [7, 8]);
  to.requiresGrad = true;
  const y = ops.square(to);
  to.write(from);
  assert.match(await messageOf(() => ops.sum(y).backward()), /was changed since the forward pass/);
  assert.match(
    await messageOf(() => to.write(Tensor.zeros([4]))),
    /^Tensor\.write: a tensor f32 \[4\] is not like the one that it is to fill, f32 \[3\]\.$/,
  );
  assert.match(await messageOf(() => to.write(whole)), /a tensor u32 \[2\] is not like/);
});

gpuTest('parameters of one optimizer, which share a buffer, take each other’s values', async () => {
  const [a, b] = [Tensor.full([3], 1), Tensor.full([3], 2)];
  for (const tensor of [a, b]) tensor.requiresGrad = true;
  new optim.SGD([a, b]).step({ lr: 0 });
  assert.is(a.storage.pool, b.storage.pool);
  // Whichever GPU is in use.
  await onDevice({ adapter: 'null' }, () => a.write(b));
  assert.equal([...(await a.read()), ...(await b.read())], [2, 2, 2, 2, 2, 2]);
});

halfTest('an odd number of f16 values, too', async () => {
  const to = Tensor.zeros([3], 'f16');
  to.write(Tensor.from([1, 2, 3], [3], { dtype: 'f16' }));
  assert.equal([...(await to.read())], [1, 2, 3]);
});

gpuTest('a repeated step carries its state by it', async () => {
  const state = Tensor.zeros([2]);
  let bodies = 0;
  const next = repeated(
    () => {},
    () => {
      bodies++;
      state.write(ops.add(state, 1));
    },
  );
  for (let i = 0; i < 5; i++) await next();
  assert.equal([...(await state.read())], [5, 5]);
  assert.is(bodies, 2);
});

gpuTest('views share memory, which lives until the last of them is freed', async () => {
  const x = Tensor.from([1, 2, 3, 4, 5, 6], [2, 3]);
  const view = x.view([3, 2]);
  x.write(Float32Array.of(6, 5, 4, 3, 2, 1));
  x.free('the test');
  // Were the memory free, this would take it.
  Tensor.full([6], 9);
  assert.equal([...(await view.read())], [6, 5, 4, 3, 2, 1]);
  assert.match(await messageOf(() => x.view([6])), /was freed by the test/);
});

gpuTest('reading a freed tensor says who freed it and what to do', async () => {
  const x = Tensor.zeros([2, 3]);
  x.free('somebody');
  const message = await messageOf(() => x.read());
  assert.is(message, 'a tensor [2,3] was freed by somebody. Use it before, or keep it with `keep(tensor)`.');
  x.free('somebody else');
  assert.not(x.alive);
});

gpuTest('shapes that cannot be are refused', async () => {
  assert.match(await messageOf(() => Tensor.zeros([2, 0])), /whole numbers from 1 on, not \[2,0\]/);
  assert.match(await messageOf(() => Tensor.zeros([1.5])), /whole numbers/);
  assert.match(await messageOf(() => Tensor.from([1, 2, 3], [2, 2])), /3 values do not fill \[2,2\], which takes 4/);
  assert.match(await messageOf(() => Tensor.zeros([2]).write(Float32Array.of(1))), /1 values do not fill \[2\]/);
  assert.match(await messageOf(() => Tensor.zeros([2]).view([3])), /\[2\] cannot become \[3\]/);
  assert.match(await messageOf(() => Tensor.zeros([2]).item()), /has 2 elements, not one/);
});

gpuTest('an array of another type is refused, not taken for its bits', async () => {
  const from = (data: unknown, options = {}) => messageOf(() => Tensor.from(data as Float32Array, undefined, options));
  const write = (dtype: 'f32' | 'f16' | 'u32' | 'i32', data: unknown) =>
    messageOf(() => Tensor.zeros([2], dtype).write(data as Float32Array));
  const known = 'it takes a Float32Array, Uint32Array, Int32Array';
  assert.is(await from(Uint8Array.of(1, 2)), `Tensor.from: ${known}, not Uint8Array.`);
  assert.is(await from(Float64Array.of(1, 2)), `Tensor.from: ${known}, not Float64Array.`);
  assert.is(await write('f32', [1, 2]), `Tensor.write: ${known}, not Array.`);
  assert.match(await from([[1, 2]]), /^Tensor\.from: a plain array is one of numbers; flatten it/);
  assert.match(await from(Int32Array.of(1), { dtype: 'f16' }), /^Tensor\.from: i32 values do not become f16/);
  assert.is(
    await write('f32', Int32Array.of(1, 2)),
    'Tensor.write: the tensor is f32 but the values are i32, Int32Array; convert them.',
  );
  assert.match(await write('f16', Uint32Array.of(1, 2)), /the tensor is f16 but the values are u32/);
  assert.match(await write('u32', Float32Array.of(1, 2)), /the tensor is u32 but the values are f32/);
  assert.match(await write('i32', Uint32Array.of(1, 2)), /the tensor is i32 but the values are u32/);
  const foreign = runInNewContext('Float32Array.of(1, 2)') as Float32Array;
  assert.equal([...(await Tensor.from(foreign).read())], [1, 2]);
});

gpuTest('a tensor above the largest buffer is refused with the limit', async () => {
  const tooMany = Math.floor(gpu.limits.maxBufferSize / 4) + 1;
  assert.match(
    await messageOf(() => Tensor.empty([tooMany])),
    /[MG]iB does not fit this adapter, whose largest buffer is/,
  );
});

gpuTest('each device has tensors of its own', async () => {
  const here = Tensor.from([1]);
  const there = await onDevice({ adapter: 'null' }, () => Tensor.from([2]).storage.gpu);
  assert.is.not(there, gpu);
  assert.is(here.storage.gpu, gpu);
  assert.is(await here.item(), 1);
});

test.run();
