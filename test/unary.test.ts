import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Tensor } from '../src/core/tensor.ts';
import * as ops from '../src/ops/index.ts';
import { engine } from './cases/case.ts';
import { UNARY, unaryCases } from './cases/unary.ts';
import { BEYOND_ONE_ROW, equalAtSamples, pattern, patternAt } from './exact.ts';
import { gpuTest, gradcheckAll } from './gpu.ts';

gradcheckAll(unaryCases);

/** [x, f(x), f′(x)] far out, where eˣ overflows or vanishes. */
const limits: readonly (readonly [Exclude<(typeof UNARY)[number], 'log' | 'sqrt' | 'exp'>, number, number, number])[] =
  [
    ['tanh', 1000, 1, 0],
    ['tanh', -1000, -1, 0],
    ['sigmoid', 1000, 1, 0],
    ['sigmoid', -1000, 0, 0],
    ['silu', 1000, 1000, 1],
    ['silu', -1000, 0, 0],
    ['gelu', 1000, 1000, 1],
    ['gelu', -1000, 0, 0],
    ['gelu', 1e30, 1e30, 1],
    ['gelu', -1e30, 0, 0],
    ['softplus', 1000, 1000, 1],
    ['softplus', -1000, 0, 0],
    ['relu', 1e30, 1e30, 1],
    ['relu', -1e30, 0, 0],
  ];
for (const [name, at, value, slope] of limits) {
  gpuTest(`${name}(${at}) is ${value}, with slope ${slope}`, async () => {
    const x = Tensor.from([at], [1], { requiresGrad: true });
    const y = engine[name](x);
    assert.is((await y.item()) + 0, Math.fround(value));
    y.backward();
    assert.is((await x.grad!.item()) + 0, slope);
  });
}

gpuTest('softplus keeps its digits where it is small', async () => {
  const x = [-4, -8, -10.5, -15, -17.5, -20, -40];
  const y = await ops.softplus(Tensor.from(x)).read();
  for (const [i, at] of x.entries()) {
    const right = Math.log1p(Math.exp(at));
    assert.ok(Math.abs(y[i]! / right - 1) < 1e-5, `${at}: ${y[i]}, not ${right}`);
  }
});

gpuTest('tanh keeps its digits where it is small', async () => {
  const x = [1e-30, -1e-20, 1e-9, 3e-7, -5.8e-6, 4.7e-4, 0.01, 0.1, -0.3, 0.5, 0.62];
  const y = await ops.tanh(Tensor.from([...x, 0])).read();
  for (const [i, at] of x.entries()) {
    const right = Math.tanh(at);
    assert.ok(Math.abs(y[i]! / right - 1) < 4e-7, `${at}: ${y[i]}, not ${right}`);
  }
  assert.is(y[x.length], 0);
});

gpuTest('the slopes of tanh and sigmoid keep their digits far out', async () => {
  for (const [op, rate] of [
    [ops.tanh, 2],
    [ops.sigmoid, 1],
  ] as const) {
    const at = [0.3, 2, 5, 8, 12, 20].flatMap((v) => [v / rate, -v / rate]);
    const x = Tensor.from(at, [at.length], { requiresGrad: true });
    op(x).backward(Tensor.full([at.length], 1));
    for (const [i, slope] of (await x.grad!.read()).entries()) {
      const e = Math.exp(-rate * Math.abs(at[i]!));
      const right = (rate * rate * e) / (1 + e) ** 2;
      assert.ok(Math.abs(slope / right - 1) < 1e-5, `the slope at ${at[i]}: ${slope}, not ${right}`);
    }
  }
});

gpuTest('gelu keeps its digits far below 0, and so does its slope', async () => {
  const at = [-1.5, -2.73, -3.65, -4.85, -5.5];
  const x = Tensor.from(at, [at.length], { requiresGrad: true });
  const y = ops.gelu(x);
  y.backward(Tensor.full([at.length], 1));
  const values = await y.read();
  const slopes = await x.grad!.read();
  for (const [i, v] of at.entries()) {
    const rate = 2 * Math.sqrt(2 / Math.PI);
    const gate = 1 / (1 + Math.exp(-rate * (v + 0.044715 * v ** 3)));
    const slope = gate * (1 + v * (1 - gate) * rate * (1 + 0.134145 * v * v));
    assert.ok(Math.abs(values[i]! / (v * gate) - 1) < 1e-5, `${v}: ${values[i]}, not ${v * gate}`);
    assert.ok(Math.abs(slopes[i]! / slope - 1) < 2e-5, `the slope at ${v}: ${slopes[i]}, not ${slope}`);
  }
});

gpuTest('relu and abs have slope 0 at 0', async () => {
  for (const op of [ops.relu, ops.abs]) {
    const x = Tensor.from([0], [1], { requiresGrad: true });
    op(x).backward();
    assert.is(await x.grad!.item(), 0);
  }
});

/** Those whose slope is a function of x; that of neg and relu is a number everywhere. */
for (const name of UNARY) {
  gpuTest(`${name} lets a NaN through, one value at a time and by fours`, async () => {
    for (const count of [3, 8]) {
      const x = Tensor.from(new Float32Array(count).fill(0.5).fill(Number.NaN, 1, 2), [count], { requiresGrad: true });
      const y = engine[name](x);
      const isNan = (values: Iterable<number>) => [...values].map((v) => Number.isNaN(v));
      const one = Array.from({ length: count }, (_, i) => i === 1);
      assert.equal(isNan(await y.read()), one);
      if (name === 'relu' || name === 'neg') continue;
      y.backward(Tensor.from(new Float32Array(count).fill(1)));
      assert.equal(isNan(await x.grad!.read()), one, 'the slope');
    }
  });
}

gpuTest('reaches past 65,535 workgroups, forward and backward', async () => {
  const x = Tensor.from(pattern(BEYOND_ONE_ROW), [BEYOND_ONE_ROW], { requiresGrad: true });
  const y = ops.relu(x);
  equalAtSamples(await y.read(), (i) => Math.max(patternAt(i), 0));
  y.backward(Tensor.from(pattern(BEYOND_ONE_ROW)));
  equalAtSamples(await x.grad!.read(), (i) => Math.max(patternAt(i), 0));
});

test.run();
