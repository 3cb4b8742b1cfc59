import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Tensor } from '../src/core/tensor.ts';
import * as ops from '../src/ops/index.ts';
import { reshapeCases } from './cases/reshape.ts';
import { BEYOND_ONE_ROW, equalAtSamples, pattern, patternAt } from './exact.ts';
import { gpuTest, gradcheckAll, messageOf } from './gpu.ts';

gradcheckAll(reshapeCases);

gpuTest('reaches past 65,535 workgroups', async () => {
  const half = Math.ceil(BEYOND_ONE_ROW / 2);
  const x = Tensor.from(pattern(2 * half), [2, half]);
  const turned = await ops.permute(x, [1, 0]).read();
  equalAtSamples(turned, (i) => patternAt((i % 2) * half + Math.floor(i / 2)));
  equalAtSamples(await Tensor.full([2 * half], 3).read(), () => 3);
  equalAtSamples(await ops.pad(x, [0, 1], [0, 0], 9).read(), (i) => {
    const [row, column] = [Math.floor(i / (half + 1)), i % (half + 1)];
    return column === 0 ? 9 : patternAt(row * half + column - 1);
  });
});

gpuTest('one tensor joined with itself gets both gradients', async () => {
  const x = Tensor.from([1, 2], [2], { requiresGrad: true });
  ops.concat([x, x], 0).backward(Tensor.from([1, 2, 10, 20]));
  assert.equal([...(await x.grad!.read())], [11, 22]);
});

gpuTest('permute counts negative dimensions from the end', async () => {
  const x = Tensor.from([1, 2, 3, 4, 5, 6], [1, 2, 3], { requiresGrad: true });
  const y = ops.permute(x, [-1, 0, -2]);
  assert.equal(y.shape, [3, 1, 2]);
  assert.equal([...(await y.read())], [1, 4, 2, 5, 3, 6]);
  y.backward(Tensor.from([1, 4, 2, 5, 3, 6], [3, 1, 2]));
  assert.equal([...(await x.grad!.read())], [1, 2, 3, 4, 5, 6]);
});

gpuTest('shapes that do not fit are refused', async () => {
  const x = Tensor.zeros([2, 3]);
  const refusals: [() => unknown, RegExp][] = [
    [() => ops.reshape(x, [4, -1]), /^reshape: \[2,3\] with 6 elements cannot become \[4,-1\]/],
    [() => ops.reshape(x, [-1, -1]), /cannot become/],
    [() => ops.reshape(x, [7]), /cannot become/],
    [() => ops.reshape(x, [-2, -3]), /cannot become \[-2,-3\]/],
    [() => ops.reshape(x, [1.5, 4]), /cannot become/],
    [() => x.view([-2, -3]), /^view: \[2,3\] cannot become \[-2,-3\]/],
    [() => x.view([1.5, 4]), /cannot become/],
    [() => ops.permute(x, [0, 0]), /^permute: /],
    [() => ops.permute(x, [0.5, 1]), /^permute: axis 0.5 is not in/],
    [() => ops.permute(x, [0]), /must name each of the 2 dimensions/],
    [() => ops.expand(x, [2, 4]), /^expand: \[2,3\] cannot be repeated to \[2,4\]/],
    [() => ops.expand(x, [3]), /cannot be repeated/],
    [() => ops.slice(x, [0, 2], [1, 2]), /^slice: \[0,2\] \+ \[1,2\] is not inside of \[2,3\]/],
    [() => ops.slice(x, [-1, 0], [1, 1]), /is not inside/],
    [() => ops.slice(x, [0, 0.5], [1, 1]), /^slice: \[0,0\.5\] \+ \[1,1\] is not inside/],
    [() => ops.slice(x, [0, Number.NaN], [1, 1]), /is not inside/],
    [() => ops.slice(x, [0, 0], [1, 1.5]), /is not inside/],
    [() => ops.pad(x, [1], [1]), /^pad: \[1\] and \[1\] must give a margin/],
    [() => ops.pad(x, [0, -1], [0, 0]), /must give a margin/],
    [() => ops.pad(x, [0, 0.5], [0, 0]), /must give a margin/],
    [() => ops.expand(x, [1.5, 2, 3]), /whole numbers/],
    [() => ops.concat([], 0), /at least one tensor/],
    [() => ops.concat([x, Tensor.zeros([2, 4])], 0), /^concat: \[2,3\] and \[2,4\] differ outside of axis 0/],
    [() => ops.concat([x], 2), /axis 2 is not in \[2,3\]/],
    [() => ops.concat([x, x], 0.5), /axis 0.5 is not in/],
  ];
  for (const [run, message] of refusals) assert.match(await messageOf(run), message);
});

test.run();
