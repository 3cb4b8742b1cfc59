import { test } from 'uvu';
import { batchNormCases } from './cases/batchnorm.ts';
import { gradcheckAll } from './gpu.ts';

gradcheckAll(batchNormCases);

test.run();
