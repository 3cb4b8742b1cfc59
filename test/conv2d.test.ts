import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Tensor } from '../src/core/tensor.ts';
import * as ops from '../src/ops/index.ts';
import { convCases } from './cases/conv2d.ts';
import { exactOnIntegers } from './exact.ts';
import { gpuTest, gradcheckAll, messageOf } from './gpu.ts';
import * as ref from './reference.ts';

gradcheckAll(convCases);

for (const [x, w, options] of [
  [[2, 5, 6, 3], [7, 3, 3, 3], { padding: 1 }],
  [[1, 7, 8, 4], [4, 3, 3, 4], { stride: 2, padding: 1 }],
  [[1, 8, 7, 8], [8, 1, 1, 8], { stride: 3 }],
  // More phases than a side of a grid has workgroups.
  [[1, 1, 601, 4], [4, 1, 1, 4], { stride: 300 }],
] as const) {
  gpuTest(`is exact on whole numbers: [${x}] by [${w}] ${JSON.stringify(options)}`, () =>
    exactOnIntegers(
      ([t, k, b]) => ops.conv2d(t!, k!, b!, options),
      ([t, k, b]) => ref.conv2d(t!, k!, b!, options),
      [x, w, [w[0]]],
    ),
  );
}

gpuTest('the gradient of pixels that no tap reaches is zero, to the bit', async () => {
  const x = Tensor.full([2, 7, 8, 8], 1);
  x.requiresGrad = true;
  ops.sum(ops.conv2d(x, Tensor.full([4, 1, 1, 8], 0.5), null, { stride: 2 })).backward();
  const reached = (i: number) => (Math.floor(i / 64) % 7) % 2 === 0 && (Math.floor(i / 8) % 8) % 2 === 0;
  const expected = Float32Array.from({ length: x.size }, (_, i) => (reached(i) ? 2 : 0));
  assert.equal(new Uint32Array((await x.grad!.read()).buffer), new Uint32Array(expected.buffer));
});

gpuTest('only the gradients that are asked for are computed', async () => {
  const x = Tensor.zeros([1, 4, 4, 3]);
  const w = Tensor.from(new Float32Array(27), [1, 3, 3, 3], { requiresGrad: true });
  const b = Tensor.from([0]);
  ops.sum(ops.conv2d(x, w, b)).backward();
  assert.ok(w.grad && !x.grad && !b.grad);
});

gpuTest('shapes and options that do not fit are refused', async () => {
  const x = Tensor.zeros([1, 4, 4, 3]);
  const w = (shape: number[]) => Tensor.zeros(shape);
  const refusals: [() => unknown, RegExp][] = [
    [() => ops.conv2d(x, w([8, 3, 3, 4]), null), /x \[1,4,4,3\] has 3\. Images are channels last: \[N,H,W,C\]\.$/],
    [() => ops.conv2d(x, w([8, 3, 3, 64]), null), /^conv2d: w takes 64 channels but x \[1,4,4,3\] has 3\. Build/],
    [() => ops.conv2d(w([4, 4, 3]), w([8, 3, 3, 3]), null), /they are \[N,H,W,C\] and \[K,R,S,C\]/],
    [() => ops.conv2d(x, w([8, 3, 3, 3]), w([7])), /gives 8 channels but b is \[7\]/],
    [() => ops.conv2d(x, w([8, 5, 5, 3]), null), /a window of 5 does not fit an input side of 4/],
    [() => ops.conv2d(x, w([8, 3, 3, 3]), null, { stride: 0 }), /strides must be whole numbers from 1 on/],
    [() => ops.conv2d(x, w([8, 3, 3, 3]), null, { padding: [1, -1] }), /paddings must be whole numbers from 0 on/],
  ];
  for (const [run, message] of refusals) assert.match(await messageOf(run), message);
});

test.run();
