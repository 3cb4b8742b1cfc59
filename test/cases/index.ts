/** Every case of every operation: what the tests of `src/ops` run, and what the shader check compiles. */
import { batchNormCases } from './batchnorm.ts';
import { binaryCases } from './binary.ts';
import type { OperationCase } from './case.ts';
import { castCases } from './cast.ts';
import { convCases } from './conv2d.ts';
import { dropoutCases } from './dropout.ts';
import { linearCases, matmulCases } from './matmul.ts';
import { poolCases } from './pool2d.ts';
import { reduceCases } from './reduce.ts';
import { reshapeCases } from './reshape.ts';
import { softmaxAndLossCases } from './softmax.ts';
import { unaryCases } from './unary.ts';
import { upsampleCases } from './upsample.ts';

export const allCases: readonly OperationCase[] = [
  ...batchNormCases,
  ...binaryCases,
  ...castCases,
  ...convCases,
  ...dropoutCases,
  ...linearCases,
  ...matmulCases,
  ...poolCases,
  ...reduceCases,
  ...reshapeCases,
  ...softmaxAndLossCases,
  ...unaryCases,
  ...upsampleCases,
];
