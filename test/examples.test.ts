// README's examples; package.test.ts runs its training program.
import { test } from 'uvu';
import { gradcheck } from './cases/case.ts';
import { uniform } from './check.ts';
import { mish } from './examples/operation.ts';
import { gpuTest } from './gpu.ts';
import * as ref from './reference.ts';

gpuTest('README’s operation passes the gradient check', () =>
  gradcheck({
    op: ([x]) => mish(x),
    reference: ([x]) => ref.map(x, (value) => value * Math.tanh(Math.log1p(Math.exp(value)))),
    inputs: [uniform([3, 67], 1, { min: -4, max: 4 })],
    // exp, log and tanh are each granted a few u, and the argument of tanh is at most 4.
    bound: { ulps: 64, scale: 4 },
    gradientBounds: [{ ulps: 64, scale: 4 }],
  }),
);

test.run();
