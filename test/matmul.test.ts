import { test } from 'uvu';
import { linearCases, matmulCases } from './cases/matmul.ts';
import { gradcheckAll } from './gpu.ts';

gradcheckAll([...matmulCases, ...linearCases]);

test.run();
