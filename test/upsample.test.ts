import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Tensor } from '../src/core/tensor.ts';
import * as ops from '../src/ops/index.ts';
import { upsampleCases } from './cases/upsample.ts';
import { gpuTest, gradcheckAll, messageOf } from './gpu.ts';

gradcheckAll(upsampleCases);

gpuTest('what is no image, and no factor, is refused', async () => {
  assert.match(await messageOf(() => ops.upsampleNearest2d(Tensor.zeros([4, 4]), 2)), /images are \[N,H,W,C\]/);
  assert.match(
    await messageOf(() => ops.upsampleNearest2d(Tensor.zeros([1, 2, 2, 1]), 1.5)),
    /the factors must be whole/,
  );
});

test.run();
