import { f16round } from '@petamoriken/float16';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Tensor } from '../src/core/tensor.ts';
import * as ops from '../src/ops/index.ts';
import { castCases } from './cases/cast.ts';
import { BEYOND_ONE_ROW, equalAtSamples, pattern, patternAt } from './exact.ts';
import { gradcheckAll, halfTest, messageOf } from './gpu.ts';

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

halfTest('whole numbers are refused', async () => {
  assert.match(await messageOf(() => ops.cast(Tensor.from(Uint32Array.of(1)), 'f16')), /x is u32; only f32 and f16/);
});

test.run();
